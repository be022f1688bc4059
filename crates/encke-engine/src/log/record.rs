//! What a record says, and its bytes. A record is an event; the events in their order make the state. Each
//! begins with a byte for its kind. A kind that is not known was written by a later version, and is refused.

mod cancellation;
mod deletion;
mod image;
mod message;
mod metadata;
mod rules;

use encke_proto::{ChannelName, Offset, Time};

pub(super) use self::{
    cancellation::Cancellation,
    deletion::{Deletion, FloorsImage},
    image::{KeysImage, LogImage},
    message::{Key, MessageRecord, Target, read_message, read_message_in, read_message_start, start_bytes},
    metadata::{Configured, Produced},
};
use super::codec::{Malformed, Reader, put_bytes, put_number};
use crate::{ReceiptState, RetentionTable};

/// The number of a log in its store. Records name logs by it.
pub(super) type LogId = u32;

/// The kinds of records.
mod kind {
    pub(super) const NAME: u8 = 1;
    pub(super) const MESSAGE: u8 = 2;
    pub(super) const TRIM: u8 = 3;
    pub(super) const MARK: u8 = 4;
    pub(super) const SEEN: u8 = 5;
    pub(super) const LOG: u8 = 6;
    pub(super) const KEYS: u8 = 7;
    pub(super) const RULES: u8 = 8;
    pub(super) const MOVED: u8 = 9;
    pub(super) const DELETED: u8 = 10;
    pub(super) const FLOORS: u8 = 11;
    pub(super) const CLOSED: u8 = 12;
    pub(super) const CONFIGURED: u8 = 13;
    pub(super) const PRODUCED: u8 = 14;
    pub(super) const TOUCHED: u8 = 15;
    pub(super) const CANCELLED: u8 = 16;
}

/// One event.
#[derive(Clone, Debug)]
pub(super) enum Record {
    /// A log has this number from now on.
    Name { log: LogId, name: ChannelName },
    /// A message came into the logs of its targets.
    Message(MessageRecord),
    /// The messages before `tail` are gone, since `at`.
    Trim { log: LogId, tail: Offset, at: Time },
    /// The receipts of a user reach a state up to an offset.
    Mark { log: LogId, state: ReceiptState, to: Offset, at: Time },
    /// A user was here.
    Seen { log: LogId, at: Time },
    /// All that is known of a log at this moment, for a checkpoint.
    Log(Box<LogImage>),
    /// Some of the idempotency keys at this moment, for a checkpoint.
    Keys(KeysImage),
    /// These retention rules hold from now on.
    Rules(RetentionTable),
    /// A message lies here from now on, since its segment goes. The bytes are those of the message.
    Moved { message: MessageRecord, payload: Vec<u8> },
    /// A log is gone with all that was known of it.
    Deleted(Deletion),
    /// Where logs of deleted names begin at this moment, for a checkpoint.
    Floors(FloorsImage),
    /// A log is closed for good.
    Closed { log: LogId },
    /// A log is set to something from now on.
    Configured(Configured),
    /// A producer's sequence has come.
    Produced(Produced),
    /// A log was used without an append.
    Touched { log: LogId, at: Time },
    /// A push is not to be delivered any more where it was queued.
    Cancelled(Cancellation),
}

