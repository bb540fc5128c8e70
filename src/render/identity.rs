//! The ids of messages and calls: UUIDs made from the identity of a change, not from when it was read. So the same
//! change sent again has the same ids.
//!
//! They are version 8 over SHA-256 (RFC 9562, section 5.8 and appendix B.2). Version 5 is the same over SHA-1, which
//! costs more than twice as much here, because processors accelerate SHA-256.

use ring::digest::{SHA256, digest};
use uuid::{Builder, Uuid};

use crate::decode::Identity;
use crate::id::{CallId, EventId, MessageId};

/// The namespace of message ids: a random UUID that must never change.
const MESSAGE_NAMESPACE: Uuid = Uuid::from_u128(0x5d1f_4b5e_93a7_4a0b_8c3f_6e2d_7a91_c404);

/// Ends each part of a name: a byte that UTF-8 never holds, so two different lists of parts never give the same name.
const PART_END: u8 = 0xff;

/// Makes ids; reuses its buffer.
#[derive(Default)]
pub(super) struct IdGenerator {
    name: Vec<u8>,
}

impl IdGenerator {
    /// Named by account, table, the change's identity and the event.
    pub(super) fn message(&mut self, account: &str, table: &str, identity: &Identity<'_>, event: EventId) -> MessageId {
        let name = self.start(MESSAGE_NAMESPACE);
        for part in [account, table, event.as_str()] {
            name.extend_from_slice(part.as_bytes());
            name.push(PART_END);
        }
        identity.write_canonical(name);
        MessageId(self.hash_name())
    }

    /// Named by the URL, in the namespace of its message.
    pub(super) fn call(&mut self, message: MessageId, url: &str) -> CallId {
        self.start(message.0).extend_from_slice(url.as_bytes());
        CallId(self.hash_name())
    }

    fn start(&mut self, name_space: Uuid) -> &mut Vec<u8> {
        self.name.clear();
        self.name.extend_from_slice(name_space.as_bytes());
        &mut self.name
    }

    fn hash_name(&self) -> Uuid {
        let hash = digest(&SHA256, &self.name);
        let (first, _) = hash.as_ref().split_first_chunk().expect("a SHA-256 hash has 32 bytes");
        Builder::from_custom_bytes(*first).into_uuid()
    }
}

/// The id of the message of an event about a change of an account's table.
pub fn message_id(account: &str, table: &str, identity: &Identity<'_>, event: EventId) -> MessageId {
    IdGenerator::default().message(account, table, identity, event)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9562, appendix B.2.
    #[test]
    fn uuid_matches_the_rfc_example() {
        let dns = Uuid::from_u128(0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8);
        let call = IdGenerator::default().call(MessageId(dns), "www.example.com");
        assert_eq!(call.to_string(), "5c146b14-3c52-8afd-938a-375d0df1fbf6");
    }

    #[test]
    fn ids_of_each_kind_of_identity_are_stable() {
        let id = |identity: Identity<'_>| message_id("acme", "T", &identity, "def456".parse().unwrap()).to_string();
        let at =
            |timestamp_ms| id(Identity::RecordPosition { topic: "changes", partition: 3, offset: 42, timestamp_ms });
        let ids = [id(Identity::ProducerId("7".into())), id(Identity::Debezium("7".to_owned())), at(0)];
        assert_eq!(ids[0], "e1b9f275-cfad-8c3d-ab41-a805506d6b43");
        assert_eq!(ids[1], "41f2ebee-7b91-854e-9043-840c45970b25");
        assert_eq!(
            ids[2], "57fc961b-5c31-8e2d-be01-c972898c7f20",
            "the id of every place before timestamps were part of it"
        );
        assert_eq!(at(1_709_212_455_123), "00632036-5aab-82cb-b544-0e94b1497a43");
        assert_ne!(at(1_709_212_455_123), at(1_709_212_455_124), "the same place in a topic that was created again");
    }
}
