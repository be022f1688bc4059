//! The names of keys and topics, the partition of each name, and the cluster slot of each partition. These
//! names are the layout of a store: a change makes the old data unreachable.

use encke_proto::{ChannelName, SessionId, UserId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::options::RedisOptions;
use crate::NodeId;

/// Into how many parts the channels of a store are divided. Fixed for a store: with another number none of
/// the old keys is found.
pub(super) const PARTITIONS: u16 = 256;
/// What the nodes know of each other lies beside the partitions, under a number of its own.
pub(super) const NODES: u16 = PARTITIONS;
/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;
/// Which keys every script of a partition is given, in this order.
const KEYS: [&str; 17] = [
    "meta",
    "heads",
    "due",
    "keys",
    "ages",
    "names",
    "users",
    "people",
    "pushes",
    "ends",
    "receipts",
    "roster",
    "open",
    "intents",
    "places",
    "client_keys",
    "client_ages",
];
/// Names from outside become part of a key only in letters, digits, `-`, `_`, `.`, `~` and `%`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Which keys and topics there are.
#[derive(Debug)]
pub(super) struct Names {
    tags: Vec<String>,
    slots: Vec<u16>,
    keys: Vec<Vec<String>>,
    /// Topics are not divided by databases, so it is in their names.
    database: u16,
}

/// What a topic is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Channel(ChannelName),
    Incarnation(NodeId),
}

impl Names {
    pub(super) fn new(options: &RedisOptions) -> Self {
        let tag =
            |partition| if partition == NODES { "nodes".to_owned() } else { format!("p{partition:03}") };
        let tags: Vec<String> =
            (0..=NODES).map(|partition| format!("{{{}:{}}}", options.prefix, tag(partition))).collect();
        let slots = tags.iter().map(|tag| crc16(&tag.as_bytes()[1..tag.len() - 1]) % SLOTS).collect();
        let keys = tags.iter().map(|tag| KEYS.iter().map(|key| format!("{tag}:{key}")).collect()).collect();
        Self { tags, slots, keys, database: options.database }
    }

    pub(super) fn slot(&self, partition: u16) -> u16 {
        self.slots[usize::from(partition)]
    }

    /// The keys of a partition that do not belong to one channel.
    pub(super) fn keys(&self, partition: u16) -> &[String] {
        &self.keys[usize::from(partition)]
    }

    pub(super) fn nodes_key(&self, what: &str) -> String {
        format!("{}:{what}", self.tags[usize::from(NODES)])
    }

    pub(super) fn stream(&self, channel: &ChannelName) -> String {
        self.of_channel("log", channel)
    }

    pub(super) fn tomb(&self, partition: u16, session: SessionId) -> String {
        format!("{}:tomb:{session}", self.tags[usize::from(partition)])
    }

    pub(super) fn ticket(&self, partition: u16, ticket: &str) -> String {
        format!("{}:ticket:{}", self.tags[usize::from(partition)], utf8_percent_encode(ticket, ENCODED))
    }

    /// The order in which a user's idempotency keys came.
    pub(super) fn user_keys(&self, partition: u16, user: &UserId) -> String {
        let user = utf8_percent_encode(user.as_str(), ENCODED);
        format!("{}:user_keys:{user}", self.tags[usize::from(partition)])
    }

    /// What is written to see whether anything can be.
    pub(super) fn trial(&self, partition: u16) -> String {
        format!("{}:trial", self.tags[usize::from(partition)])
    }

    /// Where a channel's messages are told.
    pub(super) fn topic(&self, channel: &ChannelName) -> String {
        self.of_channel(&format!("told{}", self.database), channel)
    }

    /// Where a node's messages are told.
    pub(super) fn incarnation_topic(&self, incarnation: NodeId) -> String {
        format!("{}:life{}:{incarnation}", self.tags[usize::from(NODES)], self.database)
    }

    /// What a topic is about; none when it is not one of ours.
    pub(super) fn read_topic(topic: &str) -> Option<Topic> {
        let (_, rest) = topic.split_once("}:")?;
        let (kind, name) = rest.split_once(':')?;
        if kind.starts_with("life") {
            return name.parse().ok().map(Topic::Incarnation);
        }
        let name = percent_decode_str(name).decode_utf8().ok()?;
        ChannelName::stored(&name).ok().map(Topic::Channel)
    }

    fn of_channel(&self, what: &str, channel: &ChannelName) -> String {
        let tag = &self.tags[usize::from(partition_of(channel.as_str()))];
        format!("{tag}:{what}:{}", utf8_percent_encode(channel.as_str(), ENCODED))
    }
}

/// In which partition what has this name lies: a channel, and with a user's own channel all that is kept of
/// the user. FNV-1a, which every node computes alike for ever.
pub(super) fn partition_of(name: &str) -> u16 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits alone would hardly see the last byte's neighbours.
    ((hash ^ (hash >> 32)) % u64::from(PARTITIONS)) as u16
}

/// CRC-16/XMODEM, which a cluster finds the slot of a tag with.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: &str) -> Names {
        Names::new(&RedisOptions::parse(url).unwrap())
    }

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let names = names("redis://h?prefix=x");
        assert_eq!(names.slot(3), crc16(b"x:p003") % SLOTS);
        assert!(names.keys(3).iter().all(|key| key.starts_with("{x:p003}:")));
    }

    #[test]
    fn t32_names_from_outside_leave_the_tag_alone_and_are_read_back() {
        let names = names("redis://h/2");
        for name in ["a", "}:{x}", "a *>.?[]\\", "%7B", "世界", "@user:1", "told0:x"] {
            let channel = ChannelName::any(name).unwrap();
            let (stream, topic) = (names.stream(&channel), names.topic(&channel));
            for text in [&stream, &topic] {
                assert_eq!((text.matches('{').count(), text.matches('}').count()), (1, 1), "{text}");
                assert!(
                    text.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>?[]\\".contains(&byte)),
                    "{text}"
                );
            }
            assert_ne!(stream, topic);
            assert_eq!(Names::read_topic(&topic), Some(Topic::Channel(channel)));
        }
        let incarnation = NodeId::from_bits(7);
        assert_eq!(
            Names::read_topic(&names.incarnation_topic(incarnation)),
            Some(Topic::Incarnation(incarnation))
        );
        for other in ["", "x", "{a}:told0", "{a}:told0:%ff", "{a}:life0:xyz"] {
            assert_eq!(Names::read_topic(other), None, "{other}");
        }
    }

    #[test]
    fn partitions_are_spread_and_stay_as_they_are() {
        assert_eq!([partition_of("a"), partition_of("@alice"), partition_of("news:1")], PINNED);
        let mut counts = vec![0; usize::from(PARTITIONS)];
        for index in 0..25_600 {
            counts[usize::from(partition_of(&format!("@user{index}")))] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }

    /// A store that exists must be found again.
    const PINNED: [u16; 3] = [192, 50, 51];
}
