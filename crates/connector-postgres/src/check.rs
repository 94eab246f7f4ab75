//! The check before a run: everything that can be found at once, nothing changed.

use crate::catalog::{Publication, ServerFacts, TableFacts, copy_key, key_refusal, load_table};
use crate::config::{OnSlotMismatch, PostgresConfig};
use crate::connect::{Endpoint, Sql, wire_failure};
use crate::refusal::quoted;
use crate::slot::SlotFacts;
use crate::survey::{identity_refusal, missing_table, server_refusals, table_refusal};
use crate::wire::Replication;
use contract::SourceError;
use model::{Finding, Severity};

/// Finds what would make a run refuse. Empty: all is well.
pub(crate) async fn check(config: &PostgresConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let endpoint = match Endpoint::parse(&config.url, config.connect_timeout) {
        Ok(endpoint) => endpoint,
        Err(refusal) => return vec![refusal.into()],
    };
    let sql = match Sql::connect(&endpoint).await {
        Ok(sql) => sql,
        Err(error) => {
            return vec![finding_of(error, &endpoint.place(), "is the server up, and may it be reached from here?")];
        }
    };
    if let Err(error) = checked(config, &endpoint, &sql, &mut findings).await {
        findings.push(finding_of(error, &endpoint.place(), "run `penstock check` again"));
    }
    findings
}

async fn checked(
    config: &PostgresConfig,
    endpoint: &Endpoint,
    sql: &Sql,
    findings: &mut Vec<Finding>,
) -> Result<(), SourceError> {
    let server = ServerFacts::load(sql).await?;
    let slot = SlotFacts::load(sql, &config.slot).await?;
    findings.extend(server_refusals(&server, config, slot.is_some()).into_iter().map(Finding::from));
    findings.extend(slot_findings(config, slot.as_ref()));
    if server.may_replicate && server.wal_level == "logical" {
        findings.extend(replication_finding(endpoint).await);
    }
    let publication = Publication::load(sql, &config.publication, server.version).await?;
    let published = publication.clone().unwrap_or_else(|| Publication::of_ours(config.tables.iter().cloned()));
    let mut tables = Vec::new();
    for name in &config.tables {
        let Some(facts) = load_table(sql, name).await? else {
            findings.push(missing_table(name).into());
            continue;
        };
        findings.extend(table_findings(&facts, config, &server, &published));
        tables.push(facts);
    }
    findings.extend(publication_findings(config, sql, publication.as_ref(), &tables).await?);
    Ok(())
}

fn table_findings(
    facts: &TableFacts,
    config: &PostgresConfig,
    server: &ServerFacts,
    published: &Publication,
) -> Vec<Finding> {
    if let Some(refusal) = table_refusal(facts, config, server) {
        return vec![refusal.into()];
    }
    let by_identity = identity_refusal(facts, published);
    let by_key = || config.keys.get(&facts.table).and_then(|key| key_refusal(facts, key, published));
    let by_copy = || config.snapshot.then(|| copy_key(facts, published).err()).flatten();
    by_identity.or_else(by_key).or_else(by_copy).map(Finding::from).into_iter().collect()
}

fn slot_findings(config: &PostgresConfig, slot: Option<&SlotFacts>) -> Vec<Finding> {
    let place = format!("slot {}", config.slot);
    let Some(slot) = slot else {
        let statement = format!(
            "SELECT pg_create_logical_replication_slot({}, 'pgoutput');",
            crate::refusal::literal(&config.slot)
        );
        let missing =
            (!config.create_slot).then(|| Finding::error("PS2150", place, "there is no such slot", statement));
        return missing.into_iter().collect();
    };
    if let Some(refusal) = slot.unusable() {
        return vec![refusal.into()];
    }
    if let Some(why) = slot.lost().filter(|_| config.on_slot_mismatch != OnSlotMismatch::Resnapshot) {
        let fix = "`on_slot_mismatch: resnapshot` makes a new slot and copies every table again";
        return vec![Finding::error("PS2155", place, why, fix)];
    }
    if let Some(pid) = slot.active_pid {
        let cause = format!("server process {pid} reads from it now; only one may");
        let fix =
            "fine when that is this pipeline's own `penstock run`; otherwise stop that reader or name another slot";
        return vec![Finding::warning("PS2152", place, cause, fix)];
    }
    Vec::new()
}

