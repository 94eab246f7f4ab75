// Checks the Salesforce package without an org: Apex syntax, metadata, names that must meet, rights that must not be there.
// usage: node check.mjs FOLDER; prints one line for each fault and ends with 1 when there is one.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { ApexErrorListener, ApexLexer, ApexParserFactory } from "@apexdevtools/apex-parser";
import { XMLParser, XMLValidator } from "fast-xml-parser";

const NAMESPACE = "http://soap.sforce.com/2006/04/metadata";
// Suffix of a metadata file -> its root element, its folder, and the children that it must have.
const KINDS = {
  "object-meta.xml": ["CustomObject", "objects", ["label"]],
  "field-meta.xml": ["CustomField", "fields", ["fullName", "label", "type"]],
  "listView-meta.xml": ["ListView", "listViews", ["fullName", "filterScope", "label"]],
  "cls-meta.xml": ["ApexClass", "classes", ["apiVersion", "status"]],
  "trigger-meta.xml": ["ApexTrigger", "triggers", ["apiVersion", "status"]],
  "permissionset-meta.xml": ["PermissionSet", "permissionsets", ["label"]],
  "platformEventSubscriberConfig-meta.xml": [
    "PlatformEventSubscriberConfig", "platformEventSubscriberConfigs", ["batchSize", "masterLabel", "platformEventConsumer"],
  ],
  "eca-meta.xml": ["ExternalClientApplication", "externalClientApps", ["contactEmail", "distributionState", "label"]],
  "ecaOauth-meta.xml": [
    "ExtlClntAppOauthSettings", "extlClntAppOauthSettings", ["commaSeparatedOauthScopes", "externalClientApplication", "label"],
  ],
  "ecaGlblOauth-meta.xml": ["ExtlClntAppGlobalOauthSettings", "extlClntAppGlobalOauthSets", ["externalClientApplication", "label"]],
  "ecaOauthPlcy-meta.xml": [
    "ExtlClntAppOauthConfigurablePolicies", "extlClntAppOauthPolicies",
    ["externalClientApplication", "label", "permittedUsersPolicyType"],
  ],
};
// What a field of a type must say, and what a platform event can hold.
const FIELD_NEEDS = {
  Text: ["length"], LongTextArea: ["length", "visibleLines"], Number: ["precision", "scale"], Picklist: ["valueSet"], DateTime: [],
  Date: [], Checkbox: ["defaultValue"],
};
const EVENT_TYPES = ["Checkbox", "Date", "DateTime", "Number", "Text", "LongTextArea"];
const LENGTH_MAX = { Text: 255, LongTextArea: 131072 };
// Rights that would make the integration user more than it must be.
const TOO_MUCH = /^(ModifyAllData|ViewAllData|ManageUsers|AuthorApex|CustomizeApplication|BulkApiHardDelete|ModifyMetadata)$/;

function filesIn(folder) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (name === "check" || name.startsWith(".")) return [];
    return statSync(path).isDirectory() ? filesIn(path) : [path];
  });
}

const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);

/** All faults of a package, as sentences with their place. */
export function faultsOf(root) {
  const faults = [];
  const fault = (path, what) => faults.push(`${relative(root, path)}: ${what}`);
  const files = filesIn(root);
  const metadata = readMetadata(files, fault);
  const names = namesOf(metadata);
  checkFields(metadata, fault);
  checkReferences(metadata, names, fault);
  checkApex(files, names, fault);
  checkProject(root, metadata, fault);
  return faults;
}

/** Parses every -meta.xml: path -> { kind, document }. */
function readMetadata(files, fault) {
  const parser = new XMLParser({ ignoreAttributes: false, parseTagValue: false });
  const found = new Map();
  for (const path of files.filter((path) => path.endsWith("-meta.xml"))) {
    const text = readFileSync(path, "utf8");
    const valid = XMLValidator.validate(text);
    if (valid !== true) {
      fault(path, `line ${valid.err.line}: ${valid.err.msg}`);
      continue;
    }
    const suffix = Object.keys(KINDS).find((suffix) => path.endsWith(`.${suffix}`));
    if (!suffix) {
      fault(path, "no known kind of metadata");
      continue;
    }
    const [kind, folder, needs] = KINDS[suffix];
    const root = parser.parse(text)[kind];
    if (!root) fault(path, `the root element is not ${kind}`);
    else if (root["@_xmlns"] !== NAMESPACE) fault(path, `the namespace is not ${NAMESPACE}`);
    const own = suffix === "object-meta.xml" ? dirname(dirname(path)) : dirname(path);
    if (basename(own) !== folder) fault(path, `${kind} belongs into a folder ${folder}`);
    for (const need of needs.filter((need) => root && root[need] === undefined)) fault(path, `${need} is missing`);
    if (root) found.set(path, { kind, name: basename(path).replace(`.${suffix}`, ""), root });
  }
  return found;
}

