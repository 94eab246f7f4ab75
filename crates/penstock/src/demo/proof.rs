//! The demo's proof: the shop's own audit against the org's history, and table against object, row by row.

use crate::verify::{Accounts, Effect, Effects, Expected, Findings, compare};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    #[serde(flatten)]
    pub findings: Findings,
    /// Rows of the database's tables.
    pub rows_in_database: u64,
    /// Rows of the org's objects.
    pub rows_in_org: u64,
    pub rows_different: u64,
    pub rows_equal: bool,
}

impl Proof {
    /// True when nothing was lost, repeated or swapped, and both sides are equal.
    pub fn holds(&self) -> bool {
        self.findings.kept() && self.rows_equal
    }
}

/// One change that the org applied, as its history tells it.
#[derive(Clone, Debug)]
pub struct Applied<'a> {
    pub object: &'a str,
    pub key: &'a str,
    pub deleted: bool,
    /// The revision that the change set; none when the field did not change.
    pub revision: Option<i64>,
    /// False for what the org did by itself (a lookup cleared).
    pub by_caller: bool,
}

/// Gathers a history into effects for each key, in order.
#[derive(Debug, Default)]
pub struct AppliedEffects {
    effects: Effects,
}

impl AppliedEffects {
    /// Adds the next change of the history.
    pub fn push(&mut self, change: &Applied<'_>) {
        let Some(entity) = entity_of(change.object) else { return };
        if !change.by_caller && !change.deleted {
            return;
        }
        let effects = self.effects.entry(format!("{entity}/{}", change.key)).or_default();
        let effect = match change.revision {
            _ if change.deleted => Effect::Deleted,
            Some(revision) => Effect::Revision(revision),
            // The caller sent what was there already.
            None => match effects.last() {
                Some(last) => *last,
                None => return,
            },
        };
        effects.push(effect);
    }

    /// The effects: `customers/17` → what was applied, in order.
    pub fn into_effects(self) -> Effects {
        self.effects
    }
}

fn entity_of(object: &str) -> Option<&'static str> {
    match object {
        "Account" => Some("customers"),
        "Shop_Order__c" => Some("orders"),
        "Shop_Visit__c" => Some("visits"),
        _ => None,
    }
}

/// Reads the shop's audit: what happened to each key, in commit order. Entries up to `copied_seq` happened before capture
/// began.
///
/// # Errors
/// The database's own error.
pub async fn expected(
    client: &Client,
    copied_seq: i64,
) -> Result<BTreeMap<String, Vec<Expected>>, tokio_postgres::Error> {
    let rows = client.query("select seq, entity, key, revision from shop.audit order by seq", &[]).await?;
    let mut expected: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    for row in rows {
        let (seq, entity, key): (i64, String, i64) = (row.get(0), row.get(1), row.get(2));
        let revision: Option<i64> = row.get(3);
        let effect = revision.map_or(Effect::Deleted, Effect::Revision);
        let entry = Expected { effect, before_capture: seq <= copied_seq };
        expected.entry(format!("{entity}/{key}")).or_default().push(entry);
    }
    Ok(expected)
}

/// A row of either side as text: field → value.
pub type PlainRow = BTreeMap<&'static str, String>;

/// Reads both tables in the org's words: `customers/17` → fields.
///
/// # Errors
/// The database's own error.
pub async fn database_rows(client: &Client) -> Result<BTreeMap<String, PlainRow>, tokio_postgres::Error> {
    let mut rows = BTreeMap::new();
    let customers = "select id::text, name, email, address::text, revision::text from shop.customers";
    for row in client.query(customers, &[]).await? {
        let id: String = row.get(0);
        let fields = ["Name", "Email__c", "Address__c", "Revision__c"];
        let plain = fields.iter().enumerate().map(|(i, field)| (*field, row.get::<_, String>(i + 1))).collect();
        rows.insert(format!("customers/{id}"), plain);
    }
    let orders = "select id::text, case status when 'paid' then 'Paid' when 'shipped' then 'Shipped' else 'Open' end, \
                  total::text, items::text, revision::text, customer_id::text from shop.orders";
    for row in client.query(orders, &[]).await? {
        let id: String = row.get(0);
        let fields = ["Status__c", "Total__c", "Items__c", "Revision__c", "Customer__c"];
        let plain = fields.iter().enumerate().map(|(i, field)| (*field, row.get::<_, String>(i + 1))).collect();
        rows.insert(format!("orders/{id}"), plain);
    }
    for row in client.query("select id::text, page, revision::text from shop.visits", &[]).await? {
        let id: String = row.get(0);
        rows.insert(format!("visits/{id}"), [("Page__c", row.get(1)), ("Revision__c", row.get(2))].into());
    }
    Ok(rows)
}

