//! What a sink is made with, checked before anything is sent.

use crate::Secret;
use crate::bulk::BulkSettings;
use http::{HeaderValue, Uri};
use model::{ErrorCode, Finding};
use std::time::Duration;

/// The configuration of one org.
#[derive(Clone, Debug)]
pub struct SalesforceConfig {
    /// The org's My Domain, or a login host (JWT bearer only). Without a path.
    pub url: String,
    /// Such as `62.0`.
    pub api_version: String,
    pub auth: Auth,
    /// Sent as `Sforce-Call-Options: client=`, so that change events of our own writes can be told apart
    /// (`penstock/<pipeline>`).
    pub client_name: String,
    pub connect_timeout: Duration,
    /// From sending a request to the last byte of its answer. Salesforce itself ends a call after 10 minutes.
    pub request_timeout: Duration,
    /// Calls, and so connections, at a time. Salesforce allows 25 calls of 20 s or longer in an org.
    pub in_flight_max: usize,
    /// Request bodies over this size are sent gzip-compressed; none: never.
    pub compress_over_bytes: Option<usize>,
    /// An answer longer than this, decompressed, is an error.
    pub response_bytes_max: usize,
    /// Memory for record ids found by external id; 0 turns the cache off.
    pub id_cache_bytes_max: usize,
    pub datetime_precision: DatetimePrecision,
    pub bulk: BulkSettings,
    /// Scheme, host and port of the Pub/Sub API; none: `https://api.pubsub.salesforce.com:7443`, or an org on this machine
    /// itself. Port 443 serves it, too, and there are regional hosts.
    pub pubsub_url: Option<String>,
    pub proxy: Proxy,
    /// Allows `http://` to a host other than loopback, where secrets can be read by everybody on the way.
    pub allow_plain_http: bool,
}

impl SalesforceConfig {
    /// Makes a configuration with the default limits.
    pub fn new(url: impl Into<String>, api_version: impl Into<String>, auth: Auth) -> Self {
        Self {
            url: url.into(),
            api_version: api_version.into(),
            auth,
            client_name: "penstock".into(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(120),
            in_flight_max: 8,
            compress_over_bytes: Some(32 * 1024),
            response_bytes_max: 32 * 1024 * 1024,
            id_cache_bytes_max: 4 * 1024 * 1024,
            datetime_precision: DatetimePrecision::Milliseconds,
            bulk: BulkSettings::default(),
            pubsub_url: None,
            proxy: Proxy::System,
            allow_plain_http: false,
        }
    }

    /// Checks everything that can be told without the org.
    ///
    /// # Errors
    /// The first `ConfigError`.
    pub(crate) fn validate(&self) -> Result<ValidConfig, ConfigError> {
        let base = base_url(&self.url, self.allow_plain_http)?;
        let host = base.split("://").nth(1).unwrap_or_default();
        let login_host = matches!(host, "login.salesforce.com" | "test.salesforce.com");
        if login_host && matches!(self.auth, Auth::ClientCredentials { .. }) {
            return Err(ConfigError::LoginHost { host: host.to_owned() });
        }
        let version = self.api_version.trim_start_matches('v');
        let digits = |part: &str| !part.is_empty() && part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit());
        if !version.split_once('.').is_some_and(|(major, minor)| digits(major) && minor == "0") {
            return Err(ConfigError::ApiVersion { found: self.api_version.clone() });
        }
        let name_fits = !self.client_name.is_empty()
            && self.client_name.bytes().all(|b| b.is_ascii_graphic() && !b",;=".contains(&b));
        let call_options = HeaderValue::from_str(&format!("client={}", self.client_name)).ok().filter(|_| name_fits);
        let Some(call_options) = call_options else {
            return Err(ConfigError::ClientName { found: self.client_name.clone() });
        };
        if self.in_flight_max == 0 {
            return Err(ConfigError::NoConnections);
        }
        if let Some(why) = self.bulk.nonsense() {
            return Err(ConfigError::Bulk { why });
        }
        let pubsub = self.pubsub_url.as_deref().map(|url| base_url(url, self.allow_plain_http)).transpose()?;
        Ok(ValidConfig { base, pubsub, data_path: format!("/services/data/v{version}"), call_options })
    }
}

/// What a checked configuration comes down to.
#[derive(Clone, Debug)]
pub(crate) struct ValidConfig {
    /// Scheme, host and port, without a trailing slash.
    pub base: String,
    /// The same of the Pub/Sub API, where it is set.
    pub pubsub: Option<String>,
    /// `/services/data/v62.0`.
    pub data_path: String,
    pub call_options: HeaderValue,
}

