//! What a checkpoint says of a log, and of idempotency keys: all that is in memory, so that what was written
//! before it need not be replayed.

use encke_proto::{ChannelName, Offset, Time};

use super::{
    super::{
        codec::{Malformed, Reader, put_bytes, put_number},
        receipts::{Step, StepKind},
        stored::{Place, Stored},
    },
    LogId,
};

/// What stands for a time that is not there. No other time is so late.
const NO_TIME: u64 = u64::MAX;

/// All that is known of a log.
#[derive(Clone, Debug)]
pub(in crate::log) struct LogImage {
    pub(in crate::log) log: LogId,
    pub(in crate::log) name: ChannelName,
    pub(in crate::log) head: Offset,
    /// Of a known user's own log.
    pub(in crate::log) first_seen: Option<Time>,
    pub(in crate::log) last_seen: Option<Time>,
    pub(in crate::log) handed: Offset,
    pub(in crate::log) shown: Offset,
    pub(in crate::log) receipts_until: Time,
    pub(in crate::log) steps: Vec<Step>,
    /// The messages that are kept, the newest at `head`.
    pub(in crate::log) messages: Vec<Stored>,
}

impl LogImage {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.log));
        put_bytes(out, self.name.as_str().as_bytes());
        let time = |time: Option<Time>| time.map_or(NO_TIME, |time| time.0);
        let seen = [time(self.first_seen), time(self.last_seen)];
        let numbers = [self.head, self.handed, self.shown, self.receipts_until.0];
        seen.into_iter().chain(numbers).for_each(|number| put_number(out, number));
        put_number(out, self.steps.len() as u64);
        for step in &self.steps {
            out.push(step.kind() as u8);
            put_number(out, step.to);
            put_number(out, step.at().0);
        }
        put_number(out, self.messages.len() as u64);
        for stored in &self.messages {
            stored.encode(out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let log = reader.small()?;
        let name = ChannelName::stored(reader.text()?).map_err(|_| Malformed("the name of a channel"))?;
        let mut time = || reader.number().map(|time| (time != NO_TIME).then_some(Time(time)));
        let (first_seen, last_seen) = (time()?, time()?);
        let [head, handed, shown] = [reader.number()?, reader.number()?, reader.number()?];
        let receipts_until = reader.time()?;
        let steps = (0..reader.count()?).map(|_| read_step(reader)).collect::<Result<_, _>>()?;
        let count = reader.count()?;
        if count as u64 > head {
            return Err(Malformed("a log that is no longer than its head"));
        }
        let messages = (0..count).map(|_| Stored::decode(reader)).collect::<Result<_, _>>()?;
        Ok(Self { log, name, head, first_seen, last_seen, handed, shown, receipts_until, steps, messages })
    }
}

fn read_step(reader: &mut Reader<'_>) -> Result<Step, Malformed> {
    let kind = StepKind::from_byte(reader.byte()?).ok_or(Malformed("a step of a receipt"))?;
    Ok(Step::new(kind, reader.number()?, reader.time()?))
}

/// Some idempotency keys: the hash of each, where its message lies, how long that is, and its stamp.
#[derive(Clone, Debug)]
pub(in crate::log) struct KeysImage {
    /// How much time has gone by, as stamps count it. A replay has to know it: a segment whose keys were too
    /// old may be gone.
    pub(in crate::log) now: Time,
    pub(in crate::log) keys: Vec<(u128, Place, u32, Time)>,
}

impl KeysImage {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.now.0);
        put_number(out, self.keys.len() as u64);
        for (hash, place, length, stamp) in &self.keys {
            out.extend_from_slice(&hash.to_le_bytes());
            let numbers = [u64::from(place.segment), u64::from(place.at), u64::from(*length), stamp.0];
            numbers.into_iter().for_each(|number| put_number(out, number));
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (now, count) = (reader.time()?, reader.count()?);
        let mut one = || {
            let hash = u128::from_le_bytes(reader.array()?);
            let place = Place { segment: reader.small()?, at: reader.small()? };
            Ok((hash, place, reader.small()?, reader.time()?))
        };
        Ok(Self { now, keys: (0..count).map(|_| one()).collect::<Result<_, _>>()? })
    }
}
