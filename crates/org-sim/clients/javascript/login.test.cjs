// Ways to come by a session.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { connect, jsforce, oauth2, password, url, username, version } = require('./support.cjs');

test('SOAP login gives user and organisation, and logout ends the session', async () => {
  const conn = new jsforce.Connection({ loginUrl: url, version });
  const user = await conn.loginBySoap(username, password);
  assert.match(user.id, /^005\w{15}$/);
  assert.match(user.organizationId, /^00D\w{15}$/);
  assert.equal(conn.instanceUrl, url);
  assert.equal((await conn.query('SELECT COUNT() FROM User')).totalSize > 0, true);
  const { accessToken } = conn;
  await conn.logout();
  const ended = new jsforce.Connection({ instanceUrl: url, accessToken, version });
  await assert.rejects(() => ended.query('SELECT Id FROM User'), { errorCode: 'INVALID_SESSION_ID' });
});

test('SOAP login with a wrong password tells the fault', async () => {
  const conn = new jsforce.Connection({ loginUrl: url, version });
  await assert.rejects(() => conn.loginBySoap(username, 'wrong'), /INVALID_LOGIN: Invalid username, password/);
});

test('password flow and refresh token renew a session that has ended', async () => {
  const conn = new jsforce.Connection({ oauth2, version });
  const user = await conn.login(username, password);
  assert.match(user.id, /^005/);
  const token = await conn.oauth2.authenticate(username, password);
  const other = new jsforce.Connection({ oauth2, version, instanceUrl: url, accessToken: token.access_token, refreshToken: token.refresh_token });
  for (const each of [conn, other]) {
    const old = each.accessToken;
    let refreshed = 0;
    each.on('refresh', () => { refreshed += 1; });
    await each.oauth2.revokeToken(old);
    assert.ok((await each.query('SELECT Id FROM User LIMIT 1')).done);
    assert.equal(refreshed, 1);
    assert.notEqual(each.accessToken, old);
  }
});

test('client credentials, identity and revocation work', async () => {
  const conn = await connect();
  const identity = await conn.identity();
  assert.equal(identity.username, username);
  assert.equal(identity.user_id, conn.userInfo.id);
  assert.equal(identity.organization_id, conn.userInfo.organizationId);
  assert.match(identity.urls.sobjects, /\/services\/data\/v\{version\}\/sobjects\/$/);
  const { accessToken } = conn;
  await conn.logout();
  const ended = new jsforce.Connection({ instanceUrl: url, accessToken, version });
  await assert.rejects(() => ended.limits(), { errorCode: 'INVALID_SESSION_ID' });
});

test('wrong clients are refused by OAuth error', async () => {
  const conn = new jsforce.Connection({ oauth2: { ...oauth2, clientId: 'stranger' }, version });
  await assert.rejects(() => conn.login(username, password), { name: 'invalid_client_id' });
});
