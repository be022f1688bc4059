//! What is known of a log besides its messages, as records: that it is closed, what it is set to, when it was
//! used without an append, and how far a producer has come. A checkpoint says the same of each log behind its
//! image; what is said twice changes nothing.

use encke_proto::{MessageId, Offset, Time};

use super::{
    super::codec::{Malformed, Reader, put_bytes, put_number},
    LogId,
};
use crate::{Lifetime, LogConfig, Producer, ProducerId};

/// Which parts of a configuration are there. A record with another bit is of a later version.
mod field {
    pub(super) const CONTENT_TYPE: u8 = 1;
    pub(super) const UNTIL: u8 = 2;
    pub(super) const IDLE: u8 = 4;
    pub(super) const ALL: u8 = CONTENT_TYPE | UNTIL | IDLE;
}

/// A log is set to something.
#[derive(Clone, Debug)]
pub(in crate::log) struct Configured {
    pub(in crate::log) log: LogId,
    pub(in crate::log) config: LogConfig,
    /// When it was last used.
    pub(in crate::log) touched: Time,
}

impl Configured {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.log));
        put_number(out, self.touched.0);
        let content_type = self.config.content_type();
        let (lifetime, number) = match self.config.lifetime() {
            None => (0, None),
            Some(Lifetime::Until(end)) => (field::UNTIL, Some(end.0)),
            Some(Lifetime::Idle { seconds }) => (field::IDLE, Some(seconds)),
        };
        out.push(lifetime | if content_type.is_some() { field::CONTENT_TYPE } else { 0 });
        content_type.into_iter().for_each(|text| put_bytes(out, text.as_bytes()));
        number.into_iter().for_each(|number| put_number(out, number));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (log, touched, fields) = (reader.small()?, reader.time()?, reader.byte()?);
        if fields & !field::ALL != 0 {
            return Err(Malformed("what a log of this version is set to"));
        }
        let content_type = (fields & field::CONTENT_TYPE != 0).then(|| reader.text()).transpose()?;
        let lifetime = match fields & (field::UNTIL | field::IDLE) {
            0 => None,
            field::UNTIL => Some(Lifetime::Until(reader.time()?)),
            field::IDLE => Some(Lifetime::Idle { seconds: reader.number()? }),
            _ => return Err(Malformed("one lifetime")),
        };
        let config = LogConfig::new(content_type, lifetime).map_err(|_| Malformed("a content type"))?;
        Ok(Self { log, config, touched })
    }
}

/// A producer's sequence has come.
#[derive(Clone, Debug)]
pub(in crate::log) struct Produced {
    pub(in crate::log) log: LogId,
    pub(in crate::log) producer: Producer,
    /// How much time had gone by, see [`crate::passed::Passed`].
    pub(in crate::log) stamp: Time,
    /// Its message, if it has one.
    pub(in crate::log) place: Option<(MessageId, Offset)>,
}

impl Produced {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.log));
        put_bytes(out, self.producer.id().as_str().as_bytes());
        let numbers = [self.producer.epoch(), self.producer.sequence(), self.stamp.0];
        numbers.into_iter().for_each(|number| put_number(out, number));
        // No message has the offset 0.
        put_number(out, self.place.as_ref().map_or(0, |(_, offset)| *offset));
        if let Some((id, _)) = &self.place {
            out.extend_from_slice(&id.bits().to_be_bytes());
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let log = reader.small()?;
        let id = ProducerId::new(reader.text()?).map_err(|_| Malformed("the id of a producer"))?;
        let (epoch, sequence) = (reader.number()?, reader.number()?);
        let producer = Producer::new(id, epoch, sequence).map_err(|_| Malformed("a producer's sequence"))?;
        let (stamp, offset) = (reader.time()?, reader.number()?);
        let place = match offset {
            0 => None,
            _ => Some((MessageId::from_bits(u128::from_be_bytes(reader.array()?)), offset)),
        };
        Ok(Self { log, producer, stamp, place })
    }
}
