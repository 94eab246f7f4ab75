SET TimeZone = 'Europe/Berlin';
SET lc_monetary = 'C';
INSERT INTO diff.every_type (id) VALUES (1);
INSERT INTO diff.every_type VALUES (2,
  true, -32768, 2147483647, -9223372036854775808, 4294967295, 1.1, 0.1,
  12345678.90, 99999, 1234567890123456789012345678.0123456789, 123456789012345678901234567890.123456789000,
  1234567.89,
  E'tab\t newline\n quote" backslash\\ bell\x07 del\x7f ünïcödé 🚀 \u2028', 'varchar', 'any', 'ab', 'c', 'a_name', 'CiText',
  '\x00ff10deadbeef', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a" : 1,  "b":[1,2, null], "c":"\u00e9"}', '{"a": 1.50, "b": "x\"y"}', '<a>&amp;</a>',
  '2024-05-06', '13:14:15.123456', '13:14:15', '13:14:15.123', '13:14:15.123456', '13:14:15.123456+02', '13:14:15.120-05:30',
  '2024-05-06 07:08:09.123456', '2024-05-06 07:08:09', '2024-05-06 07:08:09.123', '2024-05-06 07:08:09.1234', '2024-05-06 07:08:09.12',
  '2024-05-06 07:08:09.123456+02', '2024-05-06 07:08:09+00', '2024-05-06 07:08:09.120-03:30',
  '1 year 2 mons 3 days 04:05:06.789012',
  B'1', B'101', B'10000000000000000001', B'1011', B'1', B'100000000000000000000000000000001',
  '192.168.1.5/24', '10.1.0.0/16', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '[1,10)', '[5,)', '(1.5,2.5]', '[2024-01-01 00:00:00,2024-02-01 12:30:00.5)', '[2024-01-01 00:00:00+00,2024-02-01 00:00:00+02)', '[2024-01-01,2024-02-01)',
  '(1.5,-2.25)', 'a=>1, "b c"=>NULL, "q\"uote"=>"v\\alue"', 'Top.Science.Astro', 'a fat cat sat',
  'it''s "great"', 7, 19.99, 5.5, 'label');
INSERT INTO diff.every_type VALUES (3,
  false, 0, -1, 0, 0, 'NaN', 'NaN',
  'NaN', 'NaN', 'NaN', 'NaN',
  -0.01,
  '', '', '', '', '', '', '',
  '', '00000000-0000-0000-0000-000000000000', 'null', 'null', '',
  '0001-01-01', '00:00:00', '00:00:00', '00:00:00', '24:00:00', '00:00:00+00', '24:00:00+00',
  '0001-01-01 00:00:00', '1970-01-01 00:00:00', '1969-12-31 23:59:59.999', '1969-12-31 23:59:59.9999', '1900-01-01 00:00:00.000001',
  '0001-01-01 00:00:00+00', '1970-01-01 00:00:00+00', '1969-12-31 23:59:59.999+00',
  '-1 year -2 mons +3 days -04:05:06.789',
  B'0', B'000', B'00000000000000000000', B'', B'0', B'0',
  '::1', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00:00:00',
  'empty', 'empty', 'empty', 'empty', 'empty', 'empty',
  '(0,0)', '', '', '',
  'sad', 1, 0, 0, '');
