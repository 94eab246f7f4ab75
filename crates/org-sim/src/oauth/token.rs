//! The token endpoints.

use super::{Sessions, basic, bearer, jwt, who};
use crate::answer::{Request, Response, form};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;
use std::collections::BTreeMap;

/// Answers a request to `/services/oauth2/{what}`; `base` is the org's own address.
pub fn handle(sessions: &mut Sessions, what: &str, request: &Request<'_>, base: &str, now_ms: i64) -> Response {
    let text = String::from_utf8_lossy(request.body);
    let mut fields: BTreeMap<String, String> = form(&text).collect();
    if let Some((id, secret)) = request.header("authorization").and_then(basic) {
        fields.entry("client_id".into()).or_insert(id);
        fields.entry("client_secret".into()).or_insert(secret);
    }
    match (what, request.method) {
        ("token", &Method::POST) => token(sessions, &fields, base, now_ms),
        ("revoke", &Method::POST | &Method::GET) => {
            let token = fields.get("token").cloned().or_else(|| request.parameter("token")).unwrap_or_default();
            if sessions.revoke(&token) {
                Response::empty(200)
            } else {
                refused(400, "unsupported_token_type", "this token type is not supported")
            }
        }
        ("introspect", &Method::POST) => introspect(sessions, &fields, base, now_ms),
        ("userinfo", &Method::GET | &Method::POST) => userinfo(sessions, request, base, now_ms),
        ("token" | "revoke" | "introspect" | "userinfo", _) => {
            Response::error(405, "METHOD_NOT_ALLOWED", "HTTP Method not allowed")
        }
        _ => Response::error(404, "NOT_FOUND", "The requested resource does not exist"),
    }
}

fn refused(status: u16, error: &str, description: &str) -> Response {
    Response::value(status, &json!({ "error": error, "error_description": description }))
}

fn token(sessions: &mut Sessions, fields: &BTreeMap<String, String>, base: &str, now_ms: i64) -> Response {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let grant = field("grant_type");
    if grant == "urn:ietf:params:oauth:grant-type:jwt-bearer" {
        return match by_jwt(sessions, field("assertion"), now_ms) {
            Ok((app, user)) => granted(sessions, app, &user, base, now_ms, None),
            Err((error, description)) => refused(400, error, description),
        };
    }
    let Some(app) = sessions.apps.iter().position(|app| app.client_id == field("client_id")) else {
        return refused(400, "invalid_client_id", "client identifier invalid");
    };
    let secret_fits = sessions.apps[app].client_secret == field("client_secret");
    let wrong_secret = || refused(sessions.invalid_client_status, "invalid_client", "invalid client credentials");
    match grant {
        "client_credentials" if !secret_fits => wrong_secret(),
        "client_credentials" => match sessions.apps[app].run_as.clone() {
            Some(user) => granted(sessions, app, &user, base, now_ms, None),
            None => refused(400, "invalid_grant", "no client credentials user enabled"),
        },
        "password" if !secret_fits => wrong_secret(),
        "password" => {
            let user = sessions.authenticated(field("username"), field("password"));
            match user.map(|user| user.username.clone()) {
                Some(user) => {
                    let refresh = sessions.opaque("refresh", now_ms);
                    sessions.keep_refresh(refresh.clone(), sessions.apps[app].client_id.clone(), user.clone());
                    granted(sessions, app, &user, base, now_ms, Some(refresh))
                }
                None => refused(400, "invalid_grant", "authentication failure"),
            }
        }
        "refresh_token" => {
            let client_id = &sessions.apps[app].client_id;
            let known = sessions
                .refresh
                .iter()
                .find(|(token, client, _)| token == field("refresh_token") && client == client_id);
            // A public client sends no secret; one that is sent must fit.
            let secret_fits = secret_fits || !fields.contains_key("client_secret");
            match known.map(|(_, _, user)| user.clone()) {
                _ if !secret_fits => wrong_secret(),
                Some(user) => granted(sessions, app, &user, base, now_ms, None),
                None => refused(400, "invalid_grant", "expired access/refresh token"),
            }
        }
        _ => refused(400, "unsupported_grant_type", "grant type not supported"),
    }
}

fn by_jwt(sessions: &Sessions, assertion: &str, now_ms: i64) -> Result<(usize, String), jwt::Refused> {
    let issuer = jwt::issuer(assertion).ok_or(("invalid_grant", "invalid assertion"))?;
    let app = sessions.apps.iter().position(|app| app.client_id == issuer);
    let app = app.ok_or(("invalid_client_id", "client identifier invalid"))?;
    let key = sessions.apps[app].key.as_ref().ok_or(("invalid_grant", "invalid assertion"))?;
    let user = jwt::verify(assertion, key, now_ms, sessions.jwt_expiry_max_s)?;
    let approved = sessions.apps[app].jwt_users.iter().any(|known| known.eq_ignore_ascii_case(&user));
    if approved { Ok((app, user)) } else { Err(("invalid_grant", "user hasn't approved this consumer")) }
}

fn granted(
    sessions: &mut Sessions,
    app: usize,
    username: &str,
    base: &str,
    now_ms: i64,
    refresh: Option<String>,
) -> Response {
    let Some(user) = sessions.user(username).cloned() else {
        return refused(400, "inactive_user", "user is inactive");
    };
    let identity = identity_url(sessions, &user.id.to_string(), base);
    let issued_at = now_ms.to_string();
    let secret = EncodingKey::from_secret(sessions.apps[app].client_secret.as_bytes());
    let signed = format!("{identity}{issued_at}");
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &secret, Algorithm::HS256).unwrap_or_default();
    let access_token = sessions.open(app, user, now_ms);
    let mut body = json!({
        "access_token": access_token,
        "signature": signature,
        "scope": "api id refresh_token",
        "instance_url": base,
        "id": identity,
        "token_type": "Bearer",
        "issued_at": issued_at,
    });
    if let Some(refresh) = refresh {
        body["refresh_token"] = refresh.into();
    }
    Response::value(200, &body)
}

pub fn identity_url(sessions: &Sessions, user: &str, base: &str) -> String {
    format!("{base}/id/{}/{user}", sessions.org_id)
}

fn introspect(sessions: &Sessions, fields: &BTreeMap<String, String>, base: &str, now_ms: i64) -> Response {
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    let app = sessions.apps.iter().find(|app| app.client_id == field("client_id"));
    if app.is_none_or(|app| app.client_secret != field("client_secret")) {
        return refused(sessions.invalid_client_status, "invalid_client", "invalid client credentials");
    }
    match sessions.sessions.get(field("token")).filter(|session| session.ends_ms > now_ms) {
        None => Response::value(200, &json!({ "active": false })),
        Some(session) => Response::value(
            200,
            &json!({
                "active": true,
                "scope": "api id refresh_token",
                "client_id": session.client_id,
                "username": &*session.caller.username,
                "sub": identity_url(sessions, session.caller.user.as_str(), base),
                "token_type": "access_token",
                "exp": session.ends_ms / 1000,
                "iat": session.issued_ms / 1000,
                "nbf": session.issued_ms / 1000,
            }),
        ),
    }
}

fn userinfo(sessions: &mut Sessions, request: &Request<'_>, base: &str, now_ms: i64) -> Response {
    let authorization = request.header("authorization");
    let Some(caller) = sessions.use_token(authorization.filter(|a| bearer(a).is_some()), now_ms) else {
        let mut response = Response::empty(403);
        (response.content_type, response.body) = ("text/html;charset=UTF-8", b"Bad_OAuth_Token".to_vec());
        return response;
    };
    who::userinfo(sessions, &caller, base, now_ms)
}
