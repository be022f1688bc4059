//! What is known of a log besides its messages: that it is closed, what it is set to, when it was last used,
//! and how far its producers have come. Few logs have any of it. The engines that keep logs in memory share
//! this; where it is stored is theirs.

use std::collections::{BTreeMap, VecDeque};

use encke_proto::{MessageId, Offset, Time};

use crate::{
    Lifetime, LogConfig, LogRefusal, PRODUCER_KEPT_S, PRODUCER_PLACES_MAX, PRODUCERS_MAX, Producer,
    ProducerId,
};

/// What is known of a log besides its messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) closed: bool,
    pub(crate) config: LogConfig,
    /// When it was last used.
    pub(crate) touched: Time,
    pub(crate) producers: BTreeMap<ProducerId, Sequences>,
}

impl Metadata {
    /// When the log ends by itself.
    pub(crate) fn ends(&self) -> Option<Time> {
        ends(&self.config, self.touched)
    }

    pub(crate) fn touch(&mut self, at: Time) {
        self.touched = self.touched.max(at);
    }

    /// How far a producer has come; none when it was not heard of for long.
    pub(crate) fn sequences(&self, id: &ProducerId, stamp: Time) -> Option<&Sequences> {
        self.producers.get(id).filter(|known| !known.is_old(stamp))
    }

    /// Whether there is room for one producer more than `others`, which are not in yet.
    pub(crate) fn has_room(&self, others: usize, stamp: Time) -> bool {
        let known = self.producers.len() + others;
        known < PRODUCERS_MAX || {
            let old = self.producers.values().filter(|known| known.is_old(stamp)).count();
            known - old < PRODUCERS_MAX
        }
    }

    /// Forgets the producers that were not heard of for long, and says how many.
    pub(crate) fn forget_producers(&mut self, stamp: Time) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, known| !known.is_old(stamp));
        before - self.producers.len()
    }
}

/// When a log ends that is set to this and was last used then.
pub(crate) fn ends(config: &LogConfig, touched: Time) -> Option<Time> {
    config.lifetime().map(|lifetime| match lifetime {
        Lifetime::Until(end) => end,
        Lifetime::Idle { seconds } => touched.plus_seconds(seconds),
    })
}

/// What a producer's sequence is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// The next one.
    Next,
    /// One that came before, with its message if there was one and it is not too long ago.
    Repeated(Option<(MessageId, Offset)>),
}

/// How far a producer has come in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequences {
    epoch: u64,
    /// The sequence that comes next.
    next: u64,
    /// How much time had gone by when the last one came, see [`crate::passed::Passed`].
    stamp: Time,
    /// The messages of the last ones.
    places: VecDeque<Option<(MessageId, Offset)>>,
}

impl Sequences {
    fn is_old(&self, stamp: Time) -> bool {
        self.stamp.plus_seconds(PRODUCER_KEPT_S) < stamp
    }

    /// Looks at a producer's sequence, of which `known` is remembered.
    pub(crate) fn check(known: Option<&Self>, producer: &Producer) -> Result<Sequence, LogRefusal> {
        let (epoch, next) = known.map_or((0, 0), |known| (known.epoch, known.next));
        if producer.epoch() < epoch {
            return Err(LogRefusal::Fenced { epoch });
        }
        // A producer begins its epochs with 0, the first that is heard of it too.
        let expected = if producer.epoch() > epoch { 0 } else { next };
        match producer.sequence().checked_sub(expected) {
            Some(0) => Ok(Sequence::Next),
            Some(_) => Err(LogRefusal::SequenceGap { expected }),
            None => {
                let place = known.and_then(|known| {
                    let back = usize::try_from(next - producer.sequence()).ok()?;
                    known.places.get(known.places.len().checked_sub(back)?)?.clone()
                });
                Ok(Sequence::Repeated(place))
            }
        }
    }

    /// What is remembered after a sequence that is the next one.
    pub(crate) fn after(
        known: Option<&Self>,
        producer: &Producer,
        stamp: Time,
        place: Option<(MessageId, Offset)>,
    ) -> Self {
        let same = known.filter(|known| known.epoch == producer.epoch());
        let mut places = same.map(|known| known.places.clone()).unwrap_or_default();
        places.push_back(place);
        places.drain(..places.len().saturating_sub(PRODUCER_PLACES_MAX));
        let stamp = known.map_or(stamp, |known| known.stamp.max(stamp));
        Self { epoch: producer.epoch(), next: producer.sequence() + 1, stamp, places }
    }

