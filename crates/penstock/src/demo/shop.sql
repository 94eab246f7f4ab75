-- The demo's shop. `revision` numbers every change of a row; `audit` is the shop's own record of what happened, kept by
-- triggers in the same transaction, so that the proof does not rest on anything that Penstock says.
create schema shop;
create sequence shop.revision_seq;

create table shop.customers (
  id bigint primary key,
  email text not null unique,
  name text not null,
  address jsonb not null,
  revision bigint not null default 0,
  updated_at timestamptz not null default now()
);

create table shop.orders (
  id bigint primary key,
  customer_id bigint not null references shop.customers (id),
  status text not null default 'open',
  total numeric(12, 2) not null,
  items jsonb not null,
  revision bigint not null default 0,
  updated_at timestamptz not null default now()
);
-- A delete then carries its customer, so that it stays in order with the customer's own delete.
alter table shop.orders replica identity full;

-- Written in one go before anybody looks: what a backfill is made of.
create table shop.visits (
  id bigint primary key,
  page text not null,
  revision bigint not null default 0,
  updated_at timestamptz not null default now()
);

create table shop.audit (
  seq bigserial primary key,
  entity text not null,
  key bigint not null,
  -- null: the row was deleted
  revision bigint
);

create function shop.number_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    insert into shop.audit (entity, key, revision) values (tg_table_name, old.id, null);
    return old;
  end if;
  new.revision := nextval('shop.revision_seq');
  new.updated_at := clock_timestamp();
  insert into shop.audit (entity, key, revision) values (tg_table_name, new.id, new.revision);
  return new;
end $$;

create trigger number_change before insert or update or delete on shop.customers
  for each row execute function shop.number_change();
create trigger number_change before insert or update or delete on shop.orders
  for each row execute function shop.number_change();
create trigger number_change before insert or update or delete on shop.visits
  for each row execute function shop.number_change();
