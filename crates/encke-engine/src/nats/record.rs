//! What a message in the stream of the logs says in its header: itself, and how its log stands with it.
//!
//! Each message carries the extent of its log as it is from then on. So the last one of a subject is all that
//! has to be read to append behind it, and a log whose messages are all trimmed keeps its head in a last note
//! without a message.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use encke_proto::{
    Body, ChannelName, Entry, Epoch, Lineage, Message, MessageId, Offset, Position, Show, Time, TraceContext,
    TypedBytes, UserId, WebPage,
};
use serde_json::value::RawValue;

use super::{
    epoch::Ages,
    fault::Fault,
    link::Put,
    log_metadata::LogMetadata,
    names::{token, untoken},
    stored::Stored,
};
use crate::{Append, append::body_bytes};

/// The form of what is stored. Others are refused, but for the one before it.
const VERSION: &str = "2";
/// The form in which a log did not say how often something of it was retracted, and what it is set to.
const FIRST_VERSION: &str = "1";
/// What a message is that has no body: it says how its log stands, and maybe that it was deleted.
const NOTE: char = 'n';
const DELETION: char = 'x';

/// How far a log has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The epoch in which this was written.
    pub(super) epoch: Epoch,
    /// The newest offset that was given.
    pub(super) head: Offset,
    /// The oldest that is kept; one more than `head` when none is.
    pub(super) tail: Offset,
    /// The bytes of all bodies up to `head`, from the log's first message on.
    pub(super) bytes: u64,
    /// Those before `tail`.
    pub(super) trimmed_bytes: u64,
    /// The epochs that this one goes on from, the newest first.
    pub(super) forks: Vec<Position>,
    /// A message a little before the head, so that who is nearly there need not search.
    pub(super) back: Option<Spot>,
    /// How often a message of the log was cancelled, and the log deleted. A node that was not told of one
    /// finds it in whatever it is told next.
    pub(super) retractions: u64,
    /// What is known of a public log besides, if anything is.
    pub(super) metadata: Option<Box<LogMetadata>>,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) offset: Offset,
    pub(super) seq: u64,
}

impl Extent {
    /// A log without a message.
    pub(super) fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            head: 0,
            tail: 1,
            bytes: 0,
            trimmed_bytes: 0,
            forks: Vec::new(),
            back: None,
            retractions: 0,
            metadata: None,
        }
    }

    /// How many messages are kept.
    pub(super) fn messages(&self) -> u64 {
        (self.head + 1).saturating_sub(self.tail)
    }

    /// The bytes of the bodies that are kept.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.trimmed_bytes)
    }

    /// The same log after it was deleted: the deletion takes an offset, and nothing is kept.
    pub(super) fn deleted(mut self) -> Self {
        self.head += 1;
        self.tail = self.head + 1;
        self.trimmed_bytes = self.bytes;
        self.back = None;
        self.metadata = None;
        self.retracted()
    }

    /// The same log after a message was cancelled.
    pub(super) fn retracted(mut self) -> Self {
        self.retractions += 1;
        self
    }

    /// The same log in the present epoch: what it holds now it holds there too, and in all epochs in between.
    pub(super) fn in_age(mut self, ages: &Ages) -> Self {
        if self.epoch != ages.now {
            let between = ages.before.iter().copied().filter(|epoch| *epoch > self.epoch).chain([self.epoch]);
            let forks: Vec<Position> = between.map(|epoch| Position { epoch, offset: self.head }).collect();
            self.forks.splice(0..0, forks);
            self.forks.truncate(Lineage::MAX);
            self.epoch = ages.now;
        }
        self
    }

    /// Whether it is closed for good.
    pub(super) fn is_closed(&self) -> bool {
        self.metadata.as_ref().is_some_and(|metadata| metadata.closed)
    }

    /// When it ends by itself.
    pub(super) fn ends(&self) -> Option<Time> {
        self.metadata.as_ref().and_then(|metadata| metadata.ends())
    }

    pub(super) fn lineage(&self) -> Lineage {
        Lineage::new(self.forks.clone())
    }
}