    /// What is remembered of a producer whose last sequence was this, with the messages of the last ones; how
    /// old it is does not matter here.
    #[cfg(feature = "nats")]
    pub(crate) fn at(
        epoch: u64,
        sequence: u64,
        places: impl Iterator<Item = Option<(MessageId, Offset)>>,
    ) -> Self {
        Self { epoch, next: sequence.saturating_add(1), stamp: Time(0), places: places.collect() }
    }

    /// The messages of the last sequences, the oldest first.
    #[cfg(feature = "nats")]
    pub(crate) fn places(&self) -> impl Iterator<Item = &Option<(MessageId, Offset)>> {
        self.places.iter()
    }

    /// The last sequences, the oldest first, each with its message: they make it again.
    #[cfg(feature = "log")]
    pub(crate) fn each(
        &self,
        id: &ProducerId,
    ) -> impl Iterator<Item = (Producer, Time, Option<(MessageId, Offset)>)> {
        let first = self.next - self.places.len() as u64;
        (first..).zip(&self.places).filter_map(move |(sequence, place)| {
            let producer = Producer::new(id.clone(), self.epoch, sequence).ok()?;
            Some((producer, self.stamp, place.clone()))
        })
    }

    /// Whether a sequence is in already: what is replayed may say it again.
    #[cfg(feature = "log")]
    pub(crate) fn has(&self, producer: &Producer) -> bool {
        (producer.epoch(), producer.sequence()) < (self.epoch, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(epoch: u64, sequence: u64) -> Producer {
        Producer::new(ProducerId::new("p").unwrap(), epoch, sequence).unwrap()
    }

    /// Against a model that forgets nothing.
    #[test]
    fn every_sequence_is_next_repeated_fenced_or_behind_a_gap() {
        let place = |sequence: u64| Some((MessageId::from_bits(u128::from(sequence)), sequence + 100));
        for last in 0..12_u64 {
            let mut known = None;
            for sequence in 0..=last {
                assert_eq!(Sequences::check(known.as_ref(), &producer(3, sequence)), Ok(Sequence::Next));
                known =
                    Some(Sequences::after(known.as_ref(), &producer(3, sequence), Time(1), place(sequence)));
            }
            let known = known.unwrap();
            for sequence in 0..last + 5 {
                let checked = Sequences::check(Some(&known), &producer(3, sequence));
                let expected = match sequence.cmp(&(last + 1)) {
                    std::cmp::Ordering::Equal => Ok(Sequence::Next),
                    std::cmp::Ordering::Greater => Err(LogRefusal::SequenceGap { expected: last + 1 }),
                    std::cmp::Ordering::Less => {
                        let is_remembered = sequence + PRODUCER_PLACES_MAX as u64 > last;
                        Ok(Sequence::Repeated(place(sequence).filter(|_| is_remembered)))
                    }
                };
                assert_eq!(checked, expected, "{sequence} behind {last}");
                let fenced = Sequences::check(Some(&known), &producer(2, sequence));
                assert_eq!(fenced, Err(LogRefusal::Fenced { epoch: 3 }));
                let anew = Sequences::check(Some(&known), &producer(4, sequence));
                let first = if sequence == 0 {
                    Ok(Sequence::Next)
                } else {
                    Err(LogRefusal::SequenceGap { expected: 0 })
                };
                assert_eq!(anew, first);
            }
        }
    }

    #[test]
    fn a_producer_of_which_nothing_is_known_begins_with_0_in_any_epoch() {
        for epoch in [0, 7] {
            assert_eq!(Sequences::check(None, &producer(epoch, 0)), Ok(Sequence::Next));
            let gap = Err(LogRefusal::SequenceGap { expected: 0 });
            assert_eq!(Sequences::check(None, &producer(epoch, 1)), gap);
        }
    }

    #[test]
    fn old_producers_make_room_and_others_do_not() {
        let mut metadata = Metadata::default();
        for number in 0..PRODUCERS_MAX {
            assert!(metadata.has_room(0, Time(0)));
            let id = ProducerId::new(&number.to_string()).unwrap();
            let first = Producer::new(id.clone(), 0, 0).unwrap();
            metadata.producers.insert(id, Sequences::after(None, &first, Time(number as u64), None));
        }
        let end = Time(0).plus_seconds(PRODUCER_KEPT_S);
        assert!(!metadata.has_room(0, end) && metadata.has_room(0, Time(end.0 + 1)));
        assert!(!metadata.has_room(1, Time(end.0 + 1)) && metadata.has_room(1, Time(end.0 + 2)));
        assert_eq!(metadata.forget_producers(Time(end.0 + 2)), 2);
        assert!(metadata.sequences(&ProducerId::new("1").unwrap(), end).is_none());
        assert!(metadata.sequences(&ProducerId::new("2").unwrap(), end).is_some());
    }
}
