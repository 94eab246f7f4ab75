//! Facts of the server and of its types.

use crate::column_type::{TYPE_CATALOGUE_SQL, TypeCatalogue};
use crate::connect::Sql;
use contract::SourceError;
use model::TableName;
use std::collections::{BTreeMap, BTreeSet};

/// What a run needs to know of the server's settings and the role's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    /// As `server_version_num`: 150002.
    pub(crate) version: i32,
    pub(crate) in_recovery: bool,
    pub(crate) wal_level: String,
    pub(crate) user: String,
    pub(crate) may_replicate: bool,
    pub(crate) slots_max: i64,
    pub(crate) slots_used: i64,
    pub(crate) senders_max: i64,
    /// Milliseconds; 0: never.
    pub(crate) wal_sender_timeout_ms: i64,
    /// True when commits wait for a standby, and so may stand in the WAL long before they are visible.
    pub(crate) synchronous_standbys: bool,
}

const SERVER_SQL: &str = "\
SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), current_setting('wal_level'), \
current_user::text, (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user), \
current_setting('max_replication_slots')::int8, (SELECT count(*) FROM pg_catalog.pg_replication_slots), \
current_setting('max_wal_senders')::int8, \
(SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'), \
coalesce(current_setting('synchronous_standby_names', true), '') <> ''";

impl ServerFacts {
    pub(crate) async fn load(sql: &Sql) -> Result<Self, SourceError> {
        let doing = "reading the server's settings";
        let row = sql.query_one(SERVER_SQL, &[]).await.map_err(sql.failed(doing))?;
        let failed = sql.failed(doing);
        Ok(Self {
            version: row.try_get(0).map_err(&failed)?,
            in_recovery: row.try_get(1).map_err(&failed)?,
            wal_level: row.try_get(2).map_err(&failed)?,
            user: row.try_get(3).map_err(&failed)?,
            // Managed services hide the attribute behind a role of their own; the server has the last word then.
            may_replicate: row.try_get::<_, Option<bool>>(4).map_err(&failed)?.unwrap_or(true),
            slots_max: row.try_get(5).map_err(&failed)?,
            slots_used: row.try_get(6).map_err(&failed)?,
            senders_max: row.try_get(7).map_err(&failed)?,
            wal_sender_timeout_ms: row.try_get(8).map_err(&failed)?,
            synchronous_standbys: row.try_get(9).map_err(&failed)?,
        })
    }
}

/// Reads the types that are not built in.
pub(crate) async fn load_types(sql: &Sql) -> Result<TypeCatalogue, SourceError> {
    let doing = "reading the type catalogue";
    let mut catalogue = TypeCatalogue::default();
    for row in sql.query(TYPE_CATALOGUE_SQL, &[]).await.map_err(sql.failed(doing))? {
        catalogue.insert_row(&row).map_err(sql.failed(doing))?;
    }
    Ok(catalogue)
}

const FOREIGN_KEYS_SQL: &str = "\
SELECT con.conrelid::int8, con.confrelid::int8 FROM pg_catalog.pg_constraint con \
WHERE con.contype = 'f' AND con.conrelid <> con.confrelid \
AND con.conrelid::int8 = ANY($1) AND con.confrelid::int8 = ANY($1)";

/// Orders tables so that a referenced one comes before those that refer to it; otherwise as given.
pub(crate) async fn parents_first(sql: &Sql, tables: &[(u32, TableName)]) -> Result<Vec<TableName>, SourceError> {
    let oids: Vec<i64> = tables.iter().map(|(oid, _)| i64::from(*oid)).collect();
    let doing = "reading foreign keys";
    let rows = sql.query(FOREIGN_KEYS_SQL, &[&oids]).await.map_err(sql.failed(doing))?;
    let mut parents: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for row in rows {
        let (child, parent) = (row.try_get(0).map_err(sql.failed(doing))?, row.try_get(1).map_err(sql.failed(doing))?);
        parents.entry(child).or_default().insert(parent);
    }
    let order = sorted(&oids, &parents);
    Ok(order.into_iter().filter_map(|oid| Some(tables.iter().find(|(o, _)| i64::from(*o) == oid)?.1.clone())).collect())
}

/// Sorts topologically and stably; of a cycle the first as given goes first.
fn sorted(given: &[i64], parents: &BTreeMap<i64, BTreeSet<i64>>) -> Vec<i64> {
    let mut left = given.to_vec();
    let mut order = Vec::with_capacity(given.len());
    while !left.is_empty() {
        let free = left
            .iter()
            .position(|oid| parents.get(oid).is_none_or(|parents| parents.iter().all(|parent| !left.contains(parent))));
        order.push(left.remove(free.unwrap_or(0)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_go_first_and_a_cycle_does_not_hang() {
        let parents = BTreeMap::from([(1, BTreeSet::from([2])), (2, BTreeSet::from([3]))]);
        assert_eq!(sorted(&[1, 2, 3, 4], &parents), [3, 2, 1, 4]);
        let cycle = BTreeMap::from([(1, BTreeSet::from([2])), (2, BTreeSet::from([1])), (3, BTreeSet::from([1]))]);
        assert_eq!(sorted(&[3, 1, 2], &cycle), [3, 1, 2]);
    }
}
