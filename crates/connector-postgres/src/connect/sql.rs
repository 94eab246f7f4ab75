//! An SQL connection for the catalogue, the chunks and the watermarks.

use super::endpoint::Endpoint;
use super::failure::sql_failure;
use super::tls::client_config;
use contract::SourceError;
use std::ops::Deref;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// An SQL connection; its driver ends when this is dropped.
#[derive(Debug)]
pub struct Sql {
    client: Client,
    driver: JoinHandle<()>,
    place: String,
}

impl Sql {
    /// Connects and fixes the session's settings.
    ///
    /// # Errors
    /// `Transient` when the server cannot be reached now, `Refused` when it refuses (password, database, certificate).
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, SourceError> {
        let place = endpoint.place();
        let mut config = endpoint.config.clone();
        config.options(endpoint.options());
        let (client, driver) = match client_config(endpoint)? {
            None => {
                let (client, connection) =
                    config.connect(NoTls).await.map_err(|error| sql_failure(&error, &place, "connecting"))?;
                (client, tokio::spawn(async move { driven(connection.await) }))
            }
            Some(tls) => {
                let (client, connection) = config
                    .connect(MakeRustlsConnect::new(tls))
                    .await
                    .map_err(|error| sql_failure(&error, &place, "connecting"))?;
                (client, tokio::spawn(async move { driven(connection.await) }))
            }
        };
        Ok(Self { client, driver, place })
    }

    /// Turns a client's error into ours.
    pub(crate) fn failed(&self, doing: &str) -> impl Fn(tokio_postgres::Error) -> SourceError + use<> {
        let (place, doing) = (self.place.clone(), doing.to_owned());
        move |error| sql_failure(&error, &place, &doing)
    }

    /// Runs a statement by the simple protocol and returns the rows' first columns as text.
    pub(crate) async fn texts(&self, statement: &str, doing: &str) -> Result<Vec<Option<String>>, SourceError> {
        let messages = self.client.simple_query(statement).await.map_err(self.failed(doing))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Returns the first column of the only row.
    pub(crate) async fn text(&self, statement: &str, doing: &str) -> Result<Option<String>, SourceError> {
        Ok(self.texts(statement, doing).await?.into_iter().next().flatten())
    }
}

fn driven(ended: Result<(), tokio_postgres::Error>) {
    if let Err(error) = ended {
        // Whoever uses the connection gets an error of its own; this is only the reason behind it.
        tracing::debug!(%error, "an SQL connection ended");
    }
}

impl Deref for Sql {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
