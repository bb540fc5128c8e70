//! Standard Webhooks signatures (standard-webhooks specification, "Signature scheme", v1): the base64 of the
//! HMAC-SHA256 of `{id}.{timestamp}.{body}`. While a secret is being replaced there are two, separated by a space.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::definition::Secret;
use crate::rules::Target;

/// Length of a signature in bytes: the version, a comma and the base64 of 32 bytes.
const SIGNATURE_LEN: usize = 3 + 44;

/// Signs messages, and keeps the keys of the last webhook: a lane's calls nearly always belong to the same one.
#[derive(Default)]
pub(in crate::deliver) struct Signer {
    cached_keys: Option<(Arc<Target>, SigningKeys)>,
}

struct SigningKeys {
    key: hmac::Key,
    /// The replaced key, and until when it signs too, in seconds since 1970.
    old: Option<(hmac::Key, i64)>,
}

/// The value of `webhook-signature`.
pub(in crate::deliver) struct Signature {
    bytes: [u8; SIGNATURE_LEN * 2 + 1],
    len: usize,
}

impl Signature {
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_signature(&mut self, key: &hmac::Key, parts: [&[u8]; 5]) {
        let mut context = hmac::Context::with_key(key);
        parts.into_iter().for_each(|part| context.update(part));
        self.push(b"v1,");
        let written = STANDARD
            .encode_slice(context.sign().as_ref(), &mut self.bytes[self.len..])
            .expect("there is room for the base64 of two HMAC-SHA256");
        self.len += written;
    }
}

impl Signer {
    /// Signs a message that is sent at `now`, in seconds since 1970. `timestamp` is the same time as text.
    pub fn sign(&mut self, target: &Arc<Target>, id: &[u8], (now, timestamp): (u64, &[u8]), body: &[u8]) -> Signature {
        let keys = self.keys(target);
        let parts = [id, b".", timestamp, b".", body];
        let mut signature = Signature { bytes: [0; SIGNATURE_LEN * 2 + 1], len: 0 };
        signature.push_signature(&keys.key, parts);
        if let Some((old, until)) = &keys.old
            && i64::try_from(now).is_ok_and(|now| now < *until)
        {
            signature.push(b" ");
            signature.push_signature(old, parts);
        }
        signature
    }

    fn keys(&mut self, target: &Arc<Target>) -> &SigningKeys {
        if !self.cached_keys.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, target)) {
            let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, &secret.key());
            let old = target.old_secret.as_ref().map(|old| (key(&old.secret), old.until));
            self.cached_keys = Some((target.clone(), SigningKeys { key: key(&target.secret), old }));
        }
        &self.cached_keys.as_ref().expect("set above when it was missing").1
    }
}
