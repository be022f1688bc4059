//! That a log was deleted, and what a checkpoint says of all that were: where logs of their names begin.
//! Names are not in it (see [`crate::offset_floors`]).

use encke_proto::Offset;

use super::{
    super::codec::{Malformed, Reader, put_number},
    LogId,
};

/// A log is gone. Its number is not given again: messages that are still in segments name it.
#[derive(Clone, Debug)]
pub(in crate::log) struct Deletion {
    pub(in crate::log) log: LogId,
    /// The class of its name. A replay may not know the name.
    pub(in crate::log) class: u16,
    /// Behind which offset a log of this class begins from now on.
    pub(in crate::log) floor: Offset,
}

impl Deletion {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let numbers = [u64::from(self.log), u64::from(self.class), self.floor];
        numbers.into_iter().for_each(|number| put_number(out, number));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { log: reader.small()?, class: class(reader)?, floor: reader.number()? })
    }
}

/// Where logs of deleted names begin.
#[derive(Clone, Debug)]
pub(in crate::log) struct FloorsImage {
    /// The number that the next new log gets. Those of deleted logs are before it.
    pub(in crate::log) next_log: LogId,
    pub(in crate::log) floors: Vec<(u16, Offset)>,
}

impl FloorsImage {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.next_log));
        put_number(out, self.floors.len() as u64);
        for (class, floor) in &self.floors {
            put_number(out, u64::from(*class));
            put_number(out, *floor);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (next_log, count) = (reader.small()?, reader.count()?);
        let mut one = || Ok((class(reader)?, reader.number()?));
        Ok(Self { next_log, floors: (0..count).map(|_| one()).collect::<Result<_, _>>()? })
    }
}

fn class(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(reader.number()?).map_err(|_| Malformed("the class of a name"))
}