INSERT INTO diff.every_type (id, c_float4, c_float8, c_numeric, c_numeric_38_10, c_date, c_ts, c_ts_3, c_tstz, c_interval, c_money, c_numeric_10_2, c_text) VALUES
  (4, 'Infinity', '-Infinity', 0, 0, 'infinity', 'infinity', 'infinity', 'infinity', '0', -92233720368547758.08, -99999999.99, 'x'),
  (5, '-Infinity', 'Infinity', 1e20, -1e-10, '-infinity', '-infinity', '-infinity', '-infinity', '-178000000 years', 92233720368547758.07, 0.01, 'x'),
  (6, 1e-45, 5e-324, 1e-20, 0.0000000001, '0044-03-15 BC', '0044-03-15 12:00:00 BC', '0044-03-15 12:00:00.5 BC', '0044-03-15 12:00:00+00 BC', '1 mon', 0, -0.01, 'x'),
  (7, 3.4028235e38, 1.7976931348623157e308, -123.450, 9999999999999999999999999999.9999999999, '5874897-12-31', '294276-12-31 23:59:59.999999', '9999-12-31 23:59:59.999', '294276-12-31 23:59:59.999999+00', '-1 days -00:00:00.000001', 1, 1, 'x'),
  (8, 16777216, 9007199254740993, 100, 1, '4713-01-01 BC', '4713-01-01 00:00:00 BC', '0001-01-01 00:00:00', '12024-01-01 00:00:00+00', '00:00:00.5', 0.5, 2.5, 'x'),
  (9, 123456.789, 1e21, 100.10, 2, '1582-10-10', '1582-10-10 01:02:03', '1883-11-18 12:03:58', '1883-11-18 12:03:58+00', '2147483647 mons', 99.995, 3, 'x'),
  (10, -0.0, -0.0, -0, 3, '1970-01-01', '2024-12-31 23:59:60', '2024-02-29 00:00:00', '2024-02-29 12:34:00+00', '100000 hours', 1000000, 4, 'x'),
  (11, 1e10, 1e15, 1e131000, 4, '12024-01-01', '2024-01-01 10:00:00.1', '2024-01-01 10:00:00.100', '2024-01-01 10:00:00.100+00', '1 year -1 day', 5, 5, 'x'),
  (12, 0.001, 1e-5, 'Infinity', 4, '2024-01-01', '2024-01-01 10:00:00.1', '2024-01-01 10:00:00.100', '2024-01-01 10:00:00.123400+00', '00:00:00.000001', 5, 5, 'x'),
  (13, 0.0001, 12345678.9, '-Infinity', 4, '2024-01-01', '2024-01-01 10:00:00.1', '2024-01-01 10:00:00.100', '1800-01-01 10:00:00+00', '-3 mons 5 days 10:11:12.123456', 5, 5, 'x');
INSERT INTO diff.arrays (id) VALUES (1);
INSERT INTO diff.arrays VALUES (2,
  '{1,NULL,-3}', '{1,2}', '{9223372036854775807}', '{1,4294967295}', '{1.5,NaN}', '{0.1,-Infinity}', '{t,f,NULL}',
  '{1.50,2.25,NULL}', '{1.5,2,NULL,1e10}',
  '{a,"b c","q\"q","back\\slash",NULL,"NULL","",", {}"}', '{x,yy}', '{a,bcd}', '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', ARRAY['{"a":1}','[1, 2]']::json[], ARRAY['{"a":1}']::jsonb[],
  '{127.0.0.1,10.0.0.0/8}', '{10.0.0.0/8}', '{08:00:2b:01:02:03}',
  '{2024-05-06,NULL}', '{13:14:15.123}', '{13:14:15+02}', '{"2024-05-06 07:08:09.123456"}', '{"2024-05-06 07:08:09.123"}', '{"2024-05-06 07:08:09.123456+02"}', ARRAY['\x00ff'::bytea, NULL],
  '{"[1,3)"}', '{"[1,3)"}', '{"[1.5,3)"}', '{"[2024-01-01,2024-02-01)"}', '{"[2024-01-01 00:00:00+00,2024-02-01 00:00:00+00)"}',
  '{"[2024-01-01,2024-02-01)"}', '{sad,"it''s \"great\""}', '{Abc}', '{a.b,c}', ARRAY['a=>1'::hstore]);
