//! Changes a public channel besides appends, and tells what it is set to: one script each in the partition
//! that has the channel.

use encke_proto::{ChannelName, Position, Time};
use redis::Value;

use super::{
    RedisEngine, bounded,
    names::partition_of,
    placement::Parcel,
    reply::{Fields, odd},
    script,
};
use crate::{
    Append, Configure, EngineError, Lifetime, LogConfig, LogStatus, LogUpdate, LogUpdated, PRODUCER_KEPT_S,
    PRODUCER_PLACES_MAX, PRODUCERS_MAX, TOUCH_STEP_MS, Targets,
};

/// What stands for a time that is not there.
const NEVER: i64 = -1;

/// A number as scripts take it.
fn signed(number: Option<u64>) -> i64 {
    number.map_or(NEVER, |number| i64::try_from(bounded(number)).unwrap_or(i64::MAX))
}

impl RedisEngine {
    pub(super) async fn change_log(&self, update: LogUpdate) -> Result<LogUpdated, EngineError> {
        update.check_channel()?;
        self.server_map.check()?;
        let LogUpdate { channel, time, configure, producer, message, close } = update;
        let parcel = message.map(|new| {
            let append = Append {
                id: new.id,
                key: None,
                targets: Targets::Channels(Vec::new()),
                body: new.body,
                from: new.from,
                time,
                expires: new.expires,
                trace: None,
            };
            Parcel::of(&append, 0, false)
        });
        let (how, config) = match configure {
            Configure::Keep => ("", LogConfig::default()),
            Configure::Create(config) => ("c", config),
            Configure::Replace(config) => ("r", config),
        };
        let (until, idle) = match config.lifetime() {
            None => (None, None),
            Some(Lifetime::Until(end)) => (Some(end.0), None),
            Some(Lifetime::Idle { seconds }) => (None, Some(seconds.saturating_mul(1000))),
        };
        let partition = partition_of(channel.as_str());
        let mut command = self.scripted(&script::UPDATE, partition, &[self.names.stream(&channel)]);
        command.arg(channel.as_str()).arg(self.names.topic(&channel)).arg(bounded(time.0));
        command.arg(how).arg(config.content_type().unwrap_or_default()).arg(signed(until)).arg(signed(idle));
        match &producer {
            Some(producer) => {
                command.arg(producer.id().as_str()).arg(producer.epoch()).arg(producer.sequence());
            }
            None => drop(command.arg("").arg(0).arg(0)),
        }
        command.arg(u8::from(close));
        match &parcel {
            Some(parcel) => {
                let expires = parcel.expires.map(|end| end.to_string()).unwrap_or_default();
                command.arg(&parcel.id).arg(&parcel.text).arg(parcel.bytes).arg(expires);
            }
            None => drop(command.arg("").arg("").arg(0).arg("")),
        }
        let retention = self.retention.of(&channel);
        command.arg(bounded(retention.max_messages)).arg(bounded(retention.max_bytes));
        command.arg(bounded(retention.max_age_s.saturating_mul(1000)));
        command.arg(PRODUCERS_MAX).arg(PRODUCER_KEPT_S * 1000).arg(PRODUCER_PLACES_MAX).arg(TOUCH_STEP_MS);
        read_updated(self.server_map.call(partition, command).await?)
    }

    pub(super) async fn status_of(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        self.server_map.check()?;
        let partition = partition_of(channel.as_str());
        let mut command = self.scripted(&script::STATUS, partition, &[]);
        command.arg(channel.as_str());
        match self.server_map.call(partition, command).await? {
            Value::Nil => Ok(None),
            value => read_status(value).map(Some),
        }
    }
}

fn read_updated(value: Value) -> Result<LogUpdated, EngineError> {
    let mut fields = Fields::of(value)?;
    let epoch = fields.epoch()?;
    let (created, repeated) = (fields.number()? == 1, fields.number()? == 1);
    let (id, offset) = (fields.text()?, fields.number()?);
    let message = match id.as_str() {
        "" => None,
        id => Some((id.parse().map_err(|_| odd("message id"))?, Position { epoch, offset })),
    };
    let head = Position { epoch, offset: fields.number()? };
    Ok(LogUpdated { created, repeated, message, head, closed: fields.number()? == 1 })
}

fn read_status(value: Value) -> Result<LogStatus, EngineError> {
    let mut fields = Fields::of(value)?;
    let head = Position { epoch: fields.epoch()?, offset: fields.number()? };
    let (closed, content_type) = (fields.number()? == 1, fields.text()?);
    let mut time =
        || fields.text()?.parse::<i64>().map(|time| u64::try_from(time).ok()).map_err(|_| odd("time"));
    let (until, idle, ends) = (time()?, time()?, time()?);
    let until = until.map(|end| Lifetime::Until(Time(end)));
    let lifetime = until.or(idle.map(|idle| Lifetime::Idle { seconds: idle / 1000 }));
    let content_type = Some(content_type.as_str()).filter(|text| !text.is_empty());
    let config = LogConfig::new(content_type, lifetime).map_err(|_| odd("content type"))?;
    Ok(LogStatus { head, closed, config, ends: ends.map(Time) })
}
