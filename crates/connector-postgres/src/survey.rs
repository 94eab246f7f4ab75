//! What the server has of what is configured, looked at once per session and by `check`.

use crate::catalog::{Publication, ServerFacts, TableFacts, load_table};
use crate::config::PostgresConfig;
use crate::connect::Sql;
use crate::refusal::{Refusal, quoted, quoted_table};
use contract::SourceError;
use model::TableName;

/// The oldest server that sends logical messages.
const VERSION_MIN: i32 = 140_000;

/// Says what of the server's version and settings makes a run impossible.
pub(crate) fn server_refusals(server: &ServerFacts, config: &PostgresConfig, slot_exists: bool) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let mut refuse = |code, cause: String, fix: String| refusals.push(Refusal::new(code, "server", cause, fix));
    if server.version < VERSION_MIN {
        let major = server.version / 10_000;
        refuse("PS2117", format!("it is PostgreSQL {major}"), "upgrade to PostgreSQL 14 or later".into());
    }
    if server.in_recovery {
        refuse(
            "PS2118",
            "it is a standby: heartbeats and watermarks cannot be written to it".into(),
            "name the primary in `url`".into(),
        );
    }
    if server.wal_level != "logical" {
        refuse(
            "PS2121",
            format!("wal_level is {}", server.wal_level),
            "ALTER SYSTEM SET wal_level = 'logical'; and restart the server".into(),
        );
    }
    if !server.may_replicate {
        let fix = format!("ALTER ROLE {} REPLICATION;", quoted(&server.user));
        refuse("PS2120", format!("role {} may not replicate", server.user), fix);
    }
    if !slot_exists && config.create_slot && server.slots_used >= server.slots_max {
        refuse(
            "PS2122",
            format!("all {} replication slots are in use", server.slots_max),
            "drop a slot that nobody reads (SELECT slot_name, active FROM pg_replication_slots;) or raise max_replication_slots and restart the server"
                .into(),
        );
    }
    if server.senders_max == 0 {
        refuse(
            "PS2123",
            "max_wal_senders is 0".into(),
            "ALTER SYSTEM SET max_wal_senders = 10; and restart the server".into(),
        );
    }
    refusals
}

/// Says what makes a table uncapturable, whatever its keys.
pub(crate) fn table_refusal(facts: &TableFacts, config: &PostgresConfig, server: &ServerFacts) -> Option<Refusal> {
    let table = quoted_table(&facts.table);
    if !matches!(facts.kind, b'r' | b'p') {
        let what = match facts.kind {
            b'v' => "a view",
            b'm' => "a materialized view",
            b'f' => "a foreign table",
            _ => "no table",
        };
        let fix = "name the tables behind it";
        return Some(Refusal::table(
            "PS2135",
            &facts.table,
            format!("it is {what}; changes of it are not in the WAL"),
            fix,
        ));
    }
    if !facts.logged && !facts.partitioned() {
        let fix = format!("ALTER TABLE {table} SET LOGGED;");
        return Some(Refusal::table("PS2137", &facts.table, "it is unlogged; changes of it are not in the WAL", fix));
    }
    if config.snapshot && !facts.may_select {
        let (schema, user) = (quoted(&facts.table.schema), quoted(&server.user));
        let fix = format!("GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON {table} TO {user};");
        return Some(Refusal::table("PS2131", &facts.table, "this role may not read it for the first copy", fix));
    }
    if config.snapshot && facts.hidden_rows {
        let fix = format!("ALTER ROLE {} BYPASSRLS;", quoted(&server.user));
        let cause =
            "a row-level security policy hides rows of it from this role, so that the first copy would lack them";
        return Some(Refusal::table("PS2139", &facts.table, cause, fix));
    }
    None
}

/// Says that a replica identity lets the server refuse the application's own updates.
pub(crate) fn identity_refusal(facts: &TableFacts, publication: &Publication) -> Option<Refusal> {
    let nothing = facts.identity_columns.is_empty() && (publication.update || publication.delete);
    nothing.then(|| {
        let table = quoted_table(&facts.table);
        Refusal::table(
            "PS2132",
            &facts.table,
            "its replica identity is nothing, or the primary key where there is none: once published, PostgreSQL refuses updates and deletes of it",
            format!("ALTER TABLE {table} REPLICA IDENTITY FULL; or give it a primary key"),
        )
    })
}

pub(crate) fn missing_table(table: &TableName) -> Refusal {
    Refusal::table(
        "PS2130",
        table,
        "there is no such table (or this role may not use its schema)",
        "check the name, its case included; write \"Schema\".\"Table\" with quotes where it was made with quotes",
    )
}

/// Reads the facts of tables, in their order.
///
/// # Errors
/// PS2130 for the first that is missing.
pub(crate) async fn load_tables(sql: &Sql, tables: &[TableName]) -> Result<Vec<TableFacts>, SourceError> {
    let mut facts = Vec::with_capacity(tables.len());
    for table in tables {
        facts.push(load_table(sql, table).await?.ok_or_else(|| missing_table(table))?);
    }
    Ok(facts)
}
