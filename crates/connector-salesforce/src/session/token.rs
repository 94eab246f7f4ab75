//! The token request: client credentials or JWT bearer, and what its answers mean.
//!
//! Source: Salesforce help, "OAuth 2.0 Client Credentials Flow", "OAuth 2.0 JWT Bearer Flow", "OAuth 2.0 Authorization
//! Errors". The answer has no `expires_in`: expiry shows as a 401.

use crate::config::{Auth, ConfigError, base_url};
use crate::errors::body;
use crate::faults::{self, fault};
use crate::{Secret, transport};
use contract::{Clock, SinkError};
use http::{HeaderValue, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use model::ErrorClass;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// An assertion is valid for this long; the help page wants minutes, and clocks differ by seconds.
const ASSERTION_SECONDS: i64 = 180;
/// A token answer is well under 4 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a token request needs.
pub(crate) struct Login {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
    /// Scheme and host of the token endpoint.
    base: String,
    allow_plain_http: bool,
    timeout: Duration,
    grant: Grant,
    secrets: Vec<Secret>,
}

enum Grant {
    ClientCredentials { client_id: String, client_secret: Secret },
    JwtBearer { client_id: String, username: String, audience: String, key: Box<EncodingKey> },
}

/// What the token endpoint gave.
pub(crate) struct Granted {
    pub instance: String,
    pub bearer: HeaderValue,
    pub token: Secret,
    pub identity: Option<Identity>,
}

/// Who a session is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub org: String,
    pub user: String,
}

impl Identity {
    /// Reads the identity URL of a token answer: `https://login.salesforce.com/id/<org>/<user>`.
    fn from_url(url: &str) -> Option<Self> {
        let (_, path) = url.split_once("/id/")?;
        let (org, user) = path.trim_end_matches('/').split_once('/')?;
        let is_id = |id: &str| matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        (is_id(org) && is_id(user)).then(|| Self { org: org.to_owned(), user: user.to_owned() })
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    instance_url: String,
    /// The identity URL.
    #[serde(default)]
    id: String,
}

impl Login {
    /// Prepares sign-in; reads the private key.
    ///
    /// # Errors
    /// `ConfigError::PrivateKey`.
    pub fn new(
        client: reqwest::Client,
        clock: Arc<dyn Clock>,
        base: String,
        config: &crate::SalesforceConfig,
    ) -> Result<Self, ConfigError> {
        let mut secrets = Vec::new();
        let grant = match &config.auth {
            Auth::ClientCredentials { client_id, client_secret } => {
                secrets.push(client_secret.clone());
                Grant::ClientCredentials { client_id: client_id.clone(), client_secret: client_secret.clone() }
            }
            Auth::JwtBearer { client_id, username, private_key_pem, audience } => {
                secrets.extend(key_lines(private_key_pem));
                let key = EncodingKey::from_rsa_pem(private_key_pem.expose().as_bytes())
                    .map_err(|_| ConfigError::PrivateKey { cause: "it is not an RSA key in PEM" })?;
                let audience = audience.clone().unwrap_or_else(|| default_audience(&base));
                Grant::JwtBearer {
                    client_id: client_id.clone(),
                    username: username.clone(),
                    audience,
                    key: Box::new(key),
                }
            }
        };
        if let crate::Proxy::Url(url) = &config.proxy {
            secrets.extend(proxy_secrets(url));
        }
        Ok(Self {
            client,
            clock,
            base,
            allow_plain_http: config.allow_plain_http,
            timeout: config.connect_timeout + Duration::from_secs(20),
            grant,
            secrets,
        })
    }

    /// Asks for a token.
    ///
    /// # Errors
    /// `PS4001` not reached (`Transient`), `PS4002` refused (`Auth`), `PS4003` throttled, down or malformed (`Transient`).
    pub async fn ask(&self) -> Result<Granted, SinkError> {
        let place = format!("POST {}/services/oauth2/token", self.base);
        let asked = self.exchange(&place).await;
        asked.map_err(|mut error| {
            self.scrub(&mut error.message);
            crate::secret::mask_tokens(&mut error.message);
            error.message = faults::bounded(&error.message);
            error
        })
    }

    async fn exchange(&self, place: &str) -> Result<Granted, SinkError> {
        let assertion;
        let form: [(&str, &str); 3] = match &self.grant {
            Grant::ClientCredentials { client_id, client_secret } => [
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_secret", client_secret.expose()),
            ],
            Grant::JwtBearer { client_id, username, audience, key } => {
                let exp = self.clock.now_ms() / 1000 + ASSERTION_SECONDS;
                let claims = Claims { iss: client_id, sub: username, aud: audience, exp };
                assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, key).map_err(|_| {
                    fault(faults::CREDENTIALS, ErrorClass::Auth, place, "the assertion cannot be signed")
                })?;
                let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                [("grant_type", grant_type), ("assertion", &assertion), ("format", "json")]
            }
        };
        let request =
            self.client.post(format!("{}/services/oauth2/token", self.base)).timeout(self.timeout).form(&form);
        let answered = request.header(http::header::ACCEPT, "application/json").send().await;
        let mut response = answered.map_err(|error| {
            let code = if error.is_connect() { faults::UNREACHABLE } else { faults::TOKEN_UNAVAILABLE };
            fault(code, ErrorClass::Transient, place, transport::cause(error))
        })?;
        let status = response.status();
        let bytes = transport::read_bounded(&mut response, ANSWER_BYTES_MAX)
            .await
            .map_err(|trouble| fault(faults::TOKEN_UNAVAILABLE, ErrorClass::Transient, place, trouble.to_string()))?;
        if status != StatusCode::OK {
            return Err(refusal(status, &bytes, place));
        }
        self.granted(&bytes).map_err(|why| fault(faults::TOKEN_UNAVAILABLE, ErrorClass::Transient, place, why))
    }

