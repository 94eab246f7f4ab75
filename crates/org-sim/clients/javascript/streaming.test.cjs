// Change events and platform events by CometD, through jsforce's own client (faye).

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { StreamingExtension } = require('jsforce/lib/api/streaming');
const { connect, key } = require('./support.cjs');

const changes = '/data/Deal__ChangeEvent';

/** Subscribes and gives a function that waits for the next message. */
async function listen(conn, channel, replay) {
  const client = conn.streaming.createClient([new StreamingExtension.Replay(channel, replay)]);
  const queue = [];
  let wake = () => {};
  const subscription = client.subscribe(channel, (message) => {
    queue.push(message);
    wake();
  });
  await subscription;
  return {
    async next() {
      while (queue.length === 0) await new Promise((resolve) => { wake = resolve; });
      return queue.shift();
    },
    stop() {
      subscription.cancel();
      client.disconnect();
    },
  };
}

test('change events tell create, update and delete, and can be replayed', { timeout: 60_000 }, async () => {
  const conn = await connect();
  const live = await listen(conn, changes, -1);
  const code = key('change');
  const { id } = await conn.sobject('Deal__c').create({ Key__c: code, Amount__c: 1.5 });
  const created = await live.next();
  assert.deepEqual(created.payload.ChangeEventHeader.recordIds, [id]);
  assert.equal(created.payload.ChangeEventHeader.changeType, 'CREATE');
  assert.equal(created.payload.ChangeEventHeader.entityName, 'Deal__c');
  assert.deepEqual([created.payload.Key__c, created.payload.Amount__c], [code, 1.5]);
  await conn.sobject('Deal__c').update({ Id: id, Amount__c: null });
  const updated = await live.next();
  assert.equal(updated.payload.ChangeEventHeader.changeType, 'UPDATE');
  assert.ok(updated.payload.ChangeEventHeader.changedFields.includes('Amount__c'));
  await conn.sobject('Deal__c').destroy(id);
  const deleted = await live.next();
  assert.equal(deleted.payload.ChangeEventHeader.changeType, 'DELETE');
  live.stop();
  const again = await listen(conn, changes, created.event.replayId);
  assert.deepEqual([(await again.next()).event.replayId, (await again.next()).event.replayId], [updated.event.replayId, deleted.event.replayId]);
  again.stop();
});

test('a platform event is enqueued and delivered', { timeout: 60_000 }, async () => {
  const conn = await connect();
  const live = await listen(conn, '/event/Shipped__e', -1);
  const order = key('order').slice(0, 20);
  const published = await conn.sobject('Shipped__e').create({ Order__c: order, Total__c: 2.25 });
  assert.equal(published.success, true);
  assert.equal(published.errors[0].statusCode, 'OPERATION_ENQUEUED');
  const event = await live.next();
  assert.deepEqual([event.payload.Order__c, event.payload.Total__c], [order, 2.25]);
  assert.equal(event.event.EventUuid ?? published.errors[0].message, published.errors[0].message);
  live.stop();
});
