//! The request to change one log in one write, its result, and what a log may be set to. An append to any
//! number of logs, which is what pushes and publishes are, is in `append.rs` and asks for none of this.

use encke_proto::{
    Body, ChannelName, MessageId, NotAContentType, Position, Time, UserId, check_content_type,
};

use crate::EngineError;

/// The most producers that one log remembers.
pub const PRODUCERS_MAX: usize = 256;
/// How long a producer is remembered at least after its last sequence, in seconds that have gone by; a clock
/// that is set changes nothing about that.
pub const PRODUCER_KEPT_S: u64 = 7 * 24 * 3600;
/// Of how many of its last sequences the places are remembered, for each producer.
pub const PRODUCER_PLACES_MAX: usize = 5;
/// The longest id of a producer, in bytes.
pub const PRODUCER_ID_MAX_BYTES: usize = 128;
/// The highest epoch and sequence of a producer: the largest integer that every JSON parser keeps.
pub const PRODUCER_NUMBER_MAX: u64 = (1 << 53) - 1;
/// How far at least a change without a message moves the end of a log that ends when it is idle, in
/// milliseconds: reads that come faster cost one write a second.
pub const TOUCH_STEP_MS: u64 = 1_000;

/// What is no producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAProducer {
    /// The id is empty, too long, or holds a control character.
    #[error("the id of a producer has 1 to {PRODUCER_ID_MAX_BYTES} bytes and no control character")]
    Id,
    /// The epoch or the sequence is too high.
    #[error("an epoch or a sequence is at most {PRODUCER_NUMBER_MAX}")]
    Number,
}

/// The id that a producer chose for itself: 1 to [`PRODUCER_ID_MAX_BYTES`] bytes, no control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(Box<str>);

impl ProducerId {
    /// This text as an id.
    ///
    /// # Errors
    /// [`NotAProducer::Id`].
    pub fn new(id: &str) -> Result<Self, NotAProducer> {
        let is_one = !id.is_empty() && id.len() <= PRODUCER_ID_MAX_BYTES && !id.chars().any(char::is_control);
        if is_one { Ok(Self(id.into())) } else { Err(NotAProducer::Id) }
    }

    /// The id as the producer says it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who changes a log, and the how manieth change of this producer it is. The engine remembers it in the same
/// write, so that a change which is sent again is not done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    id: ProducerId,
    epoch: u64,
    sequence: u64,
}

impl Producer {
    /// The change `sequence`, from 0 on, of the producer in its epoch: a producer that begins anew takes a
    /// higher epoch, and with it the sequence 0.
    ///
    /// # Errors
    /// [`NotAProducer::Number`].
    pub fn new(id: ProducerId, epoch: u64, sequence: u64) -> Result<Self, NotAProducer> {
        if epoch.max(sequence) > PRODUCER_NUMBER_MAX {
            return Err(NotAProducer::Number);
        }
        Ok(Self { id, epoch, sequence })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ProducerId {
        &self.id
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its sequence in that epoch.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// When a log ends by itself. It goes with the first sweep from then on, as if it was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// At this time.
    Until(Time),
    /// When nothing has used it for so long: no append, and no [`LogUpdate`], which is also how a reader says
    /// that it has read.
    Idle {
        /// In seconds.
        seconds: u64,
    },
}

/// What a log is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    content_type: Option<Box<str>>,
    lifetime: Option<Lifetime>,
}

impl LogConfig {
    /// A log that says this of its content, which is not compared with that of its messages, and that ends
    /// by itself then; none of either for a log as any channel has it.
    ///
    /// # Errors
    /// [`NotAContentType`].
    pub fn new(content_type: Option<&str>, lifetime: Option<Lifetime>) -> Result<Self, NotAContentType> {
        content_type.map_or(Ok(()), check_content_type)?;
        Ok(Self { content_type: content_type.map(Into::into), lifetime })
    }

    /// What it says of its content.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// When it ends by itself.
    #[must_use]
    pub fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }
}

