-- One table of every type, and changes that attack each. Read by Penstock and by Debezium in `cargo xtask debezium-diff`.
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS ltree;
CREATE SCHEMA diff;
CREATE TYPE diff.mood AS ENUM ('sad', 'ok', 'it''s "great"');
CREATE TYPE diff.pair AS (a int, b text);
CREATE DOMAIN diff.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN diff.price AS numeric(10,2);
CREATE DOMAIN diff.deep_price AS diff.price;
CREATE DOMAIN diff.label AS varchar(20);

CREATE TABLE diff.every_type (
  id int PRIMARY KEY,
  c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_oid oid, c_float4 float4, c_float8 float8,
  c_numeric_10_2 numeric(10,2), c_numeric_5_0 numeric(5,0), c_numeric_38_10 numeric(38,10), c_numeric numeric,
  c_money money,
  c_text text, c_varchar varchar(50), c_varchar_any varchar, c_char char(5), c_char1 "char", c_name name, c_citext citext,
  c_bytea bytea, c_uuid uuid, c_json json, c_jsonb jsonb, c_xml xml,
  c_date date, c_time time, c_time_0 time(0), c_time_3 time(3), c_time_6 time(6), c_timetz timetz, c_timetz_3 timetz(3),
  c_ts timestamp, c_ts_0 timestamp(0), c_ts_3 timestamp(3), c_ts_4 timestamp(4), c_ts_6 timestamp(6),
  c_tstz timestamptz, c_tstz_0 timestamptz(0), c_tstz_3 timestamptz(3),
  c_interval interval,
  c_bit1 bit(1), c_bit3 bit(3), c_bit20 bit(20), c_varbit varbit, c_varbit1 varbit(1), c_varbit33 varbit(33),
  c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8,
  c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange, c_daterange daterange,
  c_point point, c_hstore hstore, c_ltree ltree, c_tsvector tsvector,
  c_mood diff.mood, c_positive diff.positive, c_price diff.price, c_deep_price diff.deep_price, c_label diff.label
);

CREATE TABLE diff.arrays (
  id int PRIMARY KEY,
  a_int2 int2[], a_int4 int4[], a_int8 int8[], a_oid oid[], a_float4 float4[], a_float8 float8[], a_bool bool[],
  a_numeric_10_2 numeric(10,2)[], a_numeric numeric[],
  a_text text[], a_varchar varchar(30)[], a_char char(3)[], a_uuid uuid[], a_json json[], a_jsonb jsonb[],
  a_inet inet[], a_cidr cidr[], a_macaddr macaddr[],
  a_date date[], a_time time[], a_timetz timetz[], a_ts timestamp[], a_ts_3 timestamp(3)[], a_tstz timestamptz[], a_bytea bytea[],
  a_int4range int4range[], a_int8range int8range[], a_numrange numrange[], a_tsrange tsrange[], a_tstzrange tstzrange[],
  a_daterange daterange[], a_mood diff.mood[], a_citext citext[], a_ltree ltree[], a_hstore hstore[]
);

CREATE DOMAIN diff.ints AS int[];
CREATE TYPE diff.float_range AS RANGE (subtype = float8);
CREATE TABLE diff.modified (
  id int PRIMARY KEY,
  m_small numeric(3,2), m_timestamptzs timestamptz(3)[], m_ints diff.ints, m_range diff.float_range, m_texts text[], m_floats float4[],
  m_interval_0 interval(0), m_interval_ym interval year to month, m_ts_5 timestamp(5), m_ts_1 timestamp(1), m_time_4 time(4),
  m_tstz_1 timestamptz(1), m_tstz_6 timestamptz(6), m_regproc regproc, m_tid tid, m_bit bit, m_char char, m_macaddr8s macaddr8[],
  m_chars "char"[], m_tsvectors tsvector[], m_lsns pg_lsn[]
);