/// Tries a replication connection: pg_hba.conf and max_wal_senders have the last word.
async fn replication_finding(endpoint: &Endpoint) -> Option<Finding> {
    let error = match Replication::connect(endpoint).await {
        Ok(mut replication) => replication.identify().await.err()?,
        Err(error) => error,
    };
    let error = wire_failure(error, &endpoint.place(), "opening a replication connection");
    Some(finding_of(error, &endpoint.place(), "raise max_wal_senders, or close a replication connection"))
}

async fn publication_findings(
    config: &PostgresConfig,
    sql: &Sql,
    publication: Option<&Publication>,
    tables: &[TableFacts],
) -> Result<Vec<Finding>, SourceError> {
    let place = format!("publication {}", config.publication);
    let Some(publication) = publication else {
        let statement = Publication::create_statement(config);
        if !config.create_publication {
            return Ok(vec![Finding::error("PS2140", place, "there is no such publication", statement)]);
        }
        return Ok(rights_finding(sql, tables, place, &statement).await?.into_iter().collect());
    };
    let mut findings = Vec::new();
    for facts in tables {
        findings.extend(publication.partition_refusal(facts, &config.publication).map(Finding::from));
    }
    let missing = publication.missing(tables);
    // A partitioned table is missing by name as long as its partitions are published.
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|name| publication.via_root || !tables.iter().any(|facts| facts.table == *name && facts.partitioned()))
        .collect();
    if !missing.is_empty() && !config.create_publication {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        let statement = Publication::add_statement(&config.publication, &missing);
        findings.push(Finding::error("PS2142", place.clone(), format!("it lacks {}", names.join(", ")), statement));
    }
    let left_out: Vec<&str> = [
        (publication.insert, "insert"),
        (publication.update, "update"),
        (publication.delete, "delete"),
        (publication.truncate, "truncate"),
    ]
    .into_iter()
    .filter_map(|(published, name)| (!published).then_some(name))
    .collect();
    if !left_out.is_empty() {
        let fix = format!(
            "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
            quoted(&config.publication)
        );
        let cause = format!("it does not publish {}: such changes never arrive", left_out.join(", "));
        findings.push(Finding::warning("PS2143", place, cause, fix));
    }
    Ok(findings)
}

/// Says when this role may not make the publication.
async fn rights_finding(
    sql: &Sql,
    tables: &[TableFacts],
    place: String,
    statement: &str,
) -> Result<Option<Finding>, SourceError> {
    let failed = sql.failed("looking at rights");
    let row = sql
        .query_one(
            "SELECT has_database_privilege(current_database(), 'CREATE'), \
             (SELECT coalesce(bool_and(pg_has_role(c.relowner, 'USAGE')), true) FROM pg_catalog.pg_class c WHERE c.oid::int8 = ANY($1)), \
             current_user::text, current_database()::text",
            &[&tables.iter().map(|facts| i64::from(facts.oid)).collect::<Vec<_>>()],
        )
        .await
        .map_err(&failed)?;
    let (may_create, owns): (bool, bool) = (row.try_get(0).map_err(&failed)?, row.try_get(1).map_err(&failed)?);
    let user: String = row.try_get(2).map_err(&failed)?;
    if may_create && owns {
        return Ok(None);
    }
    let cause = match may_create {
        true => format!("there is none, and role {user} does not own every table, as making it takes"),
        false => format!("there is none, and role {user} may not CREATE in this database"),
    };
    let fix = format!(
        "let the tables' owner run: {statement} (or GRANT CREATE ON DATABASE {} TO {};)",
        quoted(&row.try_get::<_, String>(3).map_err(&failed)?),
        quoted(&user)
    );
    Ok(Some(Finding::error("PS2141", place, cause, fix)))
}

/// Turns an error of a run into a finding.
fn finding_of(error: SourceError, place: &str, fix_of_transient: &str) -> Finding {
    match error {
        SourceError::Refused { code, message, fix } => {
            Finding { code, severity: Severity::Error, place: place.to_owned(), cause: message, fix }
        }
        other => Finding {
            code: other.code(),
            severity: Severity::Error,
            place: place.to_owned(),
            cause: match other {
                SourceError::Transient { message, .. } => message,
                other => other.to_string(),
            },
            fix: fix_of_transient.to_owned(),
        },
    }
}
