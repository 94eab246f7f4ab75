//! Field-level security: which fields a user cannot see, or cannot write.
//!
//! The org works one call at a time; the store knows for whom.

use crate::ids::SfId;
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a user may do with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldAccess {
    Hidden,
    ReadOnly,
    Editable,
}

/// Who acts, and what users may not do with fields.
#[derive(Clone, Debug)]
pub struct Access {
    acting: SfId,
    /// Whether a create may set who made a record and when ("Set Audit Fields upon Record Creation").
    pub sets_audit_fields: bool,
    /// By user (none for every user), table and field.
    levels: HashMap<(Option<SfId>, usize, u16), FieldAccess>,
}

impl Default for Access {
    fn default() -> Self {
        Self { acting: SfId::new(*b"005", 1), sets_audit_fields: false, levels: HashMap::new() }
    }
}

impl Access {
    /// Says for whom the store is read and written from now on.
    pub fn act_as(&mut self, user: SfId) {
        self.acting = user;
    }

    /// Sets what a user (none: every user that has no setting of its own) may do with a field.
    pub fn set(&mut self, user: Option<SfId>, table: usize, field: u16, access: FieldAccess) {
        if access == FieldAccess::Editable && user.is_none() {
            self.levels.remove(&(user, table, field));
        } else {
            self.levels.insert((user, table, field), access);
        }
    }

    /// What the acting user may do with a field.
    pub fn of(&self, table: usize, field: u16) -> FieldAccess {
        if self.levels.is_empty() {
            return FieldAccess::Editable;
        }
        let own = self.levels.get(&(Some(self.acting), table, field));
        own.or_else(|| self.levels.get(&(None, table, field))).copied().unwrap_or(FieldAccess::Editable)
    }

    /// Every setting.
    pub fn levels(&self) -> impl Iterator<Item = (Option<SfId>, usize, u16, FieldAccess)> {
        self.levels.iter().map(|((user, table, field), access)| (*user, *table, *field, *access))
    }
}
