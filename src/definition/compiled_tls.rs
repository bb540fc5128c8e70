//! A webhook's own TLS settings, parsed. Separate from `tls`, because its errors use `endpoint`, which uses this.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::sign::SingleCertAndKey;

/// Parsed [`TlsSettings`](super::TlsSettings). Its `Debug` output shows only the fingerprint.
pub struct CompiledTls {
    /// None: the installation's authorities.
    pub authorities: Option<Arc<RootCertStore>>,
    pub identity: Option<Arc<SingleCertAndKey>>,
    /// Equal only for equal settings: 32 hexadecimal digits.
    pub fingerprint: Box<str>,
}

impl PartialEq for CompiledTls {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for CompiledTls {}

impl fmt::Debug for CompiledTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.fingerprint).finish()
    }
}
