//! Other consumer groups that read the same topics, as the cluster reports them now.

use std::collections::BTreeSet;

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use tokio::task::JoinError;

use super::{Admin, PATIENCE};

/// A group whose members read topics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadingGroup {
    pub group: String,
    pub topics: BTreeSet<String>,
}

/// Why the groups that read topics are unknown.
#[derive(Debug, thiserror::Error)]
pub enum UnknownReaders {
    #[error(transparent)]
    NoAnswer(#[from] KafkaError),
    /// The client panicked while it read the answer, for example because a group's name is not UTF-8.
    #[error(transparent)]
    Panic(#[from] JoinError),
}

impl Admin {
    /// The groups with members that read one of these topics. Groups without running members are not found, nor
    /// groups of the protocol of KIP-848, because this request does not show their assignments.
    ///
    /// # Errors
    /// The cluster does not answer, for example because this client may not ask.
    pub async fn groups_reading(&self, topics: BTreeSet<String>) -> Result<Vec<ReadingGroup>, UnknownReaders> {
        let query_client = self.query_client.clone();
        let task = tokio::task::spawn_blocking(move || {
            let groups = query_client.client().fetch_group_list(None, PATIENCE)?;
            let readers = groups.groups().iter().filter_map(|group| {
                let assigned = group.members().iter().filter_map(|member| member.assignment());
                let read: BTreeSet<String> =
                    assigned.flat_map(topics_of).filter(|topic| topics.contains(topic)).collect();
                (!read.is_empty()).then(|| ReadingGroup { group: group.name().to_owned(), topics: read })
            });
            Ok(readers.collect())
        });
        task.await?
    }
}

/// The topics in a member's assignment in the encoding of consumers: a version, then each topic with its partitions.
/// An assignment in another encoding has none.
fn topics_of(assignment: &[u8]) -> Vec<String> {
    read(assignment).unwrap_or_default()
}

fn read(mut bytes: &[u8]) -> Option<Vec<String>> {
    take(&mut bytes, 2)?;
    let count = take_u32(&mut bytes)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = u16::from_be_bytes(take(&mut bytes, 2)?.try_into().ok()?);
        topics.push(String::from_utf8(take(&mut bytes, length.into())?.to_vec()).ok()?);
        let partitions = take_u32(&mut bytes)?;
        take(&mut bytes, partitions.checked_mul(4)?)?;
    }
    Some(topics)
}

fn take_u32(bytes: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(take(bytes, 4)?.try_into().ok()?)).ok()
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_parsed_from_a_group_assignment() {
        let assignment = b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x02bc\0\0\0\0\0\0\0\0";
        assert_eq!(topics_of(assignment), ["a", "bc"]);
        for end in 0..assignment.len() - 4 {
            assert_eq!(topics_of(&assignment[..end]), Vec::<String>::new(), "{end} bytes are not an assignment");
        }
        assert_eq!(topics_of(b"\0\x01\xff\xff\xff\xff"), Vec::<String>::new());
    }
}
