//! Field-level security as it is configured and set while the org runs (`/_sim/field-security`).

use crate::answer::{Request, Response};
use crate::error::SimError;
use crate::ids::SfId;
use crate::org::Org;
use crate::store::FieldAccess;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as J, json};

/// What a user may do with a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSecurity {
    /// Username; every user that has no setting of its own if left out.
    #[serde(default)]
    pub user: Option<String>,
    pub object: String,
    pub field: String,
    pub access: FieldAccess,
}

impl Org {
    /// Sets what a user may do with a field from now on.
    ///
    /// # Errors
    /// `SimError::Definition` when there is no such user, object or field, or when the field is one that everybody sees.
    pub fn set_field_security(&mut self, setting: &FieldSecurity, now_ms: i64) -> Result<(), SimError> {
        let place = || format!("{}.{}", setting.object, setting.field);
        let wrong = |cause: &str| SimError::definition(place(), cause);
        let table = self.store.find_table(&setting.object).ok_or_else(|| wrong("there is no such object"))?;
        let object = &self.store.table(table).object;
        let number = object.field(&setting.field).ok_or_else(|| wrong("there is no such field"))?;
        let field = &object.fields[usize::from(number)];
        let always = field.required || field.name_field || field.id_lookup && !field.external_id;
        if always && setting.access != FieldAccess::Editable {
            return Err(wrong("a required field, a name or an id cannot be withheld"));
        }
        let user = match &setting.user {
            None => None,
            Some(name) => Some(self.sessions.user_id(name).ok_or_else(|| wrong("there is no such user"))?),
        };
        self.store.access.set(user, table, number, setting.access);
        self.store.table_mut(table).object.changed_ms = now_ms;
        Ok(())
    }

    /// Every setting of field-level security.
    pub fn field_security(&self) -> Vec<FieldSecurity> {
        let setting = |(user, table, field, access): (Option<SfId>, usize, u16, FieldAccess)| {
            let object = &self.store.table(table).object;
            let field = &object.fields[usize::from(field)];
            FieldSecurity {
                user: user.and_then(|user| self.sessions.username(user)),
                object: object.name.to_string(),
                field: field.name.to_string(),
                access,
            }
        };
        let mut all: Vec<FieldSecurity> = self.store.access.levels().map(setting).collect();
        all.sort_by(|a, b| (&a.object, &a.field, &a.user).cmp(&(&b.object, &b.field, &b.user)));
        all
    }
}

/// Answers `GET` and `POST /_sim/field-security`: one setting, or a list of them.
///
/// # Errors
/// `SimError`; the settings before the wrong one are made.
pub fn control(org: &mut Org, request: &Request<'_>, now_ms: i64) -> Result<Response, SimError> {
    if request.method == http::Method::POST {
        let wrong = |error: serde_json::Error| SimError::control(request.path, error.to_string());
        let body: J = serde_json::from_slice(request.body).map_err(wrong)?;
        let settings: Vec<FieldSecurity> = match body {
            J::Array(_) => serde_json::from_value(body).map_err(wrong)?,
            one => vec![serde_json::from_value(one).map_err(wrong)?],
        };
        for setting in &settings {
            org.set_field_security(setting, now_ms)?;
        }
    }
    Ok(Response::value(200, &json!({ "fields": org.field_security() })))
}

/// Answers `GET /_sim/rules`: every validation rule with how often it refused and how often it could not be evaluated.
pub fn rules(org: &Org) -> Response {
    let rules = org.store.tables().iter().flat_map(|table| {
        table.object.rules.iter().map(|rule| {
            let (fired, failed) = rule.counts();
            json!({
                "object": &*table.object.name, "name": rule.name, "when": rule.when, "message": rule.message,
                "field": rule.field.as_deref(), "active": rule.active, "fired": fired, "failed": failed,
            })
        })
    });
    Response::value(200, &json!({ "rules": rules.collect::<Vec<_>>() }))
}