/// Puts the org's live records into the same words.
pub fn org_rows(
    accounts: &[Map<String, Value>],
    orders: &[Map<String, Value>],
    visits: &[Map<String, Value>],
) -> BTreeMap<String, PlainRow> {
    let text = |record: &Map<String, Value>, field: &str| record.get(field).map(plain_text).unwrap_or_default();
    let mut rows = BTreeMap::new();
    let mut account_key = BTreeMap::new();
    for record in accounts {
        let key = text(record, "Customer_Key__c");
        account_key.insert(text(record, "Id"), key.clone());
        let fields = ["Name", "Email__c", "Address__c", "Revision__c"];
        rows.insert(format!("customers/{key}"), fields.iter().map(|field| (*field, text(record, field))).collect());
    }
    for record in orders {
        let fields = ["Status__c", "Total__c", "Items__c", "Revision__c"];
        let mut row: PlainRow = fields.iter().map(|field| (*field, text(record, field))).collect();
        let customer = text(record, "Customer__c");
        row.insert("Customer__c", account_key.get(&customer).cloned().unwrap_or(customer));
        rows.insert(format!("orders/{}", text(record, "Order_Key__c")), row);
    }
    for record in visits {
        let row = ["Page__c", "Revision__c"].map(|field| (field, text(record, field)));
        rows.insert(format!("visits/{}", text(record, "Visit_Key__c")), row.into());
    }
    rows
}

fn plain_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Two values are equal as text, or as numbers of the same value (`12.50` and `12.5`).
fn same(a: &str, b: &str) -> bool {
    fn number(text: &str) -> Option<&str> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        plain.then(|| if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text })
    }
    a == b || number(a).zip(number(b)).is_some_and(|(a, b)| a == b)
}

/// Compares both sides.
pub fn prove(
    expected: &BTreeMap<String, Vec<Expected>>,
    (applied, accounts): (&Effects, &Accounts),
    database: &BTreeMap<String, PlainRow>,
    org: &BTreeMap<String, PlainRow>,
) -> Proof {
    let mut findings = compare(expected, applied, accounts);
    let mut different = 0;
    for (key, row) in database {
        let equal = org.get(key).is_some_and(|other| {
            row.iter().all(|(field, value)| other.get(field).is_some_and(|found| same(value, found)))
        });
        if !equal {
            different += 1;
            if findings.examples.len() < 10 {
                findings.examples.push(format!("{key}: database {row:?}, org {:?}", org.get(key)));
            }
        }
    }
    different += org.keys().filter(|key| !database.contains_key(*key)).count() as u64;
    Proof {
        findings,
        rows_in_database: database.len() as u64,
        rows_in_org: org.len() as u64,
        rows_different: different,
        rows_equal: different == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> PlainRow {
        BTreeMap::from([("Name", name.to_owned()), ("Total__c", "12.50".to_owned())])
    }

    #[test]
    fn a_missing_an_extra_and_a_different_row_are_found() {
        let database = BTreeMap::from([("customers/1".to_owned(), row("a")), ("customers/2".to_owned(), row("b"))]);
        let prove_rows = |org: &BTreeMap<String, PlainRow>| {
            prove(&BTreeMap::new(), (&BTreeMap::new(), &Accounts::default()), &database, org)
        };
        let mut same = database.clone();
        same.get_mut("customers/1").unwrap().insert("Total__c", "12.5".into());
        assert!(prove_rows(&same).holds());
        let mut missing = database.clone();
        missing.remove("customers/1");
        assert_eq!(prove_rows(&missing).rows_different, 1);
        let mut extra = database.clone();
        extra.insert("customers/3".into(), row("c"));
        assert_eq!(prove_rows(&extra).rows_different, 1);
        let mut other = database.clone();
        other.insert("customers/1".into(), row("x"));
        assert!(!prove_rows(&other).holds());
    }

    #[test]
    fn numbers_compare_by_value_and_text_by_letter() {
        assert!(same("12.50", "12.5") && same("7", "7.0") && same("-3.10", "-3.1"));
        assert!(!same("70", "7") && !same("a", "b") && !same("1.", "x") && !same("100", "1"));
    }

    #[test]
    fn a_change_without_a_new_revision_counts_as_sent_again() {
        let mut effects = AppliedEffects::default();
        let change = |revision| Applied { object: "Account", key: "7", deleted: false, revision, by_caller: true };
        effects.push(&change(Some(3)));
        effects.push(&change(None));
        assert_eq!(effects.into_effects()["customers/7"], vec![Effect::Revision(3), Effect::Revision(3)]);
    }
}
