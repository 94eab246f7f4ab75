// Single records and Collections.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { connect, key, refusedWith } = require('./support.cjs');

let conn;
before(async () => { conn = await connect(); });

test('one record is created, read, updated, upserted and deleted', async () => {
  const code = key('crud');
  const created = await conn.sobject('Account').create({ Name: 'Made by jsforce', Code__c: code });
  assert.equal(created.success, true);
  assert.deepEqual(created.errors, []);
  const record = await conn.sobject('Account').retrieve(created.id);
  assert.equal(record.Name, 'Made by jsforce');
  assert.equal(record.attributes.url, `/services/data/v62.0/sobjects/Account/${created.id}`);
  const updated = await conn.sobject('Account').update({ Id: created.id, Name: 'Änder ✓' });
  assert.deepEqual(updated, { id: created.id, success: true, errors: [] });
  const upserted = await conn.sobject('Account').upsert({ Code__c: code, Phone: '1' }, 'Code__c');
  assert.equal(upserted.success, true);
  assert.equal(upserted.created, false);
  assert.equal((await conn.sobject('Account').upsert({ Code__c: key('new'), Name: 'n' }, 'Code__c')).created, true);
  assert.equal((await conn.sobject('Account').retrieve(created.id)).Name, 'Änder ✓');
  assert.deepEqual(await conn.sobject('Account').destroy(created.id), { id: created.id, success: true, errors: [] });
  await refusedWith('ENTITY_IS_DELETED', () => conn.sobject('Account').retrieve(created.id));
});

test('arrays go through Collections, over the limit of one call, each row with its result', async () => {
  const rows = Array.from({ length: 450 }, (_, n) => ({ Name: `n${n}`, Code__c: key('many') }));
  const created = await conn.sobject('Account').create(rows, { allowRecursive: true });
  assert.equal(created.length, 450);
  assert.ok(created.every((result) => result.success && /^001/.test(result.id)));
  const ids = created.map((result) => result.id);
  const read = await conn.sobject('Account').retrieve(ids.slice(0, 200));
  assert.deepEqual(read.map((record) => record.Code__c), rows.slice(0, 200).map((row) => row.Code__c));
  const changes = ids.map((Id, n) => (n === 7 ? { Id, Name: null } : { Id, Name: 'changed' }));
  const updated = await conn.sobject('Account').update(changes, { allowRecursive: true });
  assert.equal(updated.filter((result) => result.success).length, 449);
  assert.equal(updated[7].success, false);
  assert.equal(updated[7].errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
  const upserts = [...rows.slice(0, 3), { Name: 'new', Code__c: key('many') }];
  const upserted = await conn.sobject('Account').upsert(upserts, 'Code__c');
  assert.deepEqual(upserted.map((result) => result.created), [false, false, false, true]);
  const destroyed = await conn.sobject('Account').destroy(ids, { allowRecursive: true });
  assert.ok(destroyed.length === 450 && destroyed.every((result) => result.success));
});

test('allOrNone takes back the good rows with the bad one', async () => {
  const code = key('none');
  const results = await conn.sobject('Account').create([{ Name: 'good', Code__c: code }, { Phone: 'no name' }], { allOrNone: true });
  assert.deepEqual(results.map((result) => result.errors[0].statusCode), ['ALL_OR_NONE_OPERATION_ROLLED_BACK', 'REQUIRED_FIELD_MISSING']);
  assert.equal((await conn.query(`SELECT COUNT() FROM Account WHERE Code__c = '${code}'`)).totalSize, 0);
});

test('refusals carry code and fields', async () => {
  await assert.rejects(() => conn.sobject('Account').create({}), (error) => {
    assert.equal(error.errorCode, 'REQUIRED_FIELD_MISSING');
    assert.deepEqual(error.data[0]?.fields ?? error.data.fields, ['Name']);
    return true;
  });
  await refusedWith('NOT_FOUND', () => conn.sobject('Nothing__c').create({}));
  await refusedWith('INVALID_FIELD', () => conn.sobject('Account').create({ Name: 'n', Nope__c: 1 }));
});

test('updated and deleted list what changed', async () => {
  const { id } = await conn.sobject('Account').create({ Name: 'n' });
  const gone = (await conn.sobject('Account').create({ Name: 'n' })).id;
  await conn.sobject('Account').destroy(gone);
  const [start, end] = [-600_000, 600_000].map((ms) => new Date(Date.now() + ms));
  assert.ok((await conn.sobject('Account').updated(start, end)).ids.includes(id));
  const deleted = await conn.sobject('Account').deleted(start, end);
  assert.ok(deleted.deletedRecords.some((record) => record.id === gone));
});
