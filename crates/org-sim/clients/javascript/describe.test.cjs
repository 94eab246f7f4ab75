// Describe, limits, recent records.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { connect, key } = require('./support.cjs');

let conn;
before(async () => { conn = await connect(); });

test('global describe lists objects', async () => {
  const { sobjects } = await conn.describeGlobal();
  const account = sobjects.find((object) => object.name === 'Account');
  assert.deepEqual([account.keyPrefix, account.custom, account.queryable], ['001', false, true]);
  assert.ok(sobjects.some((object) => object.name === 'Deal__c' && object.custom));
});

test('object describe lists fields, values and parents', async () => {
  const { fields, childRelationships } = await conn.describe('Account');
  const field = (name) => fields.find((each) => each.name === name);
  assert.deepEqual([field('Code__c').type, field('Code__c').externalId, field('Code__c').length], ['string', true, 40]);
  assert.deepEqual(field('ParentId').referenceTo, ['Account']);
  assert.ok(field('Industry').picklistValues.some((value) => value.value === 'Banking'));
  assert.ok(childRelationships.some((child) => child.childSObject === 'Contact' && child.field === 'AccountId'));
  await conn.sobject('Account').describe$();
});

test('limits follow edition and licences, and each answer tells the usage', async () => {
  const limits = await conn.limits();
  assert.equal(limits.DailyApiRequests.Max, 200_000);
  assert.equal(limits.DailyBulkV2QueryJobs.Max, 10_000);
  const { used, limit } = conn.limitInfo.apiUsage;
  assert.equal(limit, 200_000);
  await conn.limits();
  assert.equal(conn.limitInfo.apiUsage.used > used, true);
});

test('recent tells what was viewed', async () => {
  const name = key('viewed');
  const { id } = await conn.sobject('Account').create({ Name: name });
  await conn.query(`SELECT Id FROM Account WHERE Id = '${id}' FOR VIEW`);
  const [newest] = await conn.recent(1);
  assert.deepEqual([newest.Id, newest.Name, newest.attributes.type], [id, name, 'Account']);
});
