//! A connection URL, read once: what tokio-postgres takes, and the TLS words that it does not know.

use super::tls::TlsMode;
use crate::refusal::Refusal;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Settings of every session: they fix the text form of values, which both the stream and the chunks are read in.
pub(crate) const SESSION_OPTIONS: [(&str, &str); 6] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    // Money as `$1,234.50`, whatever the database's locale.
    ("lc_monetary", "C"),
];

/// Where to connect to.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) tls: TlsMode,
    pub(crate) root_cert: Option<PathBuf>,
    /// Certificate and key of the client.
    pub(crate) client_cert: Option<(PathBuf, PathBuf)>,
    pub(crate) database: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.place())
    }
}

impl Endpoint {
    /// Reads a URL or `key=value` pairs.
    ///
    /// # Errors
    /// A refusal that names the part that is wrong, never its value.
    pub fn parse(url: &str, connect_timeout: Duration) -> Result<Self, Refusal> {
        let wrong = |cause: String| {
            Refusal::new(
                "PS2110",
                "url",
                cause,
                "write postgres://user:password@host:5432/database?sslmode=verify-full",
            )
        };
        let mut extras = Extras::default();
        let rest = extras.take_from(url);
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            wrong(format!("the connection string cannot be read: {why}"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host".into()));
        }
        let Some(user) = config.get_user().map(str::to_owned) else {
            return Err(wrong("it names no user".into()));
        };
        let database = config.get_dbname().map_or(user, str::to_owned);
        config.dbname(&database);
        let tls = extras.tls_mode().map_err(wrong)?;
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        if config.get_application_name().is_none() {
            config.application_name("penstock");
        }
        let client_cert = match (extras.cert, extras.key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err(wrong("sslcert and sslkey belong together".into())),
        };
        Ok(Self { config, tls, root_cert: extras.root_cert, client_cert, database })
    }

    /// Host, port and database, for messages.
    pub(crate) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => self.config.get_hostaddrs().first().map_or_else(|| "?".into(), ToString::to_string),
        };
        format!("{host}:{}/{}", self.config.get_ports().first().copied().unwrap_or(5432), self.database)
    }

    /// The `options` startup parameter: the operator's own, then ours.
    pub(crate) fn options(&self) -> String {
        let mut options = self.config.get_options().unwrap_or_default().to_owned();
        for (name, value) in SESSION_OPTIONS {
            options.push_str(&format!(" -c {name}={value}"));
        }
        options.trim_start().to_owned()
    }

    pub(crate) fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }
}

/// The words of a connection string that tokio-postgres does not take.
#[derive(Default)]
struct Extras {
    ssl_mode: Option<String>,
    root_cert: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Extras {
    /// Takes our words out of the connection string and returns the rest.
    fn take_from(&mut self, url: &str) -> String {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let Some((base, query)) = url.split_once('?') else { return url.to_owned() };
            let kept: Vec<&str> = query
                .split('&')
                .filter(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    !self.take(name, &percent_decoded(value))
                })
                .collect();
            return if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        }
        split_pairs(url)
            .into_iter()
            .filter(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                !self.take(name.trim(), unquoted(value.trim()).as_ref())
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Keeps the word if it is ours.
    fn take(&mut self, name: &str, value: &str) -> bool {
        match name {
            "sslmode" => self.ssl_mode = Some(value.to_owned()),
            "sslrootcert" => self.root_cert = Some(value.into()),
            "sslcert" => self.cert = Some(value.into()),
            "sslkey" => self.key = Some(value.into()),
            _ => return false,
        }
        true
    }

    fn tls_mode(&self) -> Result<TlsMode, String> {
        match self.ssl_mode.as_deref() {
            Some("disable") => Ok(TlsMode::Disable),
            // `allow` asks for plain text first; encryption first is never worse.
            None | Some("prefer" | "allow") => Ok(TlsMode::Prefer),
            // As libpq has it: a root certificate next to `require` asks for a check of the chain.
            Some("require") if self.root_cert.is_some() => Ok(TlsMode::VerifyCa),
            Some("require") => Ok(TlsMode::Require),
            Some("verify-ca") => Ok(TlsMode::VerifyCa),
            Some("verify-full") => Ok(TlsMode::VerifyFull),
            Some(other) => {
                Err(format!("sslmode {other:?} is none of disable, prefer, require, verify-ca, verify-full"))
            }
        }
    }
}

/// Splits `key=value` pairs at blanks outside single quotes.
fn split_pairs(text: &str) -> Vec<String> {
    let (mut pairs, mut pair, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => {
                if !pair.is_empty() {
                    pairs.push(std::mem::take(&mut pair));
                }
                continue;
            }
            _ => {}
        }
        pair.push(c);
    }
    if !pair.is_empty() {
        pairs.push(pair);
    }
    pairs
}

fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, Refusal> {
        Endpoint::parse(url, Duration::from_secs(1))
    }

    #[test]
    fn tls_words_are_taken_from_a_url_and_from_pairs() {
        for text in [
            "postgres://u:p@db.example:6000/shop?sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20x.pem&application_name=a",
            r"host=db.example port=6000 user=u password='p' dbname=shop sslmode=verify-full sslrootcert='/etc/ca x.pem'",
        ] {
            let endpoint = parse(text).expect("is a connection string");
            assert_eq!(endpoint.tls, TlsMode::VerifyFull);
            assert_eq!(endpoint.root_cert.as_deref(), Some(std::path::Path::new("/etc/ca x.pem")));
            assert_eq!(endpoint.place(), "db.example:6000/shop");
            assert!(!format!("{endpoint:?}").contains("p@"), "no password");
        }
    }

    #[test]
    fn require_with_a_root_certificate_checks_the_chain() {
        assert_eq!(parse("postgres://u@h/d?sslmode=require").expect("ok").tls, TlsMode::Require);
        assert_eq!(parse("postgres://u@h/d?sslmode=require&sslrootcert=a").expect("ok").tls, TlsMode::VerifyCa);
    }

    #[test]
    fn wrong_connection_strings_are_refused_without_their_secrets() {
        for text in ["postgres://u:geheim@h/d?sslmode=maybe", "postgres://u:geheim@h:x/d", "password=geheim user=u"] {
            let refusal = parse(text).expect_err("is refused");
            assert_eq!(refusal.code, "PS2110");
            assert!(!refusal.to_string().contains("geheim"), "{refusal}");
        }
    }

    #[test]
    fn session_options_follow_the_operators_own() {
        let endpoint = parse("postgres://u@h/d?options=-c%20work_mem%3D8MB").expect("ok");
        assert!(endpoint.options().starts_with("-c work_mem=8MB -c DateStyle=ISO"), "{}", endpoint.options());
    }
}
