//! Secrets at rest: sealed with AES-256-GCM (NIST SP 800-38D) under keys from the configuration.
//!
//! The first key seals, and all keys open. To replace a key, put a new one before it, write the definitions again,
//! and only then remove the old one. A sealed text is bound to its record: copied into another record, it does not
//! open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

/// Prefix of a sealed text. The id of its key follows, then the base64 of nonce, ciphertext and tag.
const SEALED_PREFIX: &str = "sealed:v1:";

/// The keys that seal and open secrets. Without keys, secrets are stored as they are. Its `Debug` output shows only
/// the keys' ids.
#[derive(Clone, Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Keyring {
    keys: Vec<SealingKey>,
}

#[derive(Clone)]
struct SealingKey {
    /// The first 8 hexadecimal digits of the key's SHA-256.
    id: String,
    key: LessSafeKey,
}

/// A text that is not a key. The error does not show the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key {number} is not the base64 of 32 bytes; `openssl rand -base64 32` makes one")]
pub struct BadKey {
    number: usize,
}

/// A sealed secret that can't be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("its secret is sealed with key {0}, which definitions.secret_keys does not hold")]
    UnknownKey(String),
    #[error("its sealed secret was changed, or copied from another record")]
    Corrupt,
}

impl Keyring {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Seals a text for the record with this name. `random` fills its argument with random bytes.
    pub fn seal(&self, record: &str, text: &str, random: &dyn Fn(&mut [u8])) -> String {
        let Some(SealingKey { id, key }) = self.keys.first() else { return text.to_owned() };
        let mut nonce = [0; NONCE_LEN];
        random(&mut nonce);
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(record), &mut sealed)
            .expect("a secret is far shorter than what AES-GCM can seal");
        format!("{SEALED_PREFIX}{id}:{}", STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// Opens a text that was sealed for the record with this name. A text that is not sealed is returned as it is.
    ///
    /// # Errors
    /// Its key is not in the keyring, or the sealed text was changed or belongs to another record.
    pub fn open(&self, record: &str, text: String) -> Result<String, OpenError> {
        let Some(rest) = text.strip_prefix(SEALED_PREFIX) else { return Ok(text) };
        let (id, body) = rest.split_once(':').ok_or(OpenError::Corrupt)?;
        let Some(SealingKey { key, .. }) = self.keys.iter().find(|key| key.id == id) else {
            return Err(OpenError::UnknownKey(id.to_owned()));
        };
        let mut body = STANDARD.decode(body).map_err(|_| OpenError::Corrupt)?;
        let (nonce, sealed) = body.split_at_mut_checked(NONCE_LEN).ok_or(OpenError::Corrupt)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::Corrupt)?;
        let opened = key.open_in_place(nonce, Aad::from(record), sealed).map_err(|_| OpenError::Corrupt)?;
        String::from_utf8(opened.to_vec()).map_err(|_| OpenError::Corrupt)
    }
}

impl TryFrom<Vec<String>> for Keyring {
    type Error = BadKey;

    fn try_from(texts: Vec<String>) -> Result<Self, BadKey> {
        let key = |(at, text): (usize, &String)| {
            let bad = || BadKey { number: at + 1 };
            let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == 32).ok_or_else(bad)?;
            let id = digest(&SHA256, &bytes).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| bad())?;
            Ok(SealingKey { id, key: LessSafeKey::new(key) })
        };
        Ok(Self { keys: texts.iter().enumerate().map(key).collect::<Result<_, _>>()? })
    }
}

impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.keys.iter().map(|key| &key.id).eq(other.keys.iter().map(|key| &key.id))
    }
}

impl Eq for Keyring {}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(keys: &[u8]) -> Keyring {
        keys.iter().map(|key| STANDARD.encode([*key; 32])).collect::<Vec<_>>().try_into().unwrap()
    }

    fn seal(keyring: &Keyring, record: &str, text: &str) -> String {
        keyring.seal(record, text, &|bytes| bytes.fill(9))
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        let by_old = seal(&old, "webhook/abc123", "whsec_x");
        let by_new = seal(&both, "webhook/abc123", "whsec_x");
        assert!(!by_old.contains("whsec_x") && by_old != by_new);
        for sealed in [&by_old, &by_new] {
            assert_eq!(both.open("webhook/abc123", sealed.clone()).unwrap(), "whsec_x");
        }
        assert_eq!(new.open("webhook/abc123", by_new).unwrap(), "whsec_x");
        assert!(matches!(new.open("webhook/abc123", by_old), Err(OpenError::UnknownKey(_))));
    }

    #[test]
    fn a_sealed_secret_that_is_changed_or_moved_does_not_open() {
        let keyring = keyring(&[1]);
        let sealed = seal(&keyring, "webhook/abc123", "whsec_x");
        assert_eq!(keyring.open("webhook/other1", sealed.clone()), Err(OpenError::Corrupt));
        for broken in [sealed.replace("v1:", "v1:0"), format!("{sealed}A"), sealed[..sealed.len() - 8].to_owned()] {
            assert!(keyring.open("webhook/abc123", broken.clone()).is_err(), "{broken}");
        }
    }

    #[test]
    fn without_keys_texts_are_stored_unencrypted() {
        let none = Keyring::default();
        assert_eq!(seal(&none, "r", "text"), "text");
        assert_eq!(none.open("r", "text".to_owned()).unwrap(), "text");
        assert_eq!(keyring(&[1]).open("r", "text".to_owned()).unwrap(), "text", "written before there was a key");
        let error = Keyring::try_from(vec![STANDARD.encode([1; 32]), "hunter2".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("key 2") && !error.contains("hunter2"), "{error}");
    }
}
