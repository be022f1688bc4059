//! The contract's tests of appends that are conditional on their producer's sequence.

use std::{collections::BTreeSet, sync::Arc};

use encke_proto::{MessageId, Position, Time};

use super::{
    Bed,
    closing::{close, with_message},
    lab::{Lab, NOON, channel, ids, offsets, to_channel, update},
};
use crate::{
    EngineError, LogRefusal, LogUpdate, LogUpdated, PRODUCER_KEPT_S, PRODUCER_PLACES_MAX, PRODUCERS_MAX,
    Producer, ProducerId,
};

pub(super) fn producer(id: &str, epoch: u64, sequence: u64) -> Option<Producer> {
    let id = ProducerId::new(id).expect("the suite's producers are producers");
    Some(Producer::new(id, epoch, sequence).expect("the suite's numbers are small"))
}

/// A message of a producer, and the message's id.
fn produced(name: &str, id: &str, epoch: u64, sequence: u64) -> (LogUpdate, MessageId) {
    with_message(LogUpdate { producer: producer(id, epoch, sequence), ..update(name) })
}

impl Lab {
    /// A message of a producer that is taken, and where.
    async fn produce(&self, name: &str, id: &str, epoch: u64, sequence: u64) -> (MessageId, Position) {
        let (update, sent) = produced(name, id, epoch, sequence);
        let LogUpdated { repeated, message, .. } = self.update(update).await;
        let (told, position) = message.expect("it has a message");
        assert_eq!((repeated, &told), (false, &sent), "{id} {epoch} {sequence}");
        (told, position)
    }

    /// A message of a producer that is refused.
    async fn refused(&self, name: &str, id: &str, epoch: u64, sequence: u64) -> LogRefusal {
        match self.engine.update_log(produced(name, id, epoch, sequence).0).await {
            Err(EngineError::Refused(refusal)) => refusal,
            other => panic!("{id} {epoch} {sequence} became {other:?}"),
        }
    }
}

pub(super) async fn a_producers_sequences_are_taken_once_and_in_order(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.watch([channel("a")]).await;
    assert_eq!(lab.refused("a", "p", 0, 1).await, LogRefusal::SequenceGap { expected: 0 });
    assert_eq!(lab.engine.log_status(&channel("a")).await, Ok(None), "nothing was done");
    let mut first = Vec::new();
    for sequence in 0..8 {
        first.push(lab.produce("a", "p", 3, sequence).await);
        // Others come between.
        lab.append(to_channel("a")).await;
    }
    for (sequence, sent) in first.iter().enumerate() {
        let again = lab.update(produced("a", "p", 3, sequence as u64).0).await;
        let is_remembered = sequence + PRODUCER_PLACES_MAX >= first.len();
        let place = again.message.as_ref();
        assert!(again.repeated && !again.created, "{sequence}");
        assert!(place.is_none_or(|place| place == sent) && (place.is_some() || !is_remembered), "{sequence}");
    }
    assert_eq!(lab.refused("a", "p", 3, 9).await, LogRefusal::SequenceGap { expected: 8 });
    for sequence in [0, 8, 9] {
        assert_eq!(lab.refused("a", "p", 2, sequence).await, LogRefusal::Fenced { epoch: 3 });
    }
    assert_eq!(lab.refused("a", "p", 4, 8).await, LogRefusal::SequenceGap { expected: 0 });
    lab.produce("a", "p", 3, 8).await;
    lab.produce("a", "p", 7, 0).await;
    assert_eq!(lab.refused("a", "p", 3, 9).await, LogRefusal::Fenced { epoch: 7 });
    assert_eq!(lab.refused("a", "p", 7, 2).await, LogRefusal::SequenceGap { expected: 1 });
    let last = lab.produce("a", "p", 7, 1).await;
    let page = lab.all(&channel("a")).await;
    assert_eq!(offsets(&page), (1..=19).collect::<Vec<_>>(), "what was refused or repeated is not there");
    assert_eq!(ids(&page).last(), Some(&last.0));
    assert_eq!(lab.feed.wait_for(19).await.len(), 19, "nor was it told");
}