/** What exists: objects with their fields, classes, triggers, permission sets, apps. */
function namesOf(metadata) {
  const names = { objects: new Map(), ApexClass: new Set(), ApexTrigger: new Set(), PermissionSet: new Set(), ExternalClientApplication: new Set() };
  for (const [path, { kind, name }] of metadata) {
    if (kind === "CustomObject") names.objects.set(name, names.objects.get(name) ?? new Map());
    else if (names[kind]) names[kind].add(name);
    if (kind === "CustomField") {
      const object = basename(dirname(dirname(path)));
      if (!names.objects.has(object)) names.objects.set(object, new Map());
      names.objects.get(object).set(name, metadata.get(path).root);
    }
  }
  return names;
}

function checkFields(metadata, fault) {
  for (const [path, { kind, name, root }] of metadata) {
    if (kind !== "CustomField") continue;
    const object = basename(dirname(dirname(path)));
    if (root.fullName !== name) fault(path, `fullName is ${root.fullName}`);
    if (!/^[A-Z][A-Za-z0-9_]*__c$/.test(name)) fault(path, `${name} is no API name of a custom field`);
    if (!FIELD_NEEDS[root.type]) fault(path, `the type ${root.type} is not one of this package`);
    for (const need of FIELD_NEEDS[root.type] ?? []) if (root[need] === undefined) fault(path, `a ${root.type} needs ${need}`);
    if (Number(root.length) > LENGTH_MAX[root.type]) fault(path, `a ${root.type} holds ${LENGTH_MAX[root.type]} characters at most`);
    if (object.endsWith("__e") && !EVENT_TYPES.includes(root.type)) fault(path, `a platform event has no field of type ${root.type}`);
    if (root.externalId === "true" && root.unique !== "true") fault(path, "an external id that is not unique needs View All Data to upsert by");
    if (!root.description) fault(path, "description is missing");
  }
}

function checkReferences(metadata, names, fault) {
  const objectKnown = (name) => names.objects.has(name);
  const fieldKnown = (text) => {
    const [object, field] = text.split(".");
    return names.objects.get(object)?.has(field);
  };
  for (const [path, { kind, root }] of metadata) {
    if (kind === "PermissionSet") {
      for (const { field } of list(root.fieldPermissions)) {
        if (!fieldKnown(field)) fault(path, `there is no field ${field}`);
        else if (names.objects.get(field.split(".")[0]).get(field.split(".")[1]).required === "true") {
          fault(path, `${field} is required: the platform refuses field permissions for it`);
        }
      }
      for (const { object, modifyAllRecords, viewAllRecords, allowDelete } of list(root.objectPermissions)) {
        if (!objectKnown(object)) fault(path, `there is no object ${object}`);
        if ([modifyAllRecords, viewAllRecords, allowDelete].includes("true")) fault(path, `more right on ${object} than is needed`);
      }
      for (const { name } of list(root.userPermissions)) if (TOO_MUCH.test(name)) fault(path, `${name} is more right than is needed`);
      for (const { apexClass } of list(root.classAccesses)) if (!names.ApexClass.has(apexClass)) fault(path, `there is no class ${apexClass}`);
    }
    if (kind === "PlatformEventSubscriberConfig") {
      if (!names.ApexTrigger.has(root.platformEventConsumer)) fault(path, `there is no trigger ${root.platformEventConsumer}`);
      if (!(Number(root.batchSize) >= 1 && Number(root.batchSize) <= 2000)) fault(path, "batchSize is 1 to 2000");
    }
    const app = root.externalClientApplication;
    if (app !== undefined && !names.ExternalClientApplication.has(app)) fault(path, `there is no external client app ${app}`);
    for (const set of list(root.commaSeparatedPermissionSet).flatMap((text) => text.split(","))) {
      if (!names.PermissionSet.has(set.trim())) fault(path, `there is no permission set ${set}`);
    }
    if (root.consumerSecret !== undefined || root.consumerKey !== undefined) fault(path, "a secret does not belong into a file");
    if (root.certificate !== undefined && root.certificate !== "PENSTOCK_CERTIFICATE") fault(path, "the certificate is filled in at deployment");
    if (root.clientCredentialsFlowUser !== undefined && root.clientCredentialsFlowUser !== "PENSTOCK_USERNAME") {
      fault(path, "the user is filled in at deployment");
    }
    if (root.commaSeparatedOauthScopes !== undefined && /Full|Web/.test(root.commaSeparatedOauthScopes)) fault(path, "scopes beyond Api, RefreshToken");
  }
}

