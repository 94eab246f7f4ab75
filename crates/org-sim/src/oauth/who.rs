//! Who a session belongs to: userinfo (OpenID Connect) and the identity URL, which tell nearly the same in other words.

use super::token::identity_url;
use super::{Caller, Sessions};
use crate::answer::Response;
use crate::config::UserConfig;
use crate::value::Value;
use serde_json::{Value as J, json};

/// What is known of a user beside the name to log in with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    pub first_name: Option<String>,
    pub last_name: String,
    pub email: String,
}

impl Person {
    /// As configured; what is left out is as in the row of `User`, an address is made of the username.
    pub fn new(known: Option<&UserConfig>, username: &str) -> Self {
        let last_name = known.and_then(|user| user.last_name.clone()).unwrap_or_else(|| "Integration".into());
        let email = known.and_then(|user| user.email.clone()).unwrap_or_else(|| username.to_owned());
        Self { first_name: known.and_then(|user| user.first_name.clone()), last_name, email }
    }

    /// First and last name.
    pub fn name(&self) -> String {
        match &self.first_name {
            Some(first) => format!("{first} {}", self.last_name),
            None => self.last_name.clone(),
        }
    }
}

/// The addresses of the APIs; `{version}` stays for the caller to fill in.
fn urls(sessions: &Sessions, caller: &Caller, base: &str) -> J {
    let org = sessions.org_id.short();
    let soap = |kind: &str| format!("{base}/services/Soap/{kind}/{{version}}/{org}");
    let data = |path: &str| format!("{base}/services/data/v{{version}}/{path}");
    json!({
        "enterprise": soap("c"),
        "metadata": soap("m"),
        "partner": soap("u"),
        "rest": data(""),
        "sobjects": data("sobjects/"),
        "search": data("search/"),
        "query": data("query/"),
        "recent": data("recent/"),
        "tooling_soap": soap("T"),
        "tooling_rest": data("tooling/"),
        "profile": format!("{base}/{}", caller.user),
        "custom_domain": base,
    })
}

/// The body of userinfo.
pub fn userinfo(sessions: &Sessions, caller: &Caller, base: &str, now_ms: i64) -> Response {
    let person = sessions.person(&caller.username);
    let photo = |size: &str| format!("{base}/profilephoto/005/{size}");
    Response::value(
        200,
        &json!({
            "sub": identity_url(sessions, caller.user.as_str(), base),
            "user_id": caller.user.to_string(),
            "organization_id": sessions.org_id.to_string(),
            "preferred_username": &*caller.username,
            "nickname": nickname(caller),
            "name": person.name(),
            "email": person.email,
            "email_verified": true,
            "given_name": person.first_name,
            "family_name": person.last_name,
            "zoneinfo": "GMT",
            "photos": { "picture": photo("F"), "thumbnail": photo("T") },
            "profile": format!("{base}/{}", caller.user),
            "picture": photo("F"),
            "address": {},
            "is_salesforce_integration_user": false,
            "urls": urls(sessions, caller, base),
            "active": true,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "utcOffset": 0,
            "updated_at": Value::Datetime(now_ms).to_string().replace("+0000", "Z"),
            "is_app_installed": true,
        }),
    )
}

/// The body of the identity URL.
pub fn identity(sessions: &Sessions, caller: &Caller, base: &str, now_ms: i64) -> Response {
    let person = sessions.person(&caller.username);
    let photo = |size: &str| format!("{base}/profilephoto/005/{size}");
    Response::value(
        200,
        &json!({
            "id": identity_url(sessions, caller.user.as_str(), base),
            "asserted_user": true,
            "user_id": caller.user.to_string(),
            "organization_id": sessions.org_id.to_string(),
            "username": &*caller.username,
            "nick_name": nickname(caller),
            "display_name": person.name(),
            "email": person.email,
            "email_verified": true,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "timezone": "GMT",
            "photos": { "picture": photo("F"), "thumbnail": photo("T") },
            "addr_street": null,
            "addr_city": null,
            "addr_state": null,
            "addr_country": null,
            "addr_zip": null,
            "mobile_phone": null,
            "mobile_phone_verified": false,
            "is_lightning_login_user": false,
            "status": { "created_date": null, "body": null },
            "urls": urls(sessions, caller, base),
            "active": true,
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "utcOffset": 0,
            "last_modified_date": Value::Datetime(now_ms).to_string(),
            "is_app_installed": true,
        }),
    )
}

fn nickname(caller: &Caller) -> &str {
    caller.username.split('@').next().unwrap_or_default()
}