-- What Debezium 3.6.3 loses, leaves out or gets wrong.
CREATE TABLE diff.apart (
  id int PRIMARY KEY,
  p_times time[], p_timetzs timetz(3)[], p_nan numeric(10,2)[], p_dates date[], p_timestamptzs timestamptz[], p_matrix int[][],
  p_vector oidvector, p_moneys money[], p_names name[], p_intervals interval[], p_xmls xml[], p_points point[], p_bits bit(3)[],
  p_positives diff.positive[], p_boxes box[]
);

CREATE TABLE diff.shapes (
  id int PRIMARY KEY,
  s_box box, s_lseg lseg, s_path path, s_polygon polygon, s_circle circle, s_line line
);

-- Types for which Debezium has no converter.
CREATE TABLE diff.unknown (
  id int PRIMARY KEY,
  u_pair diff.pair, u_pg_lsn pg_lsn, u_tsquery tsquery, u_txid txid_snapshot, u_int4multirange int4multirange, u_regclass regclass, u_xid xid
);

CREATE TABLE diff.required (
  id int PRIMARY KEY,
  n_int4 int4 NOT NULL, n_int8 int8 NOT NULL, n_int2 int2 NOT NULL, n_bool bool NOT NULL, n_text text NOT NULL, n_varchar varchar(9) NOT NULL,
  n_float8 float8 NOT NULL, n_float4 float4 NOT NULL, n_numeric numeric(10,2) NOT NULL, n_numeric_any numeric NOT NULL, n_ts timestamp NOT NULL, n_ts_3 timestamp(3) NOT NULL, n_tstz timestamptz NOT NULL,
  n_date date NOT NULL, n_time time NOT NULL, n_time_3 time(3) NOT NULL, n_timetz timetz NOT NULL, n_interval interval NOT NULL, n_uuid uuid NOT NULL, n_json json NOT NULL, n_jsonb jsonb NOT NULL,
  n_bytea bytea NOT NULL, n_bit1 bit(1) NOT NULL, n_bit9 bit(9) NOT NULL, n_char char(3) NOT NULL, n_inet inet NOT NULL, n_range int4range NOT NULL,
  n_array int4[] NOT NULL, n_mood diff.mood NOT NULL, n_point point NOT NULL, n_money money NOT NULL, n_hstore hstore NOT NULL, n_oid oid NOT NULL, n_xml xml NOT NULL, n_citext citext NOT NULL,
  n_price diff.price NOT NULL, n_tsvector tsvector NOT NULL, n_name name NOT NULL, n_char1 "char" NOT NULL, n_ltree ltree NOT NULL,
  n_texts text[] NOT NULL, n_circle circle NOT NULL, n_pair diff.pair NOT NULL
);

-- Debezium's JSON converter replaces null by the column's default; Penstock keeps null.
CREATE TABLE diff.defaulted (id int PRIMARY KEY, d_int int DEFAULT 5, d_text text NOT NULL DEFAULT 'new', d_ts timestamptz NOT NULL DEFAULT now());

CREATE TABLE diff.toasted (id int PRIMARY KEY, note text, big text, big_full bytea);
CREATE TABLE diff.toasted_full (id int PRIMARY KEY, note text, big text);
ALTER TABLE diff.toasted_full REPLICA IDENTITY FULL;
ALTER TABLE diff.toasted ALTER big SET STORAGE EXTERNAL;
ALTER TABLE diff.toasted_full ALTER big SET STORAGE EXTERNAL;
CREATE TABLE diff.composite_key (b text, a int, note text, PRIMARY KEY (a, b));
CREATE TABLE diff."Quoted Ünïcode" ("Ïd ""x""" text PRIMARY KEY, "välue" text);
CREATE TABLE diff.no_key (a int, b text);
ALTER TABLE diff.no_key REPLICA IDENTITY FULL;
CREATE PUBLICATION diff_pub FOR ALL TABLES;