class Collected extends ApexErrorListener {
  faults = [];
  apexSyntaxError(line, column, message) {
    this.faults.push(`line ${line}, column ${column}: ${message}`);
  }
}

function checkApex(files, names, fault) {
  const fields = new Set([...names.objects.values()].flatMap((own) => [...own.keys()]));
  const tests = [];
  for (const path of files.filter((path) => /\.(cls|trigger)$/.test(path))) {
    const text = readFileSync(path, "utf8");
    const errors = new Collected();
    const { parser } = ApexParserFactory.createLexerAndParser(text, errors);
    if (path.endsWith(".cls")) parser.compilationUnit();
    else parser.triggerUnit();
    for (const error of errors.faults) fault(path, error);
    if (!existsSync(`${path}-meta.xml`)) fault(path, "its -meta.xml is missing");
    const name = basename(path).replace(/\.(cls|trigger)$/, "");
    const declared = text.match(path.endsWith(".cls") ? /\bclass\s+(\w+)/ : /\btrigger\s+(\w+)\s+on\s+(\w+)/);
    if (declared?.[1] !== name) fault(path, `it declares ${declared?.[1]}`);
    if (declared?.[2] && !names.objects.has(declared[2])) fault(path, `there is no object ${declared[2]}`);
    if (/@IsTest/i.test(text)) tests.push(name);
    for (const word of customNames(text)) {
      const known = word.endsWith("__c") ? fields.has(word) || names.objects.has(word) : names.objects.has(word);
      if (!known) fault(path, `there is no ${word}`);
    }
  }
  for (const name of names.ApexClass) {
    const own = files.find((path) => basename(path) === `${name}.cls`);
    if (!own) fault(join("classes", name), "its class is missing");
    const covered = tests.includes(name) || tests.some((test) => readFileSync(files.find((p) => basename(p) === `${test}.cls`), "utf8").includes(name));
    if (!covered && !["IntegrationLog", "CDCStagingMapping"].includes(name)) fault(own ?? name, "no test class names it");
  }
}

/** Names of custom objects and fields in code, those in strings left out. */
function customNames(text) {
  const lexer = ApexParserFactory.createLexer(text);
  lexer.removeErrorListeners();
  const words = lexer.getAllTokens().filter((token) => token.type === ApexLexer.Identifier).map((token) => token.text);
  return new Set(words.filter((word) => /__(c|e|mdt)$/.test(word)));
}

/** The project file names folders that are there, and fills in exactly what stands open. */
function checkProject(root, metadata, fault) {
  const path = join(root, "sfdx-project.json");
  const project = JSON.parse(readFileSync(path, "utf8"));
  for (const { path: folder } of project.packageDirectories) if (!existsSync(join(root, folder))) fault(path, `there is no folder ${folder}`);
  for (const { filename, stringToReplace } of project.replacements ?? []) {
    const target = join(root, filename);
    if (!existsSync(target)) fault(path, `there is no file ${filename}`);
    else if (!readFileSync(target, "utf8").includes(stringToReplace)) fault(path, `${filename} does not hold ${stringToReplace}`);
  }
  const versions = [...metadata.values()].map(({ root }) => root.apiVersion).filter(Boolean);
  if (versions.some((version) => version !== project.sourceApiVersion)) fault(path, "classes have another API version than the project");
}

if (process.argv[1] && resolve(process.argv[1]) === new URL(import.meta.url).pathname) {
  const faults = faultsOf(resolve(process.argv[2] ?? "."));
  for (const line of faults) console.error(line);
  console.log(faults.length === 0 ? "the package is sound" : `${faults.length} fault(s)`);
  process.exit(faults.length === 0 ? 0 : 1);
}