pub(super) async fn producers_do_not_know_each_other(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.produce("a", "p", 5, 0).await;
    lab.produce("a", "p ü", 0, 0).await;
    lab.produce("a", "p", 5, 1).await;
    lab.produce("a", "p ü", 0, 1).await;
    lab.produce("b", "p", 0, 0).await;
    assert_eq!(lab.refused("b", "p", 0, 2).await, LogRefusal::SequenceGap { expected: 1 });
    assert!(lab.delete("a").await);
    lab.produce("a", "p", 1, 0).await;
    lab.produce("b", "p", 0, 1).await;
}

pub(super) async fn of_concurrent_repeats_one_is_done(bed: &dyn Bed) {
    const SEQUENCES: u64 = 12;
    const TASKS: usize = 4;
    let lab = Arc::new(Lab::open(bed).await);
    for sequence in 0..SEQUENCES {
        let send = |_| {
            let lab = Arc::clone(&lab);
            tokio::spawn(async move { lab.update(produced("a", "p", 0, sequence).0).await })
        };
        let tasks: Vec<_> = (0..TASKS).map(send).collect();
        let (mut places, mut done) = (BTreeSet::new(), 0);
        for task in tasks {
            let updated = task.await.expect("no task panics");
            done += usize::from(!updated.repeated);
            places.insert(updated.message.expect("it is not long ago").1.offset);
        }
        assert_eq!((done, places), (1, BTreeSet::from([sequence + 1])), "the sequence {sequence}");
    }
    assert_eq!(lab.all(&channel("a")).await.head, SEQUENCES);
}

pub(super) async fn a_repeat_of_the_last_change_is_answered_by_a_closed_log(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.produce("a", "p", 0, 0).await;
    let last = || {
        let (update, id) = produced("a", "p", 0, 1);
        (LogUpdate { close: true, ..update }, id)
    };
    let (update, id) = last();
    let first = lab.update(update).await;
    assert_eq!(first.message.as_ref().map(|(told, _)| told), Some(&id));
    let again = lab.update(last().0).await;
    assert_eq!(again, LogUpdated { repeated: true, ..first });
    assert_eq!(lab.refused("a", "p", 0, 2).await, LogRefusal::Closed);
    // A change that only closes has a sequence as well.
    lab.produce("b", "p", 0, 0).await;
    let only = || LogUpdate { producer: producer("p", 0, 1), ..close("b") };
    assert!(!lab.update(only()).await.repeated);
    let again = lab.update(only()).await;
    assert_eq!((again.repeated, again.closed, again.message), (true, true, None));
}

pub(super) async fn a_producer_outlives_a_clock_that_is_set(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let rules = [("a", NOON), ("b", NOON.plus_seconds(3 * PRODUCER_KEPT_S))];
    for (name, time) in rules {
        let (first, _) = produced(name, "p", 1, 0);
        lab.update(LogUpdate { time, ..first }).await;
    }
    for time in [NOON.plus_seconds(2 * PRODUCER_KEPT_S), NOON, NOON.plus_seconds(5 * PRODUCER_KEPT_S)] {
        lab.sweep(time).await;
        for name in ["a", "b"] {
            let (fenced, _) = produced(name, "p", 0, 0);
            let fenced = lab.engine.update_log(LogUpdate { time, ..fenced }).await;
            assert_eq!(fenced, Err(EngineError::Refused(LogRefusal::Fenced { epoch: 1 })), "{name} {time:?}");
        }
    }
}

pub(super) async fn a_log_remembers_a_bounded_number_of_producers(bed: &dyn Bed) {
    let lab = Arc::new(Lab::open(bed).await);
    let mut tasks = Vec::new();
    for number in 0..PRODUCERS_MAX {
        let lab = Arc::clone(&lab);
        tasks.push(tokio::spawn(async move { lab.produce("a", &number.to_string(), 0, 0).await }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert_eq!(lab.refused("a", "more", 0, 0).await, LogRefusal::TooManyProducers);
    lab.produce("a", "7", 0, 1).await;
    lab.produce("b", "more", 0, 0).await;
    assert_eq!(lab.all(&channel("a")).await.head, PRODUCERS_MAX as u64 + 1);
    let at: Time = NOON;
    assert!(lab.update(LogUpdate { time: at, ..update("a") }).await.head.offset > 0, "it is open to others");
    lab.append(to_channel("a")).await;
}
