// The package is sound, and each planted fault is found. PACKAGE names the folder.
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { faultsOf } from "./check.mjs";

const PACKAGE = process.env.PACKAGE;
const MAIN = "force-app/main/default";

test("the package is sound", () => assert.deepEqual(faultsOf(PACKAGE), []));

const PLANTED = [
  ["a syntax error in Apex", `${MAIN}/classes/CDCStagingApply.cls`, "applied++;", "applied++", "line "],
  ["a field that is not there", `${MAIN}/classes/PostgreSQLDataIntake.cls`, "Replay_Id__c = event.ReplayId", "Repaly_Id__c = event.ReplayId", "Repaly_Id__c"],
  ["a trigger on another object", `${MAIN}/triggers/PostgreSQLDataTrigger.trigger`, "on PostgreSQL_Data__e", "on PostgresData__e", "PostgresData__e"],
  ["broken XML", `${MAIN}/objects/CDC_Staging__c/fields/Key__c.field-meta.xml`, "</type>", "", "line"],
  ["a root of another kind", `${MAIN}/classes/IntegrationLog.cls-meta.xml`, /ApexClass/g, "ApexKlass", "root element"],
  ["a text without a length", `${MAIN}/objects/PostgreSQL_Data__e/fields/Table__c.field-meta.xml`, /<length>.*<\/length>/, "", "length"],
  ["a type that events do not have", `${MAIN}/objects/PostgreSQL_Data__e/fields/Payload__c.field-meta.xml`, "LongTextArea", "Picklist", "platform event"],
  ["an external id that is not unique", `${MAIN}/objects/CDC_Staging__c/fields/Event_Key__c.field-meta.xml`, "<unique>true", "<unique>false", "View All Data"],
  ["too much right", `${MAIN}/permissionsets/Penstock_Integration.permissionset-meta.xml`, "ViewRoles", "ModifyAllData", "ModifyAllData"],
  ["all records", `${MAIN}/permissionsets/Penstock_Operator.permissionset-meta.xml`, "<viewAllRecords>false", "<viewAllRecords>true", "more right"],
  ["field rights on a required field", `${MAIN}/permissionsets/Penstock_Integration.permissionset-meta.xml`, "CDC_Staging__c.Payload__c", "CDC_Staging__c.Key__c", "required"],
  ["a permission for a field that is not there", `${MAIN}/permissionsets/Penstock_Operator.permissionset-meta.xml`, "CDC_Staging__c.Error__c", "CDC_Staging__c.Errors__c", "Errors__c"],
  ["a subscriber that is no trigger", `${MAIN}/platformEventSubscriberConfigs/PostgreSQLData.platformEventSubscriberConfig-meta.xml`, "PostgreSQLDataTrigger", "PostgreSQLTrigger", "PostgreSQLTrigger"],
  ["a secret in a file", "org/main/default/extlClntAppGlobalOauthSets/Penstock_GlobalOAuth.ecaGlblOauth-meta.xml", "<certificate>", "<consumerSecret>s</consumerSecret><certificate>", "secret"],
  ["a user name in a file", "org/main/default/extlClntAppOauthPolicies/Penstock_OAuthPolicy.ecaOauthPlcy-meta.xml", "PENSTOCK_USERNAME", "me@example.com", "filled in"],
  ["an app of another name", `${MAIN}/extlClntAppOauthSettings/Penstock_OAuth.ecaOauth-meta.xml`, "<externalClientApplication>Penstock", "<externalClientApplication>Penstok", "Penstok"],
  ["another API version", `${MAIN}/classes/CDCStagingMapping.cls-meta.xml`, "62.0", "40.0", "API version"],
];

for (const [name, file, from, to, words] of PLANTED) {
  test(`${name} is found`, () => {
    const copy = mkdtempSync(join(tmpdir(), "penstock-package-"));
    try {
      cpSync(PACKAGE, copy, { recursive: true });
      const path = join(copy, file);
      const before = readFileSync(path, "utf8");
      const after = before.replace(from, to);
      assert.notEqual(after, before, "the fault was planted");
      writeFileSync(path, after);
      const faults = faultsOf(copy);
      assert.ok(faults.some((fault) => fault.includes(words)), `not found: ${JSON.stringify(faults)}`);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
}
