// Queries: pages fetched along the way, finders, children, aggregates.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { connect, jsforce, key, refusedWith } = require('./support.cjs');

const mark = key('query');
const total = 4500;
let conn;

before(async () => {
  conn = await connect();
  const rows = Array.from({ length: total }, (_, n) => ({ Name: mark, Code__c: `${mark}-${n}`, NumberOfEmployees: n }));
  const created = await conn.sobject('Account').create(rows, { allowRecursive: true });
  assert.ok(created.length === total && created.every((result) => result.success));
});

test('a query gives one page, and queryMore the next ones', async () => {
  const first = await conn.query(`SELECT Id FROM Account WHERE Name = '${mark}'`);
  assert.deepEqual([first.totalSize, first.done, first.records.length], [total, false, 2000]);
  const second = await conn.queryMore(first.nextRecordsUrl);
  const third = await conn.queryMore(second.nextRecordsUrl);
  assert.deepEqual([second.records.length, third.records.length, third.done, third.nextRecordsUrl], [2000, 500, true, undefined]);
  await refusedWith('INVALID_QUERY_LOCATOR', () => conn.queryMore('01g000000000000AAA-2000'));
});

test('autoFetch reads every page as a stream of records', async () => {
  const seen = [];
  const query = conn.query(`SELECT Code__c FROM Account WHERE Name = '${mark}' ORDER BY NumberOfEmployees`);
  query.on('record', (record) => seen.push(record.Code__c));
  await query.run({ autoFetch: true, maxFetch: 10_000 });
  assert.equal(query.totalSize, total);
  assert.equal(query.totalFetched, total);
  assert.deepEqual(seen, Array.from({ length: total }, (_, n) => `${mark}-${n}`));
});

test('finders build conditions, order, limit and offset', async () => {
  const found = await conn
    .sobject('Account')
    .find(
      { $and: [{ Name: mark }, { NumberOfEmployees: { $gte: 10 } }, { NumberOfEmployees: { $lt: 20 } }, { Code__c: { $ne: `${mark}-18` } }] },
      ['Id', 'NumberOfEmployees'],
    )
    .sort({ NumberOfEmployees: -1 })
    .skip(1)
    .limit(3);
  assert.deepEqual(found.map((record) => record.NumberOfEmployees), [17, 16, 15]);
  assert.equal(await conn.sobject('Account').count({ Name: mark }), total);
  assert.equal((await conn.sobject('Account').findOne({ Code__c: `${mark}-7` }, { Name: 1 })).Name, mark);
  const today = jsforce.SfDate.toDateTimeLiteral(new Date(Date.now() - 3_600_000));
  assert.equal(await conn.sobject('Account').count({ Name: mark, CreatedDate: { $gte: today } }), total);
  assert.equal(await conn.sobject('Account').count({ Name: mark, CreatedDate: { $gte: jsforce.SfDate.TODAY } }), total);
});

test('children are read with their parents, and parents with their children', async () => {
  const account = await conn.sobject('Account').create({ Name: key('family') });
  await conn.sobject('Contact').create([1, 2].map((n) => ({ LastName: `Lee ${n}`, AccountId: account.id })));
  const [row] = await conn
    .sobject('Account')
    .find({ Id: account.id }, 'Name')
    .include('Contacts')
    .select('LastName, Account.Name')
    .orderby('LastName', 'DESC')
    .end()
    .execute();
  assert.equal(row.Contacts.totalSize, 2);
  assert.deepEqual(row.Contacts.records.map((child) => [child.LastName, child.Account.Name]), [['Lee 2', row.Name], ['Lee 1', row.Name]]);
});

test('aggregates are named and grouped', async () => {
  const { records } = await conn.query(`SELECT Name, COUNT(Id) n, MAX(NumberOfEmployees), AVG(NumberOfEmployees) FROM Account WHERE Name = '${mark}' GROUP BY Name`);
  assert.deepEqual(records, [{ attributes: { type: 'AggregateResult' }, Name: mark, n: total, expr0: total - 1, expr1: (total - 1) / 2 }]);
});

test('scanAll sees the recycle bin', async () => {
  const code = key('bin');
  const { id } = await conn.sobject('Account').create({ Name: 'n', Code__c: code });
  await conn.sobject('Account').destroy(id);
  const soql = `SELECT Id, IsDeleted FROM Account WHERE Code__c = '${code}'`;
  assert.equal((await conn.query(soql)).totalSize, 0);
  const found = await conn.query(soql, { scanAll: true });
  assert.deepEqual(found.records.map((record) => [record.Id, record.IsDeleted]), [[id, true]]);
});

test('mistakes are refused with code and place', async () => {
  await assert.rejects(() => conn.query('SELECT Id, Nope FROM Account'), (error) => {
    assert.equal(error.errorCode, 'INVALID_FIELD');
    assert.match(error.message, /ERROR at Row:1:Column:12\nNo such column 'Nope' on entity 'Account'/);
    return true;
  });
  await refusedWith('INVALID_TYPE', () => conn.query('SELECT Id FROM Nothing__c'));
});