impl Record {
    /// Whether it says only what is so already.
    pub(super) fn is_checkpoint(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Keys(_) | Self::Rules(_) | Self::Floors(_))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Name { log, name } => {
                out.push(kind::NAME);
                put_number(out, u64::from(*log));
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::Message(message) => {
                out.push(kind::MESSAGE);
                message.encode(out);
            }
            Self::Trim { log, tail, at } => {
                out.push(kind::TRIM);
                [u64::from(*log), *tail, at.0].into_iter().for_each(|number| put_number(out, number));
            }
            Self::Mark { log, state, to, at } => {
                out.push(kind::MARK);
                out.push(u8::from(*state == ReceiptState::Shown));
                [u64::from(*log), *to, at.0].into_iter().for_each(|number| put_number(out, number));
            }
            Self::Seen { log, at } => {
                out.push(kind::SEEN);
                [u64::from(*log), at.0].into_iter().for_each(|number| put_number(out, number));
            }
            Self::Log(image) => {
                out.push(kind::LOG);
                image.encode(out);
            }
            Self::Keys(image) => {
                out.push(kind::KEYS);
                image.encode(out);
            }
            Self::Rules(table) => {
                out.push(kind::RULES);
                rules::encode(table, out);
            }
            Self::Moved { payload, .. } => {
                out.push(kind::MOVED);
                out.extend_from_slice(payload.get(1..).unwrap_or_default());
            }
            Self::Deleted(deletion) => {
                out.push(kind::DELETED);
                deletion.encode(out);
            }
            Self::Floors(image) => {
                out.push(kind::FLOORS);
                image.encode(out);
            }
            Self::Closed { log } => {
                out.push(kind::CLOSED);
                put_number(out, u64::from(*log));
            }
            Self::Configured(configured) => {
                out.push(kind::CONFIGURED);
                configured.encode(out);
            }
            Self::Produced(produced) => {
                out.push(kind::PRODUCED);
                produced.encode(out);
            }
            Self::Touched { log, at } => {
                out.push(kind::TOUCHED);
                [u64::from(*log), at.0].into_iter().for_each(|number| put_number(out, number));
            }
            Self::Cancelled(cancellation) => {
                out.push(kind::CANCELLED);
                cancellation.encode(out);
            }
        }
    }

    /// Reads a record. The body of a message is left out: a caller that needs it uses [`read_message`].
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(payload);
        let record = match reader.byte()? {
            kind::NAME => Self::Name {
                log: reader.small()?,
                name: ChannelName::stored(reader.text()?).map_err(|_| Malformed("the name of a channel"))?,
            },
            kind::MESSAGE => return Ok(Self::Message(MessageRecord::decode(&mut reader, false, None)?)),
            kind::TRIM => Self::Trim { log: reader.small()?, tail: reader.number()?, at: reader.time()? },
            kind::MARK => {
                let shown = reader.byte()? != 0;
                let state = if shown { ReceiptState::Shown } else { ReceiptState::Delivered };
                Self::Mark { state, log: reader.small()?, to: reader.number()?, at: reader.time()? }
            }
            kind::SEEN => Self::Seen { log: reader.small()?, at: reader.time()? },
            kind::LOG => Self::Log(Box::new(LogImage::decode(&mut reader)?)),
            kind::KEYS => Self::Keys(KeysImage::decode(&mut reader)?),
            kind::RULES => Self::Rules(rules::decode(&mut reader)?),
            kind::DELETED => Self::Deleted(Deletion::decode(&mut reader)?),
            kind::FLOORS => Self::Floors(FloorsImage::decode(&mut reader)?),
            kind::CLOSED => Self::Closed { log: reader.small()? },
            kind::CONFIGURED => Self::Configured(Configured::decode(&mut reader)?),
            kind::PRODUCED => Self::Produced(Produced::decode(&mut reader)?),
            kind::TOUCHED => Self::Touched { log: reader.small()?, at: reader.time()? },
            kind::CANCELLED => Self::Cancelled(Cancellation::decode(&mut reader)?),
            kind::MOVED => {
                let message = MessageRecord::decode(&mut reader, false, None)?;
                return Ok(Self::Moved { message, payload: Vec::new() });
            }
            _ => return Err(Malformed("a kind of record that this version knows")),
        };
        if reader.0.is_empty() { Ok(record) } else { Err(Malformed("the end of a record")) }
    }
}

