//! What the databases say of the tables.

use super::gather::Asked;
use crate::config::{Config, Places, SourceConfig};
use crate::wiring;
use connector_postgres::{OnSlotMismatch, PostgresConfig, PostgresSource, Survey, TableVolume, copied_tables};
use contract::Source;
use model::{ReplicaIdentity, SourceId, TableName, TableSchema};
use pipeline::plan::{ChangeRate, Counted, RowCount};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tables of which the statistics tell of more rows are not counted row by row.
const COUNT_ROWS: u64 = 2_000_000;
const QUICK_COUNT_ROWS: u64 = 100_000;

/// What was found of all sources' tables.
#[derive(Default)]
pub(super) struct TableLook {
    /// Of every configured table; without columns where the database was not asked.
    pub schemas: Vec<TableSchema>,
    pub volumes: BTreeMap<TableName, RowCount>,
    /// JSON rows.
    pub samples: BTreeMap<TableName, Vec<String>>,
    /// Measured.
    pub rates: BTreeMap<TableName, ChangeRate>,
    /// Tables of which an earlier run has copied so many rows; none: all.
    pub copied: BTreeMap<TableName, Option<u64>>,
}

/// Looks at every source.
pub(super) async fn look(config: &Config, places: &Places, asked: &Asked, notes: &mut Vec<String>) -> TableLook {
    let mut look = TableLook::default();
    for (name, source) in &config.sources {
        if !asked.offline {
            let found = async {
                let built = wiring::postgres_config(name, source, OnSlotMismatch::Refuse, places)
                    .map_err(|finding| finding.cause)?;
                ask(&built, asked, &mut look).await
            };
            if let Err(why) = found.await {
                notes.push(format!("source {name} could not be read ({why}): rows and rates are those that are given"));
            }
        }
        if let Some(state) = &asked.state
            && let Ok(copied) = copied_tables(&**state, &SourceId::new(name)).await
        {
            look.copied.extend(copied);
        }
        fill_in(source, &mut look.schemas);
    }
    look
}

/// A table that was not described is planned without its columns.
fn fill_in(source: &SourceConfig, schemas: &mut Vec<TableSchema>) {
    for table in source.tables.iter().filter_map(|table| TableName::parse(table).ok()) {
        if !schemas.iter().any(|schema| schema.table == table) {
            schemas.push(TableSchema {
                table,
                columns: Vec::new(),
                primary_key: Vec::new(),
                replica_identity: ReplicaIdentity::Default,
                identity_columns: Vec::new(),
            });
        }
    }
}

async fn ask(built: &PostgresConfig, asked: &Asked, look: &mut TableLook) -> Result<(), String> {
    let limited = |result: Result<Result<_, contract::SourceError>, tokio::time::error::Elapsed>| match result {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it did not answer within {:?}", asked.limit)),
    };
    let survey = limited(tokio::time::timeout(asked.limit, Survey::connect(built, asked.limit)).await)?;
    let count_max = if asked.quick { QUICK_COUNT_ROWS } else { COUNT_ROWS };
    let volumes = survey.volumes(count_max).await.map_err(|error| error.to_string())?;
    if let Ok(Ok(schemas)) = tokio::time::timeout(asked.limit, PostgresSource::new(built.clone()).tables()).await {
        look.schemas.extend(schemas);
    }
    for volume in &volumes {
        let counted = if volume.counted { Counted::Exactly } else { Counted::Estimated };
        look.volumes.insert(volume.table.clone(), RowCount { rows: volume.rows, counted });
        if asked.sample_rows > 0 && volume.rows > 0 {
            let rows = survey.sample(volume, asked.sample_rows).await.map_err(|error| error.to_string())?;
            look.samples.insert(volume.table.clone(), rows);
        }
    }
    if let Some(length) = asked.measure {
        tokio::time::sleep(length).await;
        let later = survey.volumes(0).await.map_err(|error| error.to_string())?;
        look.rates.extend(rates(&volumes, &later, length));
    }
    Ok(())
}

/// Changes per second between two looks.
fn rates(before: &[TableVolume], after: &[TableVolume], length: Duration) -> BTreeMap<TableName, ChangeRate> {
    let seconds = length.as_secs_f64().max(0.001);
    let pairs = after.iter().filter_map(|now| Some((now, before.iter().find(|then| then.table == now.table)?)));
    pairs
        .map(|(now, then)| {
            let changes = now.changes.since(then.changes);
            let rate = ChangeRate {
                inserts: changes.inserts as f64 / seconds,
                updates: changes.updates as f64 / seconds,
                deletes: changes.deletes as f64 / seconds,
                counted: Counted::Measured,
            };
            (now.table.clone(), rate)
        })
        .collect()
}