/// What a message of a log says besides how its log stands.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) id: MessageId,
    pub(super) time: Time,
    pub(super) expires: Option<Time>,
    pub(super) from: Option<UserId>,
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) body: Body,
}

impl Said {
    pub(super) fn of(append: &Append) -> Self {
        Self {
            id: append.id.clone(),
            time: append.time,
            expires: append.expires,
            from: append.from.clone(),
            trace: append.trace.clone(),
            body: append.body.clone(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        body_bytes(&self.body)
    }

    /// What kind of body it has, as a stream names it; [`body`] reads it.
    pub(super) fn kind(&self) -> char {
        match &self.body {
            Body::Page(WebPage { show: Show::Frame, .. }) => 'p',
            Body::Page(WebPage { show: Show::Window, .. }) => 'w',
            Body::Data(_) => 'd',
            Body::Bytes(_) => 'b',
        }
    }

    pub(super) fn payload(&self) -> Bytes {
        match &self.body {
            Body::Page(page) => Bytes::copy_from_slice(page.url.as_bytes()),
            Body::Data(json) => Bytes::copy_from_slice(json.get().as_bytes()),
            // A line with their content type stands before bytes.
            Body::Bytes(typed) => {
                let (content_type, bytes) = (typed.content_type().as_bytes(), typed.bytes());
                [content_type, b"\n", bytes].concat().into()
            }
        }
    }
}

/// A message of the stream of the logs.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) extent: Extent,
    /// None for a note that only says how the log stands.
    pub(super) said: Option<Said>,
    /// Whether it is a note that the log was deleted. The next append takes it out.
    pub(super) deletes: bool,
}

impl Record {
    pub(super) fn parse(stored: &Stored) -> Result<Self, Fault> {
        let parsed = parse(&stored.head, &stored.payload);
        let (extent, said, deletes) = parsed.ok_or_else(|| {
            Fault::damaged(format!("the message {} of the logs is not understood", stored.seq))
        })?;
        Ok(Self { seq: stored.seq, extent, said, deletes })
    }

