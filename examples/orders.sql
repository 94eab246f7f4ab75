-- Tables for examples/router.yaml.
create schema if not exists shop;

create table shop.price (
  sku text primary key,
  title text not null,
  amount numeric(12, 2) not null
);

create table shop.orders (
  id bigint primary key,
  status text not null,
  total numeric(12, 2) not null
);

create table shop.order_archive (
  id bigint primary key,
  closed_on date not null,
  total numeric(12, 2) not null
);
