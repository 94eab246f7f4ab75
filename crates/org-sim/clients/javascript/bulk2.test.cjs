// Bulk API 2.0: ingest and query.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { connect, key } = require('./support.cjs');

let conn;
before(async () => {
  conn = await connect();
  conn.bulk2.pollInterval = 50;
  conn.bulk2.pollTimeout = 60_000;
});

async function all(stream) {
  const records = [];
  for await (const record of stream) records.push(record);
  return records;
}

test('rows are loaded, updated, upserted, queried and deleted', async () => {
  const mark = key('bulk2');
  const input = Array.from({ length: 1000 }, (_, n) => ({ Name: mark, Code__c: `${mark}-${n}`, Phone: `${n}` }));
  const loaded = await conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'insert', input });
  assert.deepEqual([loaded.successfulResults.length, loaded.failedResults.length, loaded.unprocessedRecords.length], [1000, 0, 0]);
  const ids = new Map(loaded.successfulResults.map((row) => [row.Code__c, row.sf__Id]));
  assert.ok(loaded.successfulResults.every((row) => row.sf__Created === 'true' && /^001/.test(row.sf__Id)));
  const { records } = await conn.query(`SELECT Id, Code__c FROM Account WHERE Name = '${mark}'`);
  assert.deepEqual(new Map(records.map((record) => [record.Code__c, record.Id])).size, 1000);
  assert.ok(records.every((record) => ids.get(record.Code__c) === record.Id));

  const changes = [...ids.values()].slice(0, 5).map((Id) => ({ Id, Phone: '#N/A' }));
  const updated = await conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'update', input: changes });
  assert.equal(updated.successfulResults.length, 5);
  assert.equal((await conn.query(`SELECT COUNT() FROM Account WHERE Name = '${mark}' AND Phone = NULL`)).totalSize, 5);

  const upserts = [{ Name: mark, Code__c: `${mark}-1` }, { Name: mark, Code__c: `${mark}-new` }, { Name: '', Code__c: `${mark}-bad` }];
  const upserted = await conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'upsert', externalIdFieldName: 'Code__c', input: upserts });
  assert.deepEqual(upserted.successfulResults.map((row) => row.sf__Created).sort(), ['false', 'true']);
  assert.equal(upserted.failedResults.length, 1);
  assert.match(upserted.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:/);
  assert.equal(upserted.failedResults[0].Code__c, `${mark}-bad`);

  const found = await all(await conn.bulk2.query(`SELECT Id, Code__c FROM Account WHERE Name = '${mark}'`));
  assert.equal(found.length, 1001);
  assert.equal(new Set(found.map((record) => record.Id)).size, 1001);

  const deleted = await conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'delete', input: found.map(({ Id }) => ({ Id })) });
  assert.equal(deleted.successfulResults.length, 1001);
  assert.equal((await conn.query(`SELECT COUNT() FROM Account WHERE Name = '${mark}'`)).totalSize, 0);
  const gone = await all(await conn.bulk2.query(`SELECT Id FROM Account WHERE Name = '${mark}'`, { scanAll: true }));
  assert.equal(gone.length, 1001);
});

test('a job is followed step by step, and can be aborted and deleted', async () => {
  const job = conn.bulk2.createJob({ object: 'Account', operation: 'insert' });
  await job.open();
  assert.equal((await job.check()).state, 'Open');
  await job.abort();
  assert.equal((await job.check()).state, 'Aborted');
  await job.delete();
  await assert.rejects(() => job.check(), { errorCode: 'NOT_FOUND' });
});

test('a wrong column fails the job, and a wrong query is refused', async () => {
  await assert.rejects(() => conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'insert', input: [{ Nope__c: '1' }] }), /Nope__c|InvalidBatch/);
  await assert.rejects(() => conn.bulk2.query('SELECT Nope FROM Account'), { errorCode: /INVALID_FIELD|API_ERROR|INVALID/ });
});