    /// The message as all sessions receive it, told in `epoch`.
    pub(super) fn entry(&self, channel: &ChannelName, epoch: Epoch) -> Option<Arc<Entry>> {
        let said = self.said.as_ref()?;
        Some(Arc::new(Entry::new(Message {
            id: said.id.clone(),
            channel: channel.clone(),
            position: Position { epoch, offset: self.extent.head },
            time: said.time,
            body: said.body.clone(),
            from: said.from.clone(),
            expires: said.expires,
            trace: said.trace.clone(),
        })))
    }
}

/// The message to be stored.
pub(super) fn put(
    subject: String,
    extent: &Extent,
    said: Option<(&Said, Bytes)>,
    expect: Option<u64>,
) -> Put {
    put_as(NOTE, subject, extent, said, expect)
}

/// The note to be stored that a log was deleted.
pub(super) fn put_deletion(subject: String, extent: &Extent, expect: u64) -> Put {
    put_as(DELETION, subject, extent, None, Some(expect))
}

fn put_as(
    note: char,
    subject: String,
    extent: &Extent,
    said: Option<(&Said, Bytes)>,
    expect: Option<u64>,
) -> Put {
    let mut head = String::with_capacity(120);
    let kind = match said {
        None => note,
        Some((said, _)) => said.kind(),
    };
    let Extent { epoch, head: newest, tail, bytes, trimmed_bytes, forks, back, retractions, metadata } =
        extent;
    // Writing to a string cannot fail.
    let _ = write!(head, "{VERSION} {kind} {epoch} {newest} {tail} {bytes} {trimmed_bytes} ");
    for (index, fork) in forks.iter().enumerate() {
        let _ = write!(head, "{}{}:{}", if index > 0 { "," } else { "" }, fork.epoch, fork.offset);
    }
    if forks.is_empty() {
        head.push('-');
    }
    match back {
        Some(Spot { offset, seq }) => _ = write!(head, " {offset}:{seq}"),
        None => head.push_str(" -"),
    }
    let _ = write!(head, " {retractions} ");
    LogMetadata::write(metadata.as_deref(), &mut head);
    let payload = match said {
        None => Bytes::new(),
        Some((said, payload)) => {
            let _ = write!(head, " {} {} ", said.id, said.time.0);
            match said.expires {
                Some(expires) => _ = write!(head, "{}", expires.0),
                None => head.push('-'),
            }
            if let Some(from) = &said.from {
                let _ = write!(head, " {}", token(from.as_str()));
            }
            if let Some(trace) = &said.trace {
                // The place of the user is empty when there is none: no name is.
                let _ = write!(head, "{} {trace}", if said.from.is_none() { " " } else { "" });
            }
            payload
        }
    };
    Put { subject, head, payload, expect, ttl_s: None }
}

fn parse(head: &str, payload: &Bytes) -> Option<(Extent, Option<Said>, bool)> {
    let mut words = head.split(' ');
    let version = words.next()?;
    if ![VERSION, FIRST_VERSION].contains(&version) {
        return None;
    }
    let kind = words.next()?;
    let epoch: Epoch = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (newest, tail, bytes, trimmed_bytes) = (number()?, number()?, number()?, number()?);
    let forks = match words.next()? {
        "-" => Vec::new(),
        forks => forks.split(',').map(fork).collect::<Option<_>>()?,
    };
    let back = match words.next()? {
        "-" => None,
        text => {
            let (offset, seq) = text.split_once(':')?;
            Some(Spot { offset: offset.parse().ok()?, seq: seq.parse().ok()? })
        }
    };
    let (retractions, metadata) = match version {
        FIRST_VERSION => (0, None),
        _ => (words.next()?.parse().ok()?, LogMetadata::read(words.next()?)?.map(Box::new)),
    };
    let extent =
        Extent { epoch, head: newest, tail, bytes, trimmed_bytes, forks, back, retractions, metadata };
    if let Some(note @ (NOTE | DELETION)) = kind.chars().next() {
        return (kind.len() == 1).then_some((extent, None, note == DELETION));
    }
    let id = words.next()?.parse().ok()?;
    let time = Time(words.next()?.parse().ok()?);
    let expires = match words.next()? {
        "-" => None,
        text => Some(Time(text.parse().ok()?)),
    };
    let from = match words.next() {
        Some("") | None => None,
        Some(from) => Some(UserId::new(&untoken(from)?).ok()?),
    };
    let trace = match words.next() {
        Some(trace) => Some(Box::new(trace.parse().ok()?)),
        None => None,
    };
    let body = body(kind, payload)?;
    Some((extent, Some(Said { id, time, expires, from, trace, body }), false))
}

/// What a message says, from its kind and its payload.
pub(super) fn body(kind: &str, payload: &[u8]) -> Option<Body> {
    let text = || std::str::from_utf8(payload).ok();
    Some(match kind {
        "p" => Body::Page(text()?.into()),
        "w" => Body::Page(WebPage { url: text()?.into(), show: Show::Window }),
        "d" => Body::Data(RawValue::from_string(text()?.to_owned()).ok()?.into()),
        "b" => {
            let end = payload.iter().position(|byte| *byte == b'\n')?;
            let (content_type, bytes) = payload.split_at(end);
            let content_type = std::str::from_utf8(content_type).ok()?;
            Body::Bytes(Arc::new(TypedBytes::new(content_type, &bytes[1..]).ok()?))
        }
        _ => return None,
    })
}

fn fork(text: &str) -> Option<Position> {
    let (epoch, offset) = text.split_once(':')?;
    Some(Position { epoch: epoch.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent() -> Extent {
        let forks = vec![Position { epoch: Epoch(9), offset: 4 }, Position { epoch: Epoch(3), offset: 2 }];
        let back = Some(Spot { offset: 3, seq: 88 });
        let (retractions, metadata) = (3, Some(Box::new(LogMetadata::begun(4, Time(9)))));
        Extent {
            epoch: Epoch(77),
            head: 5,
            tail: 2,
            bytes: 900,
            trimmed_bytes: 100,
            forks,
            back,
            retractions,
            metadata,
        }
    }

    fn back(put: &Put) -> Record {
        let stored = Stored {
            subject: put.subject.clone(),
            seq: 8,
            taken_ms: 0,
            head: put.head.clone(),
            payload: put.payload.clone(),
        };
        Record::parse(&stored).unwrap()
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let id = MessageId::from_bits(7);
        let trace = || Some(Box::new(TraceContext { trace_id: [7; 16], span_id: [8; 8], is_sampled: true }));
        for (body, from, expires, trace) in [
            (Body::Page("https://example.com/ü?a b".into()), None, Some(Time(12)), None),
            (Body::Page("https://example.com/".into()), None, None, trace()),
            (Body::Page("https://example.com/".into()), Some("-"), None, trace()),
            (
                Body::Data(RawValue::from_string("{\"a\":1.50}".to_owned()).unwrap().into()),
                Some("a b\u{20ac}"),
                None,
                trace(),
            ),
            (Body::Bytes(Arc::new(TypedBytes::new("a/b", *b"\n\0\xff").unwrap())), None, None, None),
        ] {
            let from = from.map(|from| UserId::new(from).unwrap());
            let said = Said { id: id.clone(), time: Time(5), expires, from, trace, body };
            let put = put("s".to_owned(), &extent(), Some((&said, said.payload())), Some(3));
            let record = back(&put);
            assert_eq!(record.extent, extent());
            let read = record.said.unwrap();
            assert_eq!((&read.id, read.time, read.expires, &read.from), (&id, Time(5), expires, &said.from));
            assert_eq!(read.trace, said.trace);
            assert_eq!(read.payload(), said.payload());
        }
        let note = back(&put("s".to_owned(), &extent(), None, None));
        assert!(note.said.is_none() && !note.deletes);
        assert_eq!(note.extent, extent());
        let deletion = back(&put_deletion("s".to_owned(), &extent().deleted(), 4));
        assert!(deletion.said.is_none() && deletion.deletes);
        assert_eq!(
            (deletion.extent.messages(), deletion.extent.kept_bytes(), deletion.extent.head),
            (0, 0, 6)
        );
        assert_eq!((deletion.extent.retractions, deletion.extent.metadata), (4, None));
    }

    #[test]
    fn the_form_before_this_one_is_read() {
        let put = put("s".to_owned(), &extent(), None, None);
        let head = put.head.replacen('2', "1", 1);
        let before = Put { head: head.rsplitn(3, ' ').last().unwrap().to_owned(), ..put };
        assert_eq!(back(&before).extent, Extent { retractions: 0, metadata: None, ..extent() });
    }

    #[test]
    fn what_is_not_understood_is_damage() {
        let whole = put("s".to_owned(), &extent(), None, None).head;
        let stored = |head: &str| Stored {
            subject: String::new(),
            seq: 1,
            taken_ms: 0,
            head: head.to_owned(),
            payload: Bytes::new(),
        };
        assert!(Record::parse(&stored(&whole)).is_ok());
        for head in [
            "",
            "1",
            "3 n a 1 1 1 1 - - 0 -",
            "2 n a 1 1 1 1 - - 0",
            "1 d a 1 1 1 1 - -",
            "1 n a 1 1 1 1 a -",
            "1 n a 1 1 1 1 - 3",
            "1 n a 1 1 1",
            &whole.replace("2 n", "2 y"),
        ] {
            assert!(matches!(Record::parse(&stored(head)), Err(Fault::Damaged(_))), "{head}");
        }
    }

    #[test]
    fn a_log_goes_on_in_a_later_epoch_with_what_it_holds() {
        let ages = Ages { now: Epoch(80), before: [79, 77, 9].map(Epoch).into() };
        let later = extent().in_age(&ages);
        let at = |epoch, offset| Position { epoch: Epoch(epoch), offset };
        assert_eq!((later.epoch, later.head), (Epoch(80), 5));
        assert_eq!(
            later.forks,
            [at(79, 5), at(77, 5), at(9, 4), at(3, 2)],
            "nothing was appended in the epoch 79"
        );
        assert_eq!(later.clone().in_age(&ages), later);
    }
}
