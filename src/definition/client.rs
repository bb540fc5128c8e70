//! API clients, and the key that signs their tokens.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{Secret, Stamp};
use crate::id::{AccountId, ClientId};

/// A program that may use the API of its account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Client {
    pub id: ClientId,
    pub account: AccountId,
    /// Its name for people: the `CreatedBy` of the definitions that it makes.
    pub name: String,
    /// SHA-256 of its secret in hexadecimal. A secret is 32 random bytes, so a slower hash is not needed.
    secret_sha256: String,
    /// Lists have the form `{"Result":[…]}` and contain secrets, because some existing clients read them.
    #[serde(default)]
    pub legacy: bool,
    pub created: Stamp,
}

/// The key that signs tokens, one for all instances. It has the form of a webhook's secret, so it is sealed like one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenKey<S = Secret> {
    pub key: S,
    pub created: Stamp,
}

impl Client {
    /// Creates a client and its secret, which is not stored anywhere. The secret is 64 hexadecimal digits of 32
    /// random bytes, so it needs no encoding in a form or a URL.
    pub fn new(
        id: ClientId,
        account: AccountId,
        name: String,
        legacy: bool,
        created: Stamp,
        random: [u8; 32],
    ) -> (Client, String) {
        let secret = hex(&random);
        let secret_sha256 = hex(digest(&SHA256, secret.as_bytes()).as_ref());
        (Client { id, account, name, secret_sha256, legacy, created }, secret)
    }

    /// Whether this is the client's secret. The comparison takes constant time: its duration does not show how much
    /// of a wrong secret is right.
    pub fn has_secret(&self, secret: &str) -> bool {
        let given = hex(digest(&SHA256, secret.as_bytes()).as_ref());
        given.as_bytes().ct_eq(self.secret_sha256.as_bytes()).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::stamp;
    use super::*;

    #[test]
    fn only_the_generated_secret_is_accepted() {
        let id = ClientId::from_random([3; 16]);
        let (client, secret) = Client::new(id, "acme".into(), "crm".to_owned(), false, stamp(), [0xab; 32]);
        assert_eq!(secret, "ab".repeat(32));
        assert!(client.has_secret(&secret));
        assert!(!client.has_secret("") && !client.has_secret(&secret[1..]));
        assert!(!serde_json::to_string(&client).unwrap().contains(&secret));
    }
}
