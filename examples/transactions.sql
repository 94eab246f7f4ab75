-- Tables for examples/transactions.yaml.
create schema if not exists billing;

create table billing.invoice (
  number text primary key,
  issued_on date not null,
  total numeric(12, 2) not null
);

create table billing.invoice_line (
  id bigint primary key,
  invoice text not null references billing.invoice (number),
  item text not null,
  amount numeric(12, 2) not null
);
-- Deletes and changes of invoice then carry the invoice, so that they stay in order with it.
alter table billing.invoice_line replica identity full;
