// Where the simulated org is, and jsforce's connections to it.

const assert = require('node:assert/strict');
const jsforce = require('jsforce');

const { ORG_URL, ORG_CLIENT_ID, ORG_CLIENT_SECRET, ORG_USERNAME, ORG_PASSWORD } = process.env;
const version = '62.0';
const oauth2 = { loginUrl: ORG_URL, clientId: ORG_CLIENT_ID, clientSecret: ORG_CLIENT_SECRET };

/** A connection that is logged in by client credentials. */
async function connect() {
  const conn = new jsforce.Connection({ loginUrl: ORG_URL, instanceUrl: ORG_URL, version, oauth2 });
  await conn.authorize({ grant_type: 'client_credentials' });
  return conn;
}

let numbers = 0;

/** A text that no other test uses. */
function key(prefix) {
  numbers += 1;
  return `js-${prefix}-${process.pid}-${numbers}`;
}

/** Insists that a call is refused with one of Salesforce's codes. */
async function refusedWith(errorCode, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.errorCode ?? error.name, errorCode, error.message);
    return true;
  });
}

module.exports = { connect, jsforce, key, oauth2, refusedWith, version, url: ORG_URL, username: ORG_USERNAME, password: ORG_PASSWORD };
