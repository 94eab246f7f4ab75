//! A slot as the server describes it.

use crate::connect::Sql;
use crate::refusal::{Refusal, quoted};
use contract::SourceError;
use model::Lsn;
use serde_json::Value;

/// A row of `pg_replication_slots`; fields that a version lacks stand at their harmless value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotFacts {
    pub(crate) name: String,
    pub(crate) plugin: String,
    pub(crate) database: String,
    pub(crate) temporary: bool,
    pub(crate) two_phase: bool,
    pub(crate) active_pid: Option<i64>,
    pub(crate) restart: Option<Lsn>,
    pub(crate) confirmed: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(crate) wal_status: String,
    /// PostgreSQL 16 and 17 on.
    pub(crate) invalidation: Option<String>,
}

impl SlotFacts {
    /// Reads a slot; none when there is none of this name.
    pub(crate) async fn load(sql: &Sql, name: &str) -> Result<Option<Self>, SourceError> {
        // As JSON: the view's columns differ between versions.
        let failed = sql.failed("reading the slot");
        let row = sql
            .query_opt("SELECT to_jsonb(s) FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1", &[&name])
            .await
            .map_err(&failed)?;
        row.map(|row| Ok(Self::from_json(&row.try_get::<_, Value>(0).map_err(&failed)?))).transpose()
    }

    fn from_json(row: &Value) -> Self {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let flag = |name: &str| row.get(name).and_then(Value::as_bool).unwrap_or(false);
        let lsn = |name: &str| text(name).and_then(|text| text.parse().ok());
        let conflict = flag("conflicting").then(|| "conflict with recovery".to_owned());
        Self {
            name: text("slot_name").unwrap_or_default(),
            plugin: text("plugin").unwrap_or_default(),
            database: text("database").unwrap_or_default(),
            temporary: flag("temporary"),
            two_phase: flag("two_phase"),
            active_pid: row.get("active_pid").and_then(Value::as_i64),
            restart: lsn("restart_lsn"),
            confirmed: lsn("confirmed_flush_lsn"),
            wal_status: text("wal_status").unwrap_or_default(),
            invalidation: text("invalidation_reason").or(conflict),
        }
    }

    /// Says why it can no longer be read from, if so.
    pub(crate) fn lost(&self) -> Option<String> {
        if let Some(reason) = &self.invalidation {
            return Some(format!("the server has invalidated it: {reason}"));
        }
        (self.wal_status == "lost" || self.restart.is_none())
            .then(|| "the server has removed WAL that it still needed (max_slot_wal_keep_size)".to_owned())
    }

    /// Says why it is not a slot that we can read, if so.
    pub(crate) fn unusable(&self) -> Option<Refusal> {
        let cause = if self.plugin.is_empty() {
            "it is a physical slot".to_owned()
        } else if self.plugin != "pgoutput" {
            format!("its output plugin is {}, not pgoutput", self.plugin)
        } else if self.temporary {
            "it is a temporary slot of another session".to_owned()
        } else if self.two_phase {
            "it decodes prepared transactions (two_phase), which are not read".to_owned()
        } else {
            return None;
        };
        let fix = format!(
            "configure another slot name, or drop this one: SELECT pg_drop_replication_slot({});",
            crate::refusal::literal(&self.name)
        );
        Some(Refusal::new("PS2151", format!("slot {}", quoted(&self.name)), cause, fix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn slots_of_old_and_new_versions_are_read() {
        let old = SlotFacts::from_json(&json!({
            "slot_name": "s", "plugin": "pgoutput", "slot_type": "logical", "database": "d", "temporary": false,
            "active_pid": null, "restart_lsn": "0/10", "confirmed_flush_lsn": "0/20", "wal_status": "reserved"
        }));
        assert_eq!(
            (old.restart, old.confirmed, old.lost(), old.unusable()),
            (Some(Lsn(16)), Some(Lsn(32)), None, None)
        );
        let new = SlotFacts::from_json(&json!({
            "slot_name": "s", "plugin": "pgoutput", "restart_lsn": "0/10", "wal_status": "unreserved",
            "invalidation_reason": "idle_timeout", "two_phase": true
        }));
        assert!(new.lost().is_some_and(|why| why.contains("idle_timeout")));
        assert_eq!(new.unusable().map(|refusal| refusal.code), Some("PS2151"));
    }
}
