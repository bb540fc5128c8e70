//! A webhook's own TLS: the authorities that certificates of its endpoints are checked against, and the certificate
//! that Outhook presents.

use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::compiled_tls::CompiledTls;
use super::rules::Violation;
use crate::definition::hidden_text::HiddenText;

/// Max length of each text, in bytes.
pub const MAX_PEM: usize = 64 * 1024;

/// A webhook's own TLS settings, as PEM texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "PascalCase")]
#[schema(as = Tls)]
pub struct TlsSettings {
    /// The authorities that are trusted instead of the installation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 65_536, example = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")]
    pub ca_certificates: Option<String>,
    /// The certificate that Outhook presents, and the intermediate ones up to its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 65_536, example = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n")]
    pub client_certificate: Option<String>,
    /// Key of the client certificate. Shown as …, which keeps the present one when it is sent back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 65_536, example = "…")]
    pub client_key: Option<HiddenText>,
}

const CA_FIELD: &str = "Tls.CaCertificates";
const CERTIFICATE_FIELD: &str = "Tls.ClientCertificate";
const KEY_FIELD: &str = "Tls.ClientKey";

impl TlsSettings {
    /// # Errors
    /// The first text that is not the expected PEM, or that lacks its counterpart.
    pub fn compile(&self) -> Result<CompiledTls, Violation> {
        let authorities = match &self.ca_certificates {
            Some(pem) => Some(
                authorities(check_pem_length(CA_FIELD, pem)?.as_bytes())
                    .map_err(|reason| violation(CA_FIELD, reason.to_string()))?,
            ),
            None => None,
        };
        let identity = match (&self.client_certificate, &self.client_key) {
            (None, None) if authorities.is_none() => {
                return Err(violation("Tls", "it is empty: give CaCertificates or a ClientCertificate, or omit it"));
            }
            (None, None) => None,
            (Some(_), None) => return Err(violation(KEY_FIELD, "it is required with a ClientCertificate")),
            (None, Some(_)) => return Err(violation(CERTIFICATE_FIELD, "it is required with a ClientKey")),
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
        };
        Ok(CompiledTls {
            authorities: authorities.map(Arc::new),
            identity: identity.map(|key| Arc::new(SingleCertAndKey::from(key))),
            fingerprint: self.fingerprint(),
        })
    }

    fn fingerprint(&self) -> Box<str> {
        let mut digest = Context::new(&SHA256);
        let key = self.client_key.as_ref().map(|key| &key.0);
        for text in [self.ca_certificates.as_ref(), self.client_certificate.as_ref(), key] {
            // The length comes first, so that different settings never concatenate to the same bytes.
            digest.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            digest.update(text.map_or(&[], |text| text.as_bytes()));
        }
        digest.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }
}

/// Why a PEM text has no usable certificates.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    #[error(transparent)]
    Pem(#[from] pem::Error),
    #[error(transparent)]
    Certificate(#[from] Error),
    #[error("it holds no certificate (-----BEGIN CERTIFICATE-----)")]
    Empty,
}

/// Reads the authorities of a PEM text.
///
/// # Errors
/// The text has no certificate, or one that can't be read.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, AuthoritiesError> {
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        authorities.add(certificate?)?;
    }
    if authorities.is_empty() { Err(AuthoritiesError::Empty) } else { Ok(authorities) }
}

fn identity(certificate: &str, key: &HiddenText) -> Result<CertifiedKey, Violation> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(check_pem_length(CERTIFICATE_FIELD, certificate)?.as_bytes()).collect();
    let chain = chain.map_err(|reason| violation(CERTIFICATE_FIELD, reason.to_string()))?;
    if chain.is_empty() {
        return Err(violation(CERTIFICATE_FIELD, AuthoritiesError::Empty.to_string()));
    }
    // Errors about a key do not contain any part of it.
    key.check().map_err(|reason| violation(KEY_FIELD, reason))?;
    let no_key = || violation(KEY_FIELD, "it holds no private key (-----BEGIN PRIVATE KEY-----) that can be read");
    let key = PrivateKeyDer::from_pem_slice(check_pem_length(KEY_FIELD, &key.0)?.as_bytes()).map_err(|_| no_key())?;
    let key = default_provider().key_provider.load_private_key(key).map_err(|_| no_key())?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(Error::InconsistentKeys(_)) => {
            Err(violation(KEY_FIELD, "it is not the key of the first ClientCertificate"))
        }
        Err(reason) => Err(violation(CERTIFICATE_FIELD, reason.to_string())),
    }
}

fn check_pem_length<'t>(field: &'static str, pem: &'t str) -> Result<&'t str, Violation> {
    if pem.len() > MAX_PEM { Err(violation(field, "it must have at most 65536 bytes")) } else { Ok(pem) }
}

fn violation(field: &'static str, reason: impl Into<String>) -> Violation {
    Violation::InvalidPart { field, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn made() -> (String, String) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["us.example".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn settings(ca: Option<&str>, certificate: Option<&str>, key: Option<&str>) -> TlsSettings {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        TlsSettings {
            ca_certificates: owned(ca),
            client_certificate: owned(certificate),
            client_key: owned(key).map(HiddenText),
        }
    }

    #[test]
    fn invalid_pem_is_rejected_by_field_and_never_shown() {
        let ((certificate, key), (_, other_key)) = (made(), made());
        let (certificate, key) = (Some(&*certificate), Some(&*key));
        for good in [settings(certificate, None, None), settings(certificate, certificate, key)] {
            assert!(good.compile().is_ok(), "{:?}", good.compile());
        }
        let long = "s3cret".repeat(20_000);
        let broken = "-----BEGIN CERTIFICATE-----\nczNjcmV0\n-----END CERTIFICATE-----\n";
        for (bad, field) in [
            (settings(None, None, None), "Tls: it is empty"),
            (settings(Some("s3cret"), None, None), "Tls.CaCertificates: it holds no"),
            (settings(Some(broken), None, None), "Tls.CaCertificates"),
            (settings(key, None, None), "Tls.CaCertificates: it holds no"),
            (settings(Some(&long), None, None), "Tls.CaCertificates: it must have at most"),
            (settings(None, certificate, None), "Tls.ClientKey: it is required"),
            (settings(None, None, key), "Tls.ClientCertificate: it is required"),
            (settings(None, Some(broken), key), "Tls.ClientCertificate"),
            (settings(None, Some("s3cret"), key), "Tls.ClientCertificate: it holds no"),
            (settings(None, certificate, Some("s3cret")), "Tls.ClientKey: it holds no"),
            (settings(None, certificate, Some("…")), "Tls.ClientKey: its value is …"),
            (settings(None, certificate, Some(&other_key)), "Tls.ClientKey: it is not the key"),
        ] {
            let error = bad.compile().unwrap_err().to_string();
            assert!(error.contains(field) && !error.contains("s3cret"), "{field}: {error}");
        }
    }

    #[test]
    fn tls_fingerprints_differ_between_settings() {
        let print = |ca, certificate, key| settings(ca, certificate, key).fingerprint();
        let all = [
            print(None, None, None),
            print(Some(""), None, None),
            print(Some("a"), Some("b"), None),
            print(Some("ab"), None, None),
            print(Some("a"), None, Some("b")),
            print(None, Some("a"), Some("b")),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(print(Some("a"), Some("b"), Some("c")), print(Some("a"), Some("b"), Some("c")));
    }
}
