//! That a push was cancelled where it was still queued. Its message stays where it lies.

use encke_proto::Time;

use super::{
    super::codec::{Malformed, Reader, put_number},
    message::Target,
};

/// These places of one push are not to be delivered any more.
#[derive(Clone, Debug)]
pub(in crate::log) struct Cancellation {
    /// When it was cancelled.
    pub(in crate::log) at: Time,
    /// Where it was queued.
    pub(in crate::log) targets: Vec<Target>,
}

impl Cancellation {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.at.0);
        put_number(out, self.targets.len() as u64);
        for target in &self.targets {
            put_number(out, u64::from(target.log));
            put_number(out, target.offset);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (at, count) = (reader.time()?, reader.count()?);
        let mut one = || Ok(Target { log: reader.small()?, offset: reader.number()? });
        Ok(Self { at, targets: (0..count).map(|_| one()).collect::<Result<_, _>>()? })
    }
}
