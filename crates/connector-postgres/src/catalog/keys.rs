//! By which columns a table's rows can be told apart: in the copy, and in an old row of the stream.

use super::publication::Publication;
use super::table::TableFacts;
use crate::refusal::{Refusal, quoted, quoted_table};
use model::ReplicaIdentity;

/// The columns by which a table is copied in ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyKey {
    pub(crate) columns: Vec<String>,
}

/// Chooses the key for the copy: a unique key of which every old row in the stream carries all columns, so that a change beside
/// the copy is matched with the row that it changed. The primary key is preferred.
pub(crate) fn copy_key(facts: &TableFacts, publication: &Publication) -> Result<CopyKey, Refusal> {
    // Where no update and no delete is published, new rows alone have to be matched, and those carry every column.
    let insert_only = !publication.update && !publication.delete;
    let usable = facts
        .unique_keys
        .iter()
        .find(|key| insert_only || key.iter().all(|column| facts.identity_columns.contains(column)));
    if let Some(columns) = usable {
        return Ok(CopyKey { columns: columns.clone() });
    }
    let table = quoted_table(&facts.table);
    let fix = match facts.unique_keys.first() {
        Some(_) => format!("ALTER TABLE {table} REPLICA IDENTITY FULL;"),
        None => {
            format!("ALTER TABLE {table} ADD PRIMARY KEY (…); or set `snapshot: false` to capture live changes only")
        }
    };
    let cause = match facts.unique_keys.first() {
        Some(key) => format!(
            "the replica identity does not carry the unique key ({}), so that a row of the first copy cannot be matched with a change beside it",
            key.join(", ")
        ),
        None => "it has no unique key over NOT NULL columns, so that it cannot be copied in ranges beside its changes"
            .into(),
    };
    Err(Refusal::table("PS2134", &facts.table, cause, fix))
}

/// Says why changes of a table cannot be keyed by its business key, if they cannot.
pub(crate) fn key_refusal(facts: &TableFacts, key: &[String], publication: &Publication) -> Option<Refusal> {
    let table = quoted_table(&facts.table);
    if let Some(missing) = key.iter().find(|name| !facts.columns.iter().any(|column| column.name == **name)) {
        return Some(Refusal::table(
            "PS2133",
            &facts.table,
            format!("its business key names column {missing:?}, which it does not have"),
            format!("name one of: {}", facts.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")),
        ));
    }
    if !publication.update && !publication.delete {
        return None;
    }
    let missing = key.iter().find(|name| !facts.identity_columns.contains(name))?;
    let identity = match facts.identity {
        ReplicaIdentity::Default if facts.primary_key.is_empty() => "is the primary key, and there is none",
        ReplicaIdentity::Default => "is the primary key",
        ReplicaIdentity::Index => "is an index",
        ReplicaIdentity::Full => "is full in some partitions only",
        ReplicaIdentity::Nothing => "is nothing",
    };
    let fix = facts
        .primary_key
        .iter()
        .find(|column| *column == missing)
        .map(|_| format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT;"))
        .unwrap_or_else(|| {
            format!(
                "ALTER TABLE {table} REPLICA IDENTITY FULL; or take only {} into the business key",
                if facts.identity_columns.is_empty() {
                    "identity columns".into()
                } else {
                    quoted_list(&facts.identity_columns)
                }
            )
        });
    Some(Refusal::table(
        "PS2132",
        &facts.table,
        format!("a delete would not carry business key column {missing:?}: the replica identity {identity}"),
        fix,
    ))
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}
