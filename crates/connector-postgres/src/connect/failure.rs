//! A server's refusal or a broken connection, turned into what to do next.

use crate::refusal::{Refusal, transient};
use crate::wire::WireError;
use contract::SourceError;
use std::error::Error;

/// Turns an error of the SQL client into ours.
pub(crate) fn sql_failure(error: &tokio_postgres::Error, place: &str, doing: &str) -> SourceError {
    if let Some(db) = error.as_db_error() {
        return server_failure(db.code().code(), db.message(), place, doing);
    }
    let chain = chain_of(error);
    if let Some(refusal) = certificate_refusal(error, place, &chain) {
        return refusal.into();
    }
    if chain.contains("password missing") || chain.contains("authentication") || chain.contains("TLS") {
        return auth_refusal(place, &chain).into();
    }
    transient("PS2114", format!("{doing} at {place}: {chain}"))
}

/// Turns an error of the replication connection into ours.
pub(crate) fn wire_failure(error: WireError, place: &str, doing: &str) -> SourceError {
    match error {
        WireError::Server { sqlstate, message } => server_failure(&sqlstate, &message, place, doing),
        WireError::Auth(cause) => auth_refusal(place, &cause).into(),
        WireError::Io(error) => {
            let chain = error.to_string();
            match certificate_refusal(&error, place, &chain) {
                Some(refusal) => refusal.into(),
                None => transient("PS2114", format!("{doing} at {place}: {chain}")),
            }
        }
        WireError::Closed => transient("PS2114", format!("{doing} at {place}: the server closed the connection")),
        WireError::TimedOut => transient("PS2114", format!("{doing} at {place}: no answer in time")),
        WireError::Protocol(cause) => transient("PS2115", format!("{doing} at {place}: {cause}")),
        WireError::Refused(refusal) => refusal.into(),
    }
}

fn auth_refusal(place: &str, cause: &str) -> Refusal {
    Refusal::new(
        "PS2112",
        place,
        cause.to_owned(),
        "check user and password in `url`, and the server's pg_hba.conf (which needs no line of its own for `replication=database`)",
    )
}

/// Sorts a server's answer by its SQLSTATE (PostgreSQL documentation, appendix A).
fn server_failure(sqlstate: &str, message: &str, place: &str, doing: &str) -> SourceError {
    let cause = format!("{doing}: {message} (SQLSTATE {sqlstate})");
    match sqlstate {
        "28P01" | "28000" => auth_refusal(place, &cause).into(),
        "3D000" => Refusal::new("PS2113", place, cause, "name an existing database in `url`").into(),
        "42501" => Refusal::new(
            "PS2120",
            place,
            cause,
            "grant the right that the server asks for (`penstock check` prints the statement)",
        )
        .into(),
        // Too many connections; shutting down, crashed, starting up; serialization and deadlock; lock not available
        // (a slot that another session still holds is 55006); query cancelled; out of memory or disk.
        _ if sqlstate.starts_with("08")
            || sqlstate.starts_with("53")
            || sqlstate.starts_with("57P")
            || sqlstate.starts_with("40")
            || matches!(sqlstate, "55P03" | "55006" | "57014" | "XX000") =>
        {
            transient("PS2114", format!("{place}: {cause}"))
        }
        _ => Refusal::new("PS2116", place, cause, "see the server's log; the statement was refused").into(),
    }
}

fn certificate_refusal(error: &(dyn Error + 'static), place: &str, chain: &str) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| {
            let io = error.downcast_ref::<std::io::Error>()?;
            io.get_ref()?.downcast_ref::<rustls::Error>()
        });
        if let Some(rustls::Error::InvalidCertificate(_)) = tls {
            return Some(Refusal::new(
                "PS2111",
                place,
                format!("the server's certificate is not accepted: {chain}"),
                "name the authority that signed it with `sslrootcert=/path/to/ca.pem`, and the host as the certificate has it",
            ));
        }
        next = error.source();
    }
    None
}

fn chain_of(error: &tokio_postgres::Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    text
}
