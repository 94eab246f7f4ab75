//! JWT bearer assertions (RFC 7523 as Salesforce understands it).

use crate::error::SimError;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// Audiences that Salesforce takes; a My Domain address is refused.
const AUDIENCES: [&str; 2] = ["https://login.salesforce.com", "https://test.salesforce.com"];

/// Why an assertion is refused: `error` and `error_description`.
pub type Refused = (&'static str, &'static str);

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    aud: Option<serde_json::Value>,
    exp: Option<serde_json::Value>,
}

/// Reads an X.509 certificate or a public key in PEM.
///
/// # Errors
/// `SimError::Application`.
pub fn read_key(app: &str, pem: &str) -> Result<DecodingKey, SimError> {
    DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| SimError::Application {
        place: app.to_owned(),
        cause: format!("the certificate is no PEM of an RSA certificate or public key: {error}"),
    })
}

/// The issuer of an assertion whose signature nobody has checked yet: it names the application.
pub fn issuer(assertion: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    let data = jsonwebtoken::dangerous::insecure_decode::<Issuer>(assertion).ok()?;
    Some(data.claims.iss)
}

/// Checks signature, audience and expiry; returns the username.
///
/// # Errors
/// `Refused`, in Salesforce's words.
pub fn verify(assertion: &str, key: &DecodingKey, now_ms: i64, expiry_max_s: i64) -> Result<String, Refused> {
    // Time is the org's own, and Salesforce's clients send `exp` as text too: both are checked below.
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(assertion, key, &validation)
        .map_err(|_| ("invalid_grant", "invalid assertion"))?
        .claims;
    let audience = match &claims.aud {
        Some(serde_json::Value::String(aud)) => Some(aud.as_str()),
        Some(serde_json::Value::Array(all)) => all.first().and_then(|aud| aud.as_str()),
        _ => None,
    };
    if !audience.is_some_and(|aud| AUDIENCES.contains(&aud.trim_end_matches('/'))) {
        return Err(("invalid_grant", "audience is invalid"));
    }
    let expiry = match &claims.exp {
        Some(serde_json::Value::Number(exp)) => exp.as_f64().map(|exp| exp as i64),
        Some(serde_json::Value::String(exp)) => exp.parse().ok(),
        _ => None,
    };
    let now_s = now_ms / 1000;
    match expiry {
        Some(exp) if exp > now_s && exp - now_s <= expiry_max_s => {}
        _ => return Err(("invalid_grant", "expired authorization code")),
    }
    claims.sub.ok_or(("invalid_grant", "user hasn't approved this consumer"))
}
