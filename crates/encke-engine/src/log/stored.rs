//! What a log knows of each of its messages: where it lies, and what trimming asks.

use encke_proto::Time;

use super::codec::{Malformed, Reader, put_number};
use crate::Retention;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// In bytes from the segment's beginning.
    pub(super) at: u32,
}

/// Says that several logs share the record; the lowest bit of the length's word.
const SHARED: u32 = 1;
/// What stands for a lifetime that 32 bits do not hold, or for none.
const NO_LIFETIME: u32 = u32::MAX;

/// A message of a log: where it lies, and what trimming asks. All fields have 32 bits, so that none is
/// padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    place: Place,
    length_and_shared: u32,
    body_bytes: u32,
    time: [u32; 2],
    /// How long after its time it expires, in milliseconds.
    lifetime: u32,
}

impl Stored {
    pub(super) fn new(
        place: Place,
        length: u32,
        shared: bool,
        body_bytes: u32,
        time: Time,
        expires: Option<Time>,
    ) -> Self {
        let lifetime = expires.map(|end| u32::try_from(end.0.saturating_sub(time.0)).unwrap_or(NO_LIFETIME));
        Self {
            place,
            length_and_shared: length << 1 | u32::from(shared),
            body_bytes,
            time: [(time.0 >> 32) as u32, time.0 as u32],
            lifetime: lifetime.unwrap_or(NO_LIFETIME),
        }
    }

    /// The same message, which lies elsewhere now.
    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    pub(super) fn place(self) -> Place {
        self.place
    }

    /// The bytes of the record with its header.
    pub(super) fn length(self) -> u32 {
        self.length_and_shared >> 1
    }

    pub(super) fn is_shared(self) -> bool {
        self.length_and_shared & SHARED != 0
    }

    pub(super) fn body_bytes(self) -> u32 {
        self.body_bytes
    }

    fn time(self) -> Time {
        Time(u64::from(self.time[0]) << 32 | u64::from(self.time[1]))
    }

    /// From when on it may be trimmed. An expiry that is more than 49 days away does not bring that forward:
    /// who reads looks at the record.
    pub(super) fn due(self, retention: &Retention) -> Time {
        let expires =
            (self.lifetime != NO_LIFETIME).then(|| Time(self.time().0.saturating_add(self.lifetime.into())));
        retention.due(self.time(), expires)
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let words =
            [self.place.segment, self.place.at, self.length_and_shared, self.body_bytes, self.lifetime];
        words.into_iter().for_each(|word| put_number(out, word.into()));
        put_number(out, self.time().0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let place = Place { segment: reader.small()?, at: reader.small()? };
        let [length_and_shared, body_bytes, lifetime] = [reader.small()?, reader.small()?, reader.small()?];
        let time = reader.number()?;
        Ok(Self { place, length_and_shared, body_bytes, time: [(time >> 32) as u32, time as u32], lifetime })
    }
}
