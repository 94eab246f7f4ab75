//! A table's shape, compiled for writing.

use super::source_block::SourceBlock;
use super::{EventError, Row};
use crate::column_type::{PlanError, RelationDescription, TypeCatalogue};
use crate::values::{Codec, ValueError, write_string};
use model::{BatchFull, ReplicaIdentity, TableName, ValueMode};

/// What is the same in every event of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSource {
    /// `source.name`: the source's name in the configuration (Debezium: `topic.prefix`).
    pub name: String,
    /// `source.db`.
    pub database: String,
    pub mode: ValueMode,
}

/// Everything about a table's shape that writing its events needs, compiled once per Relation message.
#[derive(Clone, Debug)]
pub struct RelationPlan {
    table: TableName,
    pub(super) table_header: String,
    pub(super) columns: Vec<PlanColumn>,
    pub(super) key: Vec<KeyColumn>,
    pub(super) source: SourceBlock,
    pub(super) mode: ValueMode,
    key_is_carried: bool,
}

#[derive(Clone, Debug)]
pub(super) struct PlanColumn {
    pub(super) name: String,
    /// `"name":`, escaped.
    pub(super) label: Box<[u8]>,
    pub(super) codec: Codec,
    /// Part of the replica identity.
    pub(super) identity: bool,
    /// What stands for it in a key-only old row: nothing in `readable` mode, Debezium's null or filler in its mode.
    pub(super) not_carried: Option<&'static [u8]>,
}

#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub(super) index: usize,
    /// `{"name":` for the first, `,"name":` for the others.
    pub(super) label: Box<[u8]>,
}

impl RelationPlan {
    /// Compiles a table's shape. `key`: the business key's columns in key order; empty gives records without a key.
    ///
    /// # Errors
    /// `PlanError` when a key column is not in the table.
    pub fn compile(
        relation: &RelationDescription,
        catalogue: &TypeCatalogue,
        key: &[String],
        source: &EventSource,
    ) -> Result<Self, PlanError> {
        let columns: Vec<PlanColumn> = relation
            .columns
            .iter()
            .map(|column| {
                let codec = catalogue.codec(column.type_oid, column.typmod, source.mode);
                let not_carried = match source.mode {
                    ValueMode::Readable => None,
                    ValueMode::Debezium if column.not_null => Some(codec.debezium_filler()),
                    ValueMode::Debezium => Some(&b"null"[..]),
                };
                let mut label = Vec::new();
                write_string(&mut label, column.name.as_bytes());
                label.push(b':');
                let label = label.into_boxed_slice();
                PlanColumn { name: column.name.clone(), label, codec, identity: column.identity, not_carried }
            })
            .collect();
        let key = compile_key(&relation.table, &columns, key)?;
        let carried = key.iter().all(|key| columns[key.index].identity);
        Ok(Self {
            table: relation.table.clone(),
            table_header: relation.table.to_string(),
            key_is_carried: !key.is_empty() && (carried || relation.replica_identity == ReplicaIdentity::Full),
            columns,
            key,
            source: SourceBlock::compile(&relation.table, source),
            mode: source.mode,
        })
    }

    /// The table's name.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// True when old row versions carry the whole business key: else deletes cannot be written and a change of the key
    /// cannot be seen. False for a table without a key.
    pub fn key_is_carried(&self) -> bool {
        self.key_is_carried
    }

    pub(super) fn check_columns(&self, row: Row<'_>) -> Result<(), EventError> {
        let (expected, found) = (self.columns.len(), row.len());
        if expected == found {
            return Ok(());
        }
        Err(EventError::ColumnCount { table: self.table.clone(), expected, found })
    }

    #[cold]
    pub(super) fn key_not_carried(&self, index: usize) -> EventError {
        EventError::KeyNotCarried { table: self.table.clone(), column: self.columns[index].name.clone() }
    }

    #[cold]
    pub(super) fn broken_value(&self, column: &PlanColumn, cause: ValueError) -> EventError {
        EventError::Value { table: self.table.clone(), column: column.name.clone(), cause }
    }

    #[cold]
    pub(super) fn too_large(&self, cause: BatchFull) -> EventError {
        EventError::TooLarge { table: self.table.clone(), cause }
    }
}

fn compile_key(table: &TableName, columns: &[PlanColumn], key: &[String]) -> Result<Vec<KeyColumn>, PlanError> {
    let missing = |name: &String| PlanError { table: table.clone(), column: name.clone() };
    key.iter()
        .enumerate()
        .map(|(position, name)| {
            let index = columns.iter().position(|column| column.name == *name).ok_or_else(|| missing(name))?;
            let mut label = vec![if position == 0 { b'{' } else { b',' }];
            label.extend_from_slice(&columns[index].label);
            Ok(KeyColumn { index, label: label.into_boxed_slice() })
        })
        .collect()
}
