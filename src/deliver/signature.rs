//! Standard Webhooks signatures (standard-webhooks specification, "Signature scheme", v1): the base64 of the
//! HMAC-SHA256 of `{id}.{timestamp}.{body}`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::matching::Target;

/// Bytes of a `webhook-signature` value: the version, a comma and the base64 of 32 bytes.
pub(super) const SIGNATURE_LEN: usize = 3 + 44;

/// Signs for one webhook after another. A lane's calls nearly always belong to the same one, whose key is
/// then ready.
#[derive(Default)]
pub(super) struct Signer {
    last: Option<(Arc<Target>, hmac::Key)>,
}

impl Signer {
    /// The value of `webhook-signature`.
    pub fn sign(&mut self, target: &Arc<Target>, id: &[u8], timestamp: &[u8], body: &[u8]) -> [u8; SIGNATURE_LEN] {
        let mut context = hmac::Context::with_key(self.key(target));
        for part in [id, b".", timestamp, b".", body] {
            context.update(part);
        }
        let mut value = [0; SIGNATURE_LEN];
        value[..3].copy_from_slice(b"v1,");
        STANDARD
            .encode_slice(context.sign().as_ref(), &mut value[3..])
            .expect("the base64 of an HMAC-SHA256's 32 bytes has 44 characters");
        value
    }

    fn key(&mut self, target: &Arc<Target>) -> &hmac::Key {
        if !self.last.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, target)) {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &target.secret.key());
            self.last = Some((target.clone(), key));
        }
        &self.last.as_ref().expect("set above when it was missing").1
    }
}