INSERT INTO diff.arrays (id, a_int4, a_text, a_bool, a_numeric) VALUES (3, '{}', '{}', '{}', '{}');
INSERT INTO diff.modified VALUES (1, 1.23, '{"2024-01-01 00:00:00.12+00"}', '{1,2}', '[1.5,2.5)', '{NULL}', '{1.1,Infinity}',
  '1 day 00:00:01', '1 year 2 mons', '2024-01-01 00:00:00.12345', '2024-01-01 00:00:00.1', '10:00:00.1234',
  '2024-01-01 00:00:00.5+00', '2024-01-01 00:00:00.5+00', 'now', '(1,2)', B'1', 'x', '{08:00:2b:01:02:03:04:05}',
  '{a}', ARRAY['a b'::tsvector], '{0/16}');
INSERT INTO diff.apart VALUES (1, '{10:11:12.345678}', '{10:11:12.345+02}', '{NaN,1}', '{infinity,"0044-03-15 BC"}', '{"0044-03-15 00:00:00+00 BC"}',
  '{{1,2},{3,4}}', '1 2', '{1,2.5}', '{a}', '{1 day}', '{<a/>}', ARRAY['(1,2)'::point], '{101}', '{1,2}', '{(1,2),(3,4)}');
INSERT INTO diff.shapes VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL),
  (2, '((1,2),(3,4))', '[(1,2),(3,4.5)]', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,2),3>', '{1,-1,0}'),
  (3, NULL, NULL, '((0,0),(1,1),(2,0))', NULL, NULL, NULL);
INSERT INTO diff.unknown VALUES (1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (2, '(1,"x y")', '16/B374D848', 'fat & rat', '10:20:10,14,15', '{[1,3),[5,8)}', 'pg_class', '100');
INSERT INTO diff.required VALUES (1, 5, 6, 7, true, 'text', 'v', 1.5, 2.5, 3.50, 4.25, '2024-01-01', '2024-01-01', '2024-01-01', '2024-01-01', '10:00', '10:00', '10:00+00',
  '1 day', gen_random_uuid(), '{}', '{}', '\x01', B'1', B'101010101', 'abc', '127.0.0.1', '[1,2)', '{1}', 'ok', '(1,1)', 5, 'a=>1', 9, '<a/>', 'c', 1.25, 'x', 'n', 'c', 'a.b', '{x}', '<(1,2),3>', '(1,x)');
UPDATE diff.required SET n_int4 = 6;
UPDATE diff.required SET id = 2;
DELETE FROM diff.required;
INSERT INTO diff.defaulted VALUES (1, NULL, 'x', '2024-01-01 00:00:00+00');
UPDATE diff.defaulted SET d_int = 7;
DELETE FROM diff.defaulted;
INSERT INTO diff.toasted VALUES (1, 'first', repeat('x', 9000), decode(repeat('00ff', 5000), 'hex'));
UPDATE diff.toasted SET note = 'second';
UPDATE diff.toasted SET big = 'short';
DELETE FROM diff.toasted;
INSERT INTO diff.toasted_full VALUES (1, 'first', repeat('y', 9000));
UPDATE diff.toasted_full SET note = 'second';
UPDATE diff.toasted_full SET id = 2;
DELETE FROM diff.toasted_full;
INSERT INTO diff.composite_key VALUES ('b', 1, 'one');
UPDATE diff.composite_key SET note = 'two';
UPDATE diff.composite_key SET b = 'c';
UPDATE diff.composite_key SET a = 2, note = NULL;
DELETE FROM diff.composite_key;
INSERT INTO diff."Quoted Ünïcode" VALUES ('schlüssel "x"', 'wért');
UPDATE diff."Quoted Ünïcode" SET "välue" = NULL;
DELETE FROM diff."Quoted Ünïcode";
INSERT INTO diff.no_key VALUES (1, 'a');
UPDATE diff.no_key SET b = 'b';
DELETE FROM diff.no_key;
BEGIN;
INSERT INTO diff.composite_key VALUES ('tx', 1, 'one');
ALTER TABLE diff.composite_key ADD COLUMN added numeric(6,3) DEFAULT 1.5;
INSERT INTO diff.composite_key VALUES ('tx', 2, 'two', 2.25);
COMMIT;
TRUNCATE diff.composite_key;
