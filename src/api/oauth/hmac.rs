//! HMAC-SHA-256 for tokens by `ring`, the library that signs everything else here. The alternatives that jsonwebtoken
//! offers contain dozens of algorithms that no token uses.

use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtSigner, JwtVerifier};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac::{HMAC_SHA256, Key, sign, verify};

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key: &EncodingKey| {
        Ok(Box::new(Hmac(Key::new(hmac_algorithm(*algorithm)?, key.try_get_hmac_secret()?))))
    },
    verifier_factory: |algorithm, key: &DecodingKey| {
        Ok(Box::new(Hmac(Key::new(hmac_algorithm(*algorithm)?, key.try_get_hmac_secret()?))))
    },
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Installs this provider for the process. Call it before each use: only the first call has an effect.
pub(super) fn install() {
    let _ = RING.install_default();
}

struct Hmac(Key);

fn hmac_algorithm(algorithm: Algorithm) -> Result<ring::hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Ok(HMAC_SHA256),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

impl Signer<Vec<u8>> for Hmac {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(sign(&self.0, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hmac {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        verify(&self.0, message, signature).map_err(|_| Error::new())
    }
}

impl JwtSigner for Hmac {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hmac {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