    fn granted(&self, bytes: &[u8]) -> Result<Granted, String> {
        // The parser's own message may quote the answer, and so the token.
        let answer: TokenAnswer = serde_json::from_slice(bytes)
            .map_err(|_| format!("the token answer ({} bytes) lacks access_token or instance_url", bytes.len()))?;
        let instance = base_url(answer.instance_url.trim_end_matches('/'), self.allow_plain_http)
            .map_err(|error| format!("the token answer's instance_url cannot be used: {error}"))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", answer.access_token))
            .map_err(|_| "the access token cannot stand in a header".to_owned())?;
        bearer.set_sensitive(true);
        let identity = Identity::from_url(&answer.id);
        Ok(Granted { instance, bearer, token: Secret::new(answer.access_token), identity })
    }

    /// Masks the configured secrets.
    pub fn scrub(&self, text: &mut String) {
        for secret in &self.secrets {
            secret.scrub(text);
        }
    }
}

/// Production's login host, or that of sandboxes when the host names one (`…--name.sandbox.my.salesforce.com`).
fn default_audience(base: &str) -> String {
    let sandbox = base.contains("://test.salesforce.com") || base.contains(".sandbox.") || base.contains("--");
    if sandbox { "https://test.salesforce.com" } else { "https://login.salesforce.com" }.into()
}

/// The lines of a PEM, each a secret of its own: an echo rarely keeps the line breaks.
fn key_lines(pem: &Secret) -> Vec<Secret> {
    let lines = pem.expose().lines().map(str::trim).filter(|line| line.len() >= 16 && !line.starts_with("-----"));
    lines.map(Secret::new).collect()
}

/// The proxy's URL and the password in it.
fn proxy_secrets(url: &Secret) -> Vec<Secret> {
    let userinfo = url.expose().split("://").last().and_then(|rest| rest.rsplit_once('@')).map(|(user, _)| user);
    let password = userinfo.and_then(|user| user.split_once(':')).map(|(_, password)| Secret::new(password));
    password.into_iter().chain(userinfo.map(Secret::new)).collect()
}

/// Classifies what the token endpoint said: wrong credentials need an operator, everything else passes.
fn refusal(status: StatusCode, bytes: &[u8], place: &str) -> SinkError {
    let Some(target) = body::read(bytes) else {
        let message = format!("HTTP {} with {}", status.as_u16(), body::sketch(bytes));
        // 404 is what a host that is no org answers.
        let (code, class) = match status.as_u16() {
            400..=407 => (faults::CREDENTIALS, ErrorClass::Auth),
            _ => (faults::TOKEN_UNAVAILABLE, ErrorClass::Transient),
        };
        return fault(code, class, place, message);
    };
    let passes = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || matches!(target.code.as_str(), "rate_limit_exceeded" | "temporarily_unavailable" | "server_error");
    let (code, class) = match passes {
        true => (faults::TOKEN_UNAVAILABLE, ErrorClass::Transient),
        false => (faults::CREDENTIALS, ErrorClass::Auth),
    };
    let mut error = fault(code, class, place, format!("{}: {}", target.code, target.message));
    error.target_code = Some(faults::bounded(&target.code));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audience_follows_the_kind_of_org() {
        assert_eq!(default_audience("https://acme.my.salesforce.com"), "https://login.salesforce.com");
        assert_eq!(default_audience("https://acme--uat.sandbox.my.salesforce.com"), "https://test.salesforce.com");
        assert_eq!(default_audience("https://test.salesforce.com"), "https://test.salesforce.com");
    }

    #[test]
    fn org_and_user_are_read_from_the_identity_url() {
        let url = "https://login.salesforce.com/id/00Dxx0000001gPLEAY/005xx000001SwiUAAS";
        let identity = Identity::from_url(url).unwrap();
        assert_eq!((&*identity.org, &*identity.user), ("00Dxx0000001gPLEAY", "005xx000001SwiUAAS"));
        for other in ["", "/id/", "https://h/id/00D/005", "https://h/id/00Dxx0000001gPLEAY", "https://h/x/y"] {
            assert_eq!(Identity::from_url(other), None, "{other}");
        }
    }

    #[test]
    fn token_errors_are_permanent_unless_the_endpoint_is_busy() {
        let class =
            |status: u16, body: &str| refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes(), "token").class;
        assert_eq!(
            class(400, r#"{"error":"invalid_grant","error_description":"audience is invalid"}"#),
            ErrorClass::Auth
        );
        assert_eq!(class(401, r#"{"error":"invalid_client","error_description":"x"}"#), ErrorClass::Auth);
        assert_eq!(class(400, r#"{"error":"rate_limit_exceeded"}"#), ErrorClass::Transient);
        assert_eq!(class(503, "<html>"), ErrorClass::Transient);
        assert_eq!(class(404, "<html>"), ErrorClass::Auth);
    }

    #[test]
    fn a_proxy_password_is_known_as_a_secret() {
        let mut text = "proxy http://me:hunter22@proxy:3128 refused hunter22".to_owned();
        proxy_secrets(&Secret::new("http://me:hunter22@proxy:3128")).iter().for_each(|secret| secret.scrub(&mut text));
        assert!(!text.contains("hunter22"), "{text}");
    }
}
