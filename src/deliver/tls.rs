//! Who is believed on TLS: the certificate authorities of the system, or those of a file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::Config;

/// Offers HTTP/2 first, then HTTP/1.1 (ALPN, RFC 7301).
///
/// # Errors
/// There is no certificate authority to check endpoints against, so that no https call could succeed. Where
/// http is allowed it is only warned of.
pub(super) fn connector(config: &Config) -> Result<TlsConnector, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring's suites serve both TLS 1.2 and 1.3");
    let builder = match &config.ca_file {
        Some(path) => builder.with_root_certificates(authorities_in(path)?),
        None => match builder.clone().with_platform_verifier() {
            Ok(builder) => builder,
            Err(reason) if config.allow_http => {
                warn!(%reason, "no certificate authorities found, so calls to https URLs will fail: install \
                     ca-certificates or set delivery.ca_file");
                builder.with_root_certificates(RootCertStore::empty())
            }
            Err(reason) => {
                return Err(format!(
                    "the system's certificate authorities can't be read ({reason}): install ca-certificates or set \
                     delivery.ca_file"
                ));
            }
        },
    };
    let mut tls = builder.with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

fn authorities_in(path: &Path) -> Result<RootCertStore, String> {
    let unusable = |reason: &dyn std::fmt::Display| format!("delivery.ca_file {}: {reason}", path.display());
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|reason| unusable(&reason))? {
        let certificate = certificate.map_err(|reason| unusable(&reason))?;
        authorities.add(certificate).map_err(|reason| unusable(&reason))?;
    }
    if authorities.is_empty() {
        return Err(unusable(&"it holds no certificate (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(authorities)
}
