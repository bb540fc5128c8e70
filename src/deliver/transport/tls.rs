//! TLS of connections: trusted authorities, of the installation or a webhook, and a webhook's client certificate.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::definition;
use crate::deliver::Config;

/// Why no endpoint's certificate could be verified.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsError {
    #[error(
        "delivery.ca_file is {path:?}, which can't be used: {reason}; set it to a PEM file with certificate \
         authorities, or remove it to use those of the system"
    )]
    File { path: PathBuf, reason: Box<dyn Error + Send + Sync> },
    #[error(
        "delivery.ca_file is not set, and the system's certificate authorities can't be read ({0}): install \
         ca-certificates, or set it"
    )]
    System(#[source] rustls::Error),
}

/// Creates connectors. All offer HTTP/2 first, then HTTP/1.1 (ALPN, RFC 7301).
pub(in crate::deliver) struct TlsConnectors {
    trust_roots: TrustRoots,
    connector: TlsConnector,
}

/// The certificate authorities that are trusted.
#[derive(Clone)]
enum TrustRoots {
    System(Arc<Verifier>),
    Authorities(Arc<RootCertStore>),
}

impl TlsConnectors {
    /// # Errors
    /// `delivery.ca_file` can't be used, or the system has no certificate authorities, so no https call could succeed.
    /// The second is only a warning if http is allowed.
    pub fn new(config: &Config) -> Result<Self, TlsSettingsError> {
        let trust_roots = match &config.ca_file {
            Some(path) => TrustRoots::Authorities(Arc::new(authorities_in(path)?)),
            None => match Verifier::new(Arc::new(default_provider())) {
                Ok(verifier) => TrustRoots::System(Arc::new(verifier)),
                Err(reason) if config.allow_http => {
                    warn!(%reason, "no certificate authorities found, so calls to https URLs will fail: install \
                         ca-certificates or set delivery.ca_file");
                    TrustRoots::Authorities(Arc::new(RootCertStore::empty()))
                }
                Err(reason) => return Err(TlsSettingsError::System(reason)),
            },
        };
        Ok(Self { connector: connector(trust_roots.clone(), None), trust_roots })
    }

    /// Returns a connector with a webhook's TLS settings, or the default one. Keep it: its TLS sessions can be
    /// resumed.
    pub fn connector(&self, own: Option<&definition::CompiledTls>) -> TlsConnector {
        let Some(own) = own else { return self.connector.clone() };
        let trust_roots = own.authorities.clone().map_or_else(|| self.trust_roots.clone(), TrustRoots::Authorities);
        connector(trust_roots, own.identity.clone())
    }
}

fn connector(trust_roots: TrustRoots, identity: Option<Arc<SingleCertAndKey>>) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's suites serve both TLS 1.2 and 1.3");
    let builder = match trust_roots {
        TrustRoots::System(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        TrustRoots::Authorities(authorities) => builder.with_root_certificates(authorities),
    };
    let mut tls = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(tls))
}

fn authorities_in(path: &Path) -> Result<RootCertStore, TlsSettingsError> {
    let pem = std::fs::read(path).map_err(Box::from);
    let authorities = pem.and_then(|pem| definition::authorities(&pem).map_err(Box::from));
    authorities.map_err(|reason| TlsSettingsError::File { path: path.to_owned(), reason })
}