/// Whether a record holds a message, here since it came or since it was moved.
pub(super) fn holds_message(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(&(kind::MESSAGE | kind::MOVED)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use encke_proto::{Body, MessageId, TraceContext, TypedBytes, UserId};
    use serde_json::value::RawValue;

    use super::{
        super::stored::{Place, Stored},
        *,
    };
    use crate::{Lifetime, LogConfig, Producer, ProducerId, Retention};

    fn place(segment: u32) -> Stored {
        Stored::new(
            Place { segment, at: 32 },
            100,
            false,
            80,
            Time(1_763_800_000_000),
            Some(Time(1_763_800_010_000)),
        )
    }

    fn configured(content_type: Option<&str>, lifetime: Option<Lifetime>) -> Record {
        let config = LogConfig::new(content_type, lifetime).unwrap();
        Record::Configured(Configured { log: 3, config, touched: Time(1_763_800_000_000) })
    }

    fn produced(place: Option<(MessageId, Offset)>) -> Record {
        let producer = Producer::new(ProducerId::new("p ü").unwrap(), 300, 70_000).unwrap();
        Record::Produced(Produced { log: 3, producer, stamp: Time(77), place })
    }

    fn records() -> Vec<Record> {
        let data = Body::Data(RawValue::from_string("[1,\"ü\"]".into()).unwrap().into());
        let message = |body: Body, all: bool| MessageRecord {
            id: MessageId::from_bits(u128::MAX - 7),
            key: all.then(|| Key { text: "api:1".into(), stamp: Time(77), request: Some(u64::MAX - 3) }),
            time: Time(1_763_800_000_000),
            expires: all.then_some(Time(1_763_800_000_001)),
            from: all.then(|| UserId::new("bob").unwrap()),
            until: all.then_some(Time(1_863_800_000_000)),
            body_bytes: crate::append::body_bytes(&body) as u32,
            body: Some(body),
            targets: vec![Target { log: 1, offset: 3 }, Target { log: 70_000, offset: u64::MAX / 3 }],
            trace: all
                .then(|| Box::new(TraceContext { trace_id: [7; 16], span_id: [8; 8], is_sampled: true })),
        };
        let image = LogImage {
            log: 3,
            name: ChannelName::any("@alice").unwrap(),
            head: 9,
            first_seen: Some(Time(5)),
            last_seen: None,
            handed: 8,
            shown: 7,
            receipts_until: Time(1_863_800_000_000),
            steps: vec![super::super::receipts::Step::new(
                super::super::receipts::StepKind::Trimmed,
                4,
                Time(9),
            )],
            messages: vec![place(1), place(2)],
        };
        let retention = Retention { max_messages: 1, max_bytes: 2, max_age_s: 3 };
        let table =
            RetentionTable { rules: vec![("a*".into(), retention)], public: retention, own: retention };
        vec![
            Record::Name { log: 3, name: ChannelName::any("@alice").unwrap() },
            Record::Message(message(data, true)),
            Record::Message(message(Body::Page("https://example.com/".into()), false)),
            Record::Message(message(
                Body::Bytes(Arc::new(TypedBytes::new("a/b", *b"\0\xff").unwrap())),
                false,
            )),
            Record::Trim { log: 3, tail: 4, at: Time(5) },
            Record::Mark { log: 3, state: ReceiptState::Shown, to: 4, at: Time(5) },
            Record::Seen { log: 3, at: Time(5) },
            Record::Log(Box::new(image)),
            Record::Keys(KeysImage {
                now: Time(8),
                keys: vec![(9, Place { segment: 1, at: 2 }, 50, Time(3))],
            }),
            Record::Rules(table),
            Record::Deleted(Deletion { log: 3, class: u16::MAX, floor: 10 }),
            Record::Cancelled(Cancellation { at: Time(5), targets: vec![Target { log: 3, offset: 4 }] }),
            Record::Floors(FloorsImage { next_log: 70_001, floors: vec![(7, 10), (u16::MAX, u64::MAX / 3)] }),
            Record::Closed { log: 70_000 },
            configured(None, None),
            configured(Some("a/b"), Some(Lifetime::Until(Time(1_863_800_000_000)))),
            configured(None, Some(Lifetime::Idle { seconds: 60 })),
            produced(Some((MessageId::from_bits(u128::MAX - 7), 9))),
            produced(None),
            Record::Touched { log: 70_000, at: Time(1_763_800_000_000) },
        ]
    }

    #[test]
    fn records_are_read_back_and_no_part_of_one_is() {
        for record in records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let read = match record {
                Record::Message(_) => Record::Message(read_message(&bytes).unwrap()),
                _ => Record::decode(&bytes).unwrap(),
            };
            assert_eq!(format!("{read:?}"), format!("{record:?}"));
            for cut in 0..bytes.len() {
                let part = &bytes[..cut];
                let failed = if holds_message(&bytes) {
                    read_message(part).is_err()
                } else {
                    Record::decode(part).is_err()
                };
                assert!(failed, "{record:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_for_all_users_is_read_for_one_without_the_others() {
        let targets: Vec<Target> =
            (0..100_000).map(|log| Target { log, offset: u64::from(log) + 1 }).collect();
        let find = |record| if let Record::Message(message) = record { Some(message) } else { None };
        let message = records().into_iter().find_map(find).unwrap();
        let mut bytes = Vec::new();
        Record::Message(MessageRecord { targets, ..message }).encode(&mut bytes);
        let start = read_message_start(&bytes[..2000]).unwrap().expect("its targets come last");
        assert_eq!(format!("{:?}", (&start.id, &start.body)), {
            let whole = read_message(&bytes).unwrap();
            format!("{:?}", (&whole.id, &whole.body))
        });
        for at in 0..2000 {
            let mut rotten = bytes[..2000].to_vec();
            rotten[at] ^= 1;
            let read = read_message_start(&rotten);
            let is_told = !matches!(&read, Ok(Some(_)));
            let is_same =
                read.is_ok_and(|read| read.is_some_and(|read| format!("{read:?}") == format!("{start:?}")));
            assert!(is_told || is_same, "the byte {at}");
        }
        let one = read_message_in(&bytes, 70_000).unwrap();
        assert_eq!(one.targets, [Target { log: 70_000, offset: 70_001 }]);
        assert!(one.targets.capacity() < 10, "{} places were made", one.targets.capacity());
        assert_eq!(read_message_in(&bytes, 100_000).unwrap().targets, [], "who is not among them");
        let whole = read_message(&bytes).unwrap();
        assert_eq!(format!("{:?}", (one.id, one.body)), format!("{:?}", (whole.id, whole.body)));
    }

    #[test]
    fn what_a_later_version_writes_is_refused() {
        for kind in (0..=u8::MAX).filter(|kind| !(1..=16).contains(kind)) {
            assert!(Record::decode(&[kind, 1, 2, 3]).is_err());
        }
    }
}