/// Takes a URL's scheme and authority after checking that secrets may be sent there.
pub(crate) fn base_url(url: &str, allow_plain_http: bool) -> Result<String, ConfigError> {
    let refuse = |why: &'static str| ConfigError::Url { url: without_userinfo(url), why };
    let uri: Uri = url.parse().map_err(|_| refuse("it is not a URL; write https://example.my.salesforce.com"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(refuse("it has no scheme or no host; write https://example.my.salesforce.com"));
    };
    if authority.as_str().contains('@') {
        return Err(refuse("it carries a user name; credentials belong under auth"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(refuse("it has a path; only scheme and host are wanted"));
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(url) || allow_plain_http => {}
        "http" => return Err(refuse("secrets would travel in the clear; write https://")),
        _ => return Err(refuse("only https:// is spoken")),
    }
    Ok(format!("{scheme}://{}", authority.as_str().to_ascii_lowercase()))
}

/// True when a URL names this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn without_userinfo(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => url.to_owned(),
    }
}

/// How the sink signs in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// OAuth 2.0 client credentials: the app acts as its run-as user. My Domain hosts only.
    ClientCredentials { client_id: String, client_secret: Secret },
    /// OAuth 2.0 JWT bearer: the app acts as `username`.
    JwtBearer {
        client_id: String,
        username: String,
        /// RSA, PKCS#1 or PKCS#8.
        private_key_pem: Secret,
        /// Default: the login host of production, or of sandboxes when the URL names one. A My Domain is refused here
        /// by Salesforce ("audience is invalid").
        audience: Option<String>,
    },
}

/// What the org keeps of a datetime's fraction, for `read_back`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DatetimePrecision {
    /// The row's milliseconds must be found again. Never wrong; resends rows where the org has dropped them.
    #[default]
    Milliseconds,
    /// The org is known to drop fractions: whole seconds are compared.
    Seconds,
}

/// The way out.
#[derive(Clone, Debug, Default)]
pub enum Proxy {
    /// `HTTPS_PROXY`, `NO_PROXY` and the like.
    #[default]
    System,
    Direct,
    /// An HTTP proxy; may carry credentials.
    Url(Secret),
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("PS4010: the org's url {url} cannot be used: {why}")]
    Url { url: String, why: &'static str },
    #[error("PS4011: client credentials are not served by {host}")]
    LoginHost { host: String },
    #[error("PS4012: {found:?} is not an API version")]
    ApiVersion { found: String },
    #[error("PS4013: {found:?} cannot be sent as the client's name")]
    ClientName { found: String },
    #[error("PS4014: the private key cannot be read: {cause}")]
    PrivateKey { cause: &'static str },
    #[error("PS4015: the HTTP client cannot be made: {cause}")]
    Client { cause: String },
    #[error("PS4016: in_flight_max is 0: nothing could ever be sent")]
    NoConnections,
    #[error("PS4017: the settings of Bulk jobs cannot work: {why}")]
    Bulk { why: &'static str },
}

impl ConfigError {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        ErrorCode(match self {
            Self::Url { .. } => "PS4010",
            Self::LoginHost { .. } => "PS4011",
            Self::ApiVersion { .. } => "PS4012",
            Self::ClientName { .. } => "PS4013",
            Self::PrivateKey { .. } => "PS4014",
            Self::Client { .. } => "PS4015",
            Self::NoConnections => "PS4016",
            Self::Bulk { .. } => "PS4017",
        })
    }

    /// What to do, in one sentence.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Url { .. } => "write the My Domain as url, such as https://example.my.salesforce.com",
            Self::LoginHost { .. } => {
                "write the My Domain (https://example.my.salesforce.com) as url, or use the JWT bearer flow"
            }
            Self::ApiVersion { .. } => "write a version such as \"62.0\"",
            Self::ClientName { .. } => "use printable ASCII without spaces, commas, semicolons and equals signs",
            Self::PrivateKey { .. } => {
                "give the RSA private key as PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY), unencrypted"
            }
            Self::Client { .. } => "check the proxy's URL and the machine's root certificates",
            Self::NoConnections => "set in_flight_max to 1 or more",
            Self::Bulk { .. } => "correct the setting, or leave it out for the default",
        }
    }

    /// The same as a finding at `place`.
    pub fn finding(&self, place: impl Into<String>) -> Finding {
        let text = self.to_string();
        let cause = text.split_once(": ").map_or(text.as_str(), |(_, cause)| cause);
        Finding::error(self.code().0, place, cause, self.fix())
    }
}
