// Bulk API 1.0: CSV batches, jobs and batches in XML.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { connect, key } = require('./support.cjs');

let conn;
before(async () => {
  conn = await connect();
  conn.bulk.pollInterval = 50;
  conn.bulk.pollTimeout = 60_000;
});

test('rows are loaded, upserted, queried and deleted', async () => {
  const mark = key('bulk1');
  const rows = Array.from({ length: 300 }, (_, n) => ({ Name: mark, Code__c: `${mark}-${n}` }));
  const loaded = await conn.bulk.load('Account', 'insert', rows);
  assert.equal(loaded.length, 300);
  assert.ok(loaded.every((result) => result.success && /^001/.test(result.id) && result.errors.length === 0));
  const upserted = await conn.bulk.load('Account', 'upsert', { extIdField: 'Code__c' }, [
    { Name: 'changed', Code__c: `${mark}-0` },
    { Name: '', Code__c: `${mark}-bad` },
  ]);
  assert.deepEqual(upserted.map((result) => result.success), [true, false]);
  assert.match(upserted[1].errors[0], /REQUIRED_FIELD_MISSING/);
  assert.equal((await conn.sobject('Account').findOne({ Code__c: `${mark}-0` }, ['Name'])).Name, 'changed');
  const found = [];
  for await (const record of await conn.bulk.query(`SELECT Id, Code__c FROM Account WHERE Code__c LIKE '${mark}%'`)) found.push(record);
  assert.equal(found.length, 300);
  const deleted = await conn.bulk.load('Account', 'delete', found.map(({ Id }) => ({ Id })));
  assert.ok(deleted.length === 300 && deleted.every((result) => result.success));
  assert.equal((await conn.query(`SELECT COUNT() FROM Account WHERE Code__c LIKE '${mark}%'`)).totalSize, 0);
});

test('a job and its batches are listed and closed', async () => {
  const job = conn.bulk.createJob('Account', 'insert');
  const opened = await job.open();
  assert.deepEqual([opened.object, opened.operation, opened.state], ['Account', 'insert', 'Open']);
  const batch = job.createBatch();
  await new Promise((resolve, reject) => {
    batch.on('queue', resolve);
    batch.on('error', reject);
    batch.execute([{ Name: key('listed') }]);
  });
  assert.equal((await job.list()).length, 1);
  assert.equal((await job.close()).state, 'Closed');
});
