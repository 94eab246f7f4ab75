//! TLS in front of the org, for clients that insist on it.

use crate::config::TlsConfig;
use crate::error::SimError;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;

/// Makes what accepts connections: HTTP/2 and HTTP/1.1 by ALPN, no client certificates.
///
/// # Errors
/// `SimError::Tls` when a file cannot be read, or certificate and key do not fit.
pub fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, SimError> {
    let wrong = |path: &Path, cause: String| SimError::Tls { place: path.display().to_string(), cause };
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let text = read(&config.certificate)?;
    let certificates = rustls_pemfile::certs(&mut text.as_slice())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&config.certificate, error.to_string()))?;
    let text = read(&config.key)?;
    let key = rustls_pemfile::private_key(&mut text.as_slice())
        .map_err(|error| wrong(&config.key, error.to_string()))?
        .ok_or_else(|| wrong(&config.key, "there is no private key in it".into()))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong(&config.certificate, error.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}
