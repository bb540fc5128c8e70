//! Ids as newtypes, so a webhook's id is never used as an event's, and the place of a record in Kafka, which every
//! error about a record contains.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: an id has {length} characters of a-z and 0-9")]
pub struct BadId {
    pub text: String,
    /// Required number of characters.
    pub length: usize,
}

macro_rules! short_id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $length]);

        impl $name {
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("an id has only a-z and 0-9, checked when it was created")
            }

            /// Makes an id from random bytes. The caller checks that it is unused.
            pub fn from_random(random: [u8; $length]) -> Self {
                const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
                Self(random.map(|byte| ALPHABET[byte as usize % ALPHABET.len()]))
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId { text: text.to_owned(), length: $length };
                let bytes: [u8; $length] = text.as_bytes().try_into().map_err(|_| bad())?;
                let good = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if good { Ok(Self(bytes)) } else { Err(bad()) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

short_id! {
    /// A webhook's id: 6 characters of a-z and 0-9.
    WebhookId, 6
}
short_id! {
    /// An event definition's id: 6 characters of a-z and 0-9.
    EventId, 6
}
short_id! {
    /// An API client's id: 16 characters of a-z and 0-9.
    ClientId, 16
}

short_id! {
    /// A declared table's id: 16 characters of a-z and 0-9. The same account and name have the same id.
    TableId, 16
}

impl TableId {
    /// The id of a table of an account.
    pub fn of(account: &AccountId, table: &str) -> Self {
        // A JSON array, because it differs for each pair of account and table.
        let both = serde_json::to_vec(&(account, table)).expect("texts are JSON");
        let mut first = [0; 16];
        first.copy_from_slice(&digest(&SHA256, &both).as_ref()[..16]);
        Self::from_random(first)
    }
}

/// An account's id: any non-empty text. An account is the tenant that webhooks, tables and row changes belong to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(Arc<str>);

impl AccountId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The account of installations that need only one.
impl Default for AccountId {
    fn default() -> Self {
        "default".into()
    }
}

impl From<String> for AccountId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for AccountId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A message's id. The same row change and event give the same id, no matter how often the change is published or
/// read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(pub uuid::Uuid);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The text is not a message's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a message's id: it is a UUID, as in the header webhook-id at the receiver")]
pub struct BadMessageId(pub String);

impl FromStr for MessageId {
    type Err = BadMessageId;

    fn from_str(text: &str) -> Result<Self, BadMessageId> {
        uuid::Uuid::parse_str(text).map(Self).map_err(|_| BadMessageId(text.to_owned()))
    }
}

/// A call's id. It is made from the message's id and the URL, so it stays the same after redelivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallId(pub uuid::Uuid);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The place of a record in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordPosition {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} partition {} offset {}", self.topic, self.partition, self.offset)
    }
}

/// The key of a line: the calls that wait for the same endpoint, or for the same endpoint and webhook if the webhook
/// has a separate lane. It is a record key in topics, so its computation must never change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line(pub u64);

impl Line {
    /// The line of calls to an endpoint, of all webhooks or of one.
    pub fn of(endpoint: &str, webhook: Option<WebhookId>) -> Self {
        let mut text = endpoint.to_owned();
        if let Some(webhook) = webhook {
            text = format!("{webhook}/{text}");
        }
        let mut first = [0; 8];
        first.copy_from_slice(&digest(&SHA256, text.as_bytes()).as_ref()[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// The key of the line's records in a topic. All records of a line are in one partition, unless they are spread
    /// by call.
    pub fn key(self, spread: Option<CallId>) -> Bytes {
        let call = spread.map(|call| call.0.into_bytes());
        [call.as_ref().map_or(&[][..], |call| call), &self.0.to_be_bytes()].concat().into()
    }

    /// Parses a record's key.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(*key.last_chunk()?)))
    }
}

/// The key of a row for a webhook with row order. It identifies the row by the key of its records and their
/// partition. It is a record key in topics and selects the partition of a call, so its computation must never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(u64);

impl RowKey {
    /// The row of a record with this key. All records without a key of a partition count as one row, because any of
    /// them may be about the same row.
    pub fn of(webhook: WebhookId, place: &RecordPosition, key: Option<&[u8]>) -> Self {
        let mut text = format!("{webhook}/{}/{}/", place.topic, place.partition).into_bytes();
        text.extend_from_slice(key.unwrap_or_default());
        let mut first = [0; 8];
        first.copy_from_slice(&digest(&SHA256, &text).as_ref()[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// A row of this call alone.
    pub fn for_call(call: CallId) -> Self {
        Self(call.0.as_u64_pair().0)
    }

    /// The key of its records in a topic.
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RowKey {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids are stored in topics, so they must not change.
    #[test]
    fn table_id_depends_on_account_and_name_and_is_stable() {
        let id = |account: &str, table: &str| TableId::of(&account.into(), table).to_string();
        assert_eq!(id("acme", "MyCustomers"), "bxc4x2dw20ksd3gz");
        assert_ne!(id("a", "bc"), id("ab", "c"));
        assert_eq!(id("acme", "MyCustomers").parse(), Ok(TableId::of(&"acme".into(), "MyCustomers")));
    }

    #[test]
    fn row_key_depends_on_webhook_partition_and_key_and_is_stable() {
        let row = |webhook: &str, partition, key: &[u8]| {
            let place = RecordPosition { topic: "changes".into(), partition, offset: 7 };
            RowKey::of(webhook.parse().unwrap(), &place, Some(key)).to_string()
        };
        assert_eq!(row("abc123", 3, b"k"), "764d972ddc85a145");
        assert_eq!(row("abc123", 3, b"k").parse::<RowKey>().unwrap().to_string(), row("abc123", 3, b"k"));
        for other in [row("abc124", 3, b"k"), row("abc123", 4, b"k"), row("abc123", 3, b"l"), row("abc123", 3, b"")] {
            assert_ne!(row("abc123", 3, b"k"), other);
        }
    }
}