/// What a change does to what its log is set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Configure {
    /// Nothing.
    #[default]
    Keep,
    /// It makes the log, set to this. When the log is there already, nothing of the whole change is done.
    Create(LogConfig),
    /// From now on it is set to this, made now or before.
    Replace(LogConfig),
}

/// A message that a change appends.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub body: Body,
    /// The user who published it, when a client did.
    pub from: Option<UserId>,
    /// From when on it is not delivered any more.
    pub expires: Option<Time>,
}

/// One change of one public channel's log, done whole or not at all. With none of its parts it says that the
/// log is in use (see [`Lifetime::Idle`]), and makes none.
#[derive(Clone, Debug)]
pub struct LogUpdate {
    /// Whose log it is.
    pub channel: ChannelName,
    /// Now.
    pub time: Time,
    /// What it is set to.
    pub configure: Configure,
    /// Whose change it is, if that matters. A change that is sent again is then answered as the first was.
    pub producer: Option<Producer>,
    /// What is appended. A log that is not there is made.
    pub message: Option<NewMessage>,
    /// Whether the log is closed for good, behind the message if there is one. A log that is not there is
    /// made.
    pub close: bool,
}

impl LogUpdate {
    /// A change without parts.
    #[must_use]
    pub fn new(channel: ChannelName, time: Time) -> Self {
        Self { channel, time, configure: Configure::Keep, producer: None, message: None, close: false }
    }

    /// A user's own log is the server's: it is not set to anything, and not closed.
    pub(crate) fn check_channel(&self) -> Result<(), EngineError> {
        if self.channel.is_own() {
            return Err(EngineError::Unsupported("change the log of a user"));
        }
        Ok(())
    }

    /// Whether it makes the log if there is none.
    pub(crate) fn makes_log(&self) -> bool {
        self.configure != Configure::Keep || self.message.is_some() || self.close
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogUpdated {
    /// Whether the log was made by it.
    pub created: bool,
    /// Whether the producer sent it before, so that nothing was done now.
    pub repeated: bool,
    /// Its message's id and place; those of the first time when it was sent before. None without a message,
    /// and for one that was sent before the last [`PRODUCER_PLACES_MAX`] of its producer.
    pub message: Option<(MessageId, Position)>,
    /// The newest place of the log.
    pub head: Position,
    /// Whether the log is closed.
    pub closed: bool,
}

/// Where a log stands, and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// The newest place.
    pub head: Position,
    /// Whether it is closed for good.
    pub closed: bool,
    /// What it is set to.
    pub config: LogConfig,
    /// When it ends by itself, as things are.
    pub ends: Option<Time>,
}

/// Why a log did not take something. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogRefusal {
    /// It is closed for good.
    #[error("the log is closed")]
    Closed,
    /// Its time is over, and the sweep is about to take it. It can be deleted at once, and made anew.
    #[error("the log has ended")]
    Ended,
    /// The producer has begun a higher epoch: this one is of a process that should be no more.
    #[error("the producer is in the epoch {epoch}")]
    Fenced {
        /// The highest epoch of the producer.
        epoch: u64,
    },
    /// Changes of the producer before this one have not come.
    #[error("the sequence {expected} of the producer is missing")]
    SequenceGap {
        /// The sequence that has to come first.
        expected: u64,
    },
    /// There is no room for one more producer.
    #[error("there are too many producers")]
    TooManyProducers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_no_producer() {
        let id = ProducerId::new(&"ü".repeat(PRODUCER_ID_MAX_BYTES / 2)).unwrap();
        for bad in ["", "a\n", "\u{7f}", &"x".repeat(PRODUCER_ID_MAX_BYTES + 1)] {
            assert_eq!(ProducerId::new(bad), Err(NotAProducer::Id), "{bad:?}");
        }
        assert!(Producer::new(id.clone(), PRODUCER_NUMBER_MAX, PRODUCER_NUMBER_MAX).is_ok());
        for (epoch, sequence) in [(PRODUCER_NUMBER_MAX + 1, 0), (0, u64::MAX)] {
            assert_eq!(Producer::new(id.clone(), epoch, sequence), Err(NotAProducer::Number));
        }
    }
}
