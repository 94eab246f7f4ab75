//! The tables of the stream by their relation id, and the plans to write their changes.

use crate::catalog::load_types;
use crate::column_type::{RelationDescription, TypeCatalogue};
use crate::connect::Sql;
use crate::envelope::{EventSource, RelationPlan};
use crate::refusal::{Refusal, unwritable};
use contract::{SourceError, StreamBinding};
use model::{TableName, ValueMode};
use std::collections::HashMap;

/// A table as the stream described it last.
pub(crate) struct Relation {
    pub(crate) shape: RelationDescription,
    /// Outlet and plan, for each stream that takes the table. Empty: nobody asked for it.
    pub(crate) plans: Vec<(usize, RelationPlan)>,
}

/// What the relations are made from.
pub(crate) struct RelationsParts {
    pub(crate) sql: Sql,
    pub(crate) types: TypeCatalogue,
    pub(crate) source: EventSource,
    pub(crate) bindings: Vec<StreamBinding>,
    /// The configured tables by their oid when the session began.
    pub(crate) known: HashMap<u32, TableName>,
}

/// All relations of a session.
pub(crate) struct Relations {
    parts: RelationsParts,
    by_id: HashMap<u32, Relation>,
}

impl Relations {
    pub(crate) fn new(parts: RelationsParts) -> Self {
        Self { parts, by_id: HashMap::new() }
    }

    /// Finds a relation that was described in this session.
    #[inline]
    pub(crate) fn get(&self, relation_id: u32) -> Option<&Relation> {
        self.by_id.get(&relation_id)
    }

    /// Takes a new description: compiles its plans anew.
    ///
    /// # Errors
    /// PS2136 when a captured table goes by another name now; PS2002 when it lost a column of its business key.
    pub(crate) async fn describe(&mut self, mut shape: RelationDescription) -> Result<(), SourceError> {
        if let Some(known) = self.parts.known.get(&shape.relation_id)
            && *known != shape.table
        {
            return Err(renamed(known, &shape.table).into());
        }
        if !self.parts.types.covers(&shape) {
            self.parts.types = load_types(&self.parts.sql).await?;
        }
        if self.parts.source.mode == ValueMode::Debezium {
            self.mark_not_null(&mut shape).await?;
        }
        let mut plans = Vec::new();
        for (outlet, binding) in self.parts.bindings.iter().enumerate() {
            let Some(key) = binding.keys.get(&shape.table) else { continue };
            let plan = RelationPlan::compile(&shape, &self.parts.types, key, &self.parts.source)
                .map_err(|error| unwritable(error.code(), &error))?;
            plans.push((outlet, plan));
        }
        if plans.is_empty() {
            tracing::warn!(table = %shape.table, "the publication sends a table that no stream takes; its changes are counted and left out");
        }
        self.by_id.insert(shape.relation_id, Relation { shape, plans });
        Ok(())
    }

    /// The catalogue as it is now, which may be ahead of the stream: columns and tables that are gone are no error.
    async fn mark_not_null(&self, shape: &mut RelationDescription) -> Result<(), SourceError> {
        let sql = &self.parts.sql;
        let rows = sql
            .query(
                "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid::int8 = $1 AND attnum > 0 AND attnotnull AND NOT attisdropped",
                &[&i64::from(shape.relation_id)],
            )
            .await
            .map_err(sql.failed("reading column constraints"))?;
        let names: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        shape.set_not_null(names.iter().map(String::as_str));
        Ok(())
    }
}

fn renamed(known: &TableName, now: &TableName) -> Refusal {
    Refusal::table(
        "PS2136",
        known,
        format!("it was renamed to {now} while it was captured"),
        format!("write {now} in the configuration; it is then copied again, under its new name"),
    )
}
