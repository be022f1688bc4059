//! The questions of other nodes that were answered lately, so that a repeated one gets the same answer and is
//! not carried out twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use encke_engine::NodeId;
use tokio::time::Instant;

/// For how long an answer is kept: longer than a question is asked again.
const KEPT: Duration = Duration::from_secs(5);
/// The most answers that are kept; past it the oldest go first.
const ANSWERS_MAX: usize = 16_384;
/// The most bytes of them.
const BYTES_MAX: usize = 64 << 20;

/// The questions of other nodes that were answered lately: a question that is asked again, since its answer
/// may be lost, must not be carried out again.
#[derive(Debug, Default)]
pub(super) struct RecentAnswers {
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// What was answered; none while that is being found out.
    by_question: HashMap<(NodeId, u64), Option<Bytes>>,
    order: VecDeque<(Instant, (NodeId, u64))>,
    /// Of all that is kept.
    bytes: usize,
}

/// What is to be done with a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new: answer it.
    Never,
    /// It is being answered.
    Before,
    /// This was the answer.
    Answered(Bytes),
}

impl RecentAnswers {
    /// Takes note of a question.
    pub(super) fn ask(&self, from: NodeId, number: u64) -> Seen {
        let (mut answers, now) = (self.lock(), Instant::now());
        answers.forget(now);
        match answers.by_question.get(&(from, number)) {
            Some(Some(answer)) => Seen::Answered(answer.clone()),
            Some(None) => Seen::Before,
            None => {
                answers.by_question.insert((from, number), None);
                answers.order.push_back((now, (from, number)));
                Seen::Never
            }
        }
    }

    /// Takes note of its answer.
    pub(super) fn answer(&self, from: NodeId, number: u64, answer: &Bytes) {
        let mut answers = self.lock();
        if let Some(kept) = answers.by_question.get_mut(&(from, number)) {
            let former = kept.replace(answer.clone()).map_or(0, |former| former.len());
            answers.bytes = answers.bytes + answer.len() - former;
        }
        answers.forget(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn forget(&mut self, now: Instant) {
        let is_full = |answers: &Self| answers.order.len() > ANSWERS_MAX || answers.bytes > BYTES_MAX;
        while let Some((at, question)) = self.order.front().copied()
            && (now.duration_since(at) > KEPT || is_full(self))
        {
            self.order.pop_front();
            let answer = self.by_question.remove(&question).flatten();
            self.bytes -= answer.map_or(0, |answer| answer.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_is_carried_out_once() {
        let (recent_answers, node, answer) =
            (RecentAnswers::default(), NodeId::from_bits(1), Bytes::from_static(b"yes"));
        assert_eq!(recent_answers.ask(node, 7), Seen::Never);
        assert_eq!(recent_answers.ask(node, 7), Seen::Before);
        assert_eq!(recent_answers.ask(NodeId::from_bits(2), 7), Seen::Never, "numbers are each node's own");
        recent_answers.answer(node, 7, &answer);
        assert_eq!(recent_answers.ask(node, 7), Seen::Answered(answer));
        tokio::time::advance(KEPT + Duration::from_millis(1)).await;
        assert_eq!(recent_answers.ask(node, 8), Seen::Never);
        let answers = recent_answers.lock();
        assert_eq!((answers.by_question.len(), answers.order.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_node_fills_it() {
        let recent_answers = RecentAnswers::default();
        for number in 0..2 * ANSWERS_MAX as u64 {
            recent_answers.ask(NodeId::from_bits(1), number);
        }
        assert!(recent_answers.lock().by_question.len() <= ANSWERS_MAX + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nor_do_long_answers() {
        let (recent_answers, node) = (RecentAnswers::default(), NodeId::from_bits(1));
        let answer = Bytes::from(vec![0; BYTES_MAX / 4]);
        for number in 0..6 {
            recent_answers.ask(node, number);
            recent_answers.answer(node, number, &answer);
            recent_answers.answer(node, number, &answer);
        }
        assert_eq!(recent_answers.lock().bytes, BYTES_MAX);
        assert_eq!(recent_answers.ask(node, 2), Seen::Answered(answer));
        assert_eq!(recent_answers.ask(node, 1), Seen::Never, "the oldest goes first");
        tokio::time::advance(KEPT + Duration::from_millis(1)).await;
        recent_answers.ask(node, 9);
        assert_eq!(recent_answers.lock().bytes, 0);
    }
}
