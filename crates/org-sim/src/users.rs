//! The org's own rows: the users that the configuration names, and the one of `Organization`.

use crate::config::{Edition, OrgConfig};
use crate::dml::{Origin, Writer};
use crate::error::SimError;
use crate::history::History;
use crate::ids::SfId;
use crate::json::Json;
use crate::store::{Row, RowState, Store};
use crate::value::Value;
use std::borrow::Cow;

/// Makes the rows of `User` that the configuration names and that are not there yet; their ids and names.
///
/// # Errors
/// `SimError::Application` when a user could not be made.
pub fn seed_users(
    store: &mut Store,
    history: &mut History,
    config: &OrgConfig,
    now_ms: i64,
) -> Result<Vec<(SfId, String)>, SimError> {
    let missing = || SimError::definition("User", "the standard object is missing");
    let table = store.find_table("User").ok_or_else(missing)?;
    let mut names: Vec<&str> = Vec::new();
    let apps = config.apps.iter().flat_map(|app| app.run_as.iter().chain(&app.jwt_users));
    for name in apps.chain(config.users.iter().map(|user| &user.username)) {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    seed_organization(store, config, now_ms);
    let user = SfId::new(*b"005", 1);
    let mut users = Vec::new();
    for name in names {
        if let Some(id) = find(store, table, name) {
            users.push((id, name.to_owned()));
            continue;
        }
        let known = config.users.iter().find(|user| user.username == name);
        let text =
            |value: Option<&String>, default: &str| Json::Text(Cow::Owned(value.map_or(default, |v| v).to_owned()));
        let members = [
            (Cow::Borrowed("Username"), Json::Text(name.into())),
            (Cow::Borrowed("FirstName"), text(known.and_then(|user| user.first_name.as_ref()), "")),
            (Cow::Borrowed("LastName"), text(known.and_then(|user| user.last_name.as_ref()), "Integration")),
            (Cow::Borrowed("Email"), text(known.and_then(|user| user.email.as_ref()), "")),
        ];
        let origin = Origin { now_ms, user, api: "setup", request: 0, version: 0, client: None };
        // The users are the org's own: they stand in no history.
        let mark = history.mark();
        let mut writer = Writer::begin(store, history, &config.unverified, origin, false);
        let created = writer.create(table, &members);
        drop(writer);
        history.rollback(mark);
        let id = created.map_err(|error| SimError::Application { place: name.to_owned(), cause: error.message })?;
        users.push((id, name.to_owned()));
    }
    Ok(users)
}

/// Makes the row of `Organization`, whose id is the org's, unless it is there.
fn seed_organization(store: &mut Store, config: &OrgConfig, now_ms: i64) {
    let id = SfId::new(*b"00D", 1);
    let Some(number) = store.find_table("Organization").filter(|_| store.row_of(id).is_none()) else { return };
    let object = &store.table(number).object;
    let mut row = Row::new(id, SfId::new(*b"005", 1), now_ms - now_ms.rem_euclid(1000));
    let edition = match config.edition {
        Edition::Developer => "Developer Edition",
        Edition::Enterprise => "Enterprise Edition",
        Edition::Unlimited => "Unlimited Edition",
    };
    for (name, value) in [
        ("Name", Value::Text("Simulated Org".into())),
        ("OrganizationType", Value::Text(edition.into())),
        ("InstanceName", Value::Text("SIM1".into())),
        ("IsSandbox", Value::Bool(false)),
        ("LanguageLocaleKey", Value::Text("en_US".into())),
        ("DefaultLocaleSidKey", Value::Text("en_US".into())),
        ("TimeZoneSidKey", Value::Text("GMT".into())),
    ] {
        if let Some(field) = object.field(name) {
            row.set(field, value);
        }
    }
    row.shrink();
    store.insert_row(number, row);
}

/// The live user of this name.
fn find(store: &Store, table: usize, name: &str) -> Option<SfId> {
    let table = store.table(table);
    let slots = table.find(table.object.field("Username")?, &Value::Text(name.into()))?;
    let mut rows = slots.iter().filter_map(|slot| table.row(*slot)).filter(|row| row.state == RowState::Live);
    rows.next().map(|row| row.id)
}
