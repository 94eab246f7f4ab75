//! TLS as libpq's `sslmode` words mean it.

use super::endpoint::Endpoint;
use crate::refusal::Refusal;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    /// Encrypts when the server can, checks nothing.
    Prefer,
    /// Encrypts, checks nothing: safe against listeners, not against an impostor.
    Require,
    /// Checks that a known authority signed the certificate.
    VerifyCa,
    /// As `VerifyCa`, and that the certificate is for this host.
    VerifyFull,
}

/// Makes the TLS configuration of an endpoint; none for `sslmode=disable`.
pub(crate) fn client_config(endpoint: &Endpoint) -> Result<Option<ClientConfig>, Refusal> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match endpoint.tls {
        TlsMode::Disable => return Ok(None),
        TlsMode::Prefer | TlsMode::Require => Arc::new(TrustAny(provider.signature_verification_algorithms)),
        TlsMode::VerifyCa => Arc::new(ChainOnly(chain_verifier(endpoint, &provider)?)),
        TlsMode::VerifyFull => chain_verifier(endpoint, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused("TLS", error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &endpoint.client_cert {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| refused(&cert.display().to_string(), error.to_string()))?,
    };
    // Asked for by servers that take TLS without a request first (`sslnegotiation=direct`), harmless elsewhere.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(Some(config))
}

fn chain_verifier(endpoint: &Endpoint, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Refusal> {
    let mut roots = RootCertStore::empty();
    let place = match endpoint.root_cert.as_deref().filter(|path| *path != Path::new("system")) {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| refused(&path.display().to_string(), error.to_string()))?;
            }
            path.display().to_string()
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system's certificate authorities".to_owned()
        }
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| refused(&place, error.to_string()))
}

fn refused(place: &str, cause: String) -> Refusal {
    Refusal::new("PS2111", place, cause, "name a PEM file with `sslrootcert=/path/to/ca.pem`")
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|error| refused(&place, format!("it cannot be read: {error}")))?;
    let found: Vec<_> = rustls_pemfile::certs(&mut BufReader::new(file))
        .collect::<Result<_, _>>()
        .map_err(|error| refused(&place, format!("it is no PEM file: {error}")))?;
    if found.is_empty() {
        return Err(refused(&place, "it holds no certificate".into()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Refusal> {
    let place = path.display().to_string();
    let file = File::open(path).map_err(|error| refused(&place, format!("it cannot be read: {error}")))?;
    rustls_pemfile::private_key(&mut BufReader::new(file))
        .map_err(|error| refused(&place, format!("it is no PEM file: {error}")))?
        .ok_or_else(|| refused(&place, "it holds no private key".into()))
}

/// Takes any certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct TrustAny(WebPkiSupportedAlgorithms);

/// Checks the chain and not the name.
#[derive(Debug)]
struct ChainOnly(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for TrustAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, after the chain was found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
