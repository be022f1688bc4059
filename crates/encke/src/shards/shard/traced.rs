//! The spans of what a shard does with messages that are traced: a delivery, and the receipts of a push.

use std::collections::{HashMap, VecDeque};

use encke_hub::TracedMessage;
use encke_proto::{MessageId, Position, TraceContext, UserId};

use super::Shard;
use crate::traces::{Kind, Span, Tracer, Value, fresh_span_id, now_ns};

/// The most pushes whose receipts are waited for. Of older ones no further receipt is recorded.
const PUSHES_MAX: usize = if cfg!(test) { 4 } else { 4_096 };
/// Of how many deliveries of a broadcast a shard records a span. One for each receiver would say little more,
/// and be more than a collector takes.
const BROADCAST_MAX: u32 = 8;
/// Of how many broadcasts the deliveries are counted. Those that wait together are delivered in turns.
const BROADCASTS_MAX: usize = 64;
const NS_PER_MS: u64 = 1_000_000;

/// Pushes whose deliveries are recorded, while their receipts may come.
#[derive(Debug, Default)]
pub(super) struct TracedPushes {
    by_user: HashMap<UserId, Vec<TracedPush>>,
    /// The numbers of all that were put in, the oldest first.
    order: VecDeque<(UserId, u64)>,
    next: u64,
    /// The broadcasts that were delivered last, the oldest first, and how often each was recorded.
    broadcasts: VecDeque<(MessageId, u32)>,
}

/// A push as it was delivered to one connection.
#[derive(Clone, Debug)]
struct TracedPush {
    number: u64,
    position: Position,
    trace_id: [u8; 16],
    /// The span of its delivery.
    delivery: [u8; 8],
    /// What was known of it last, and when: the receipt that comes next begins there.
    state: &'static str,
    since_ns: u64,
}

impl TracedPushes {
    fn put(&mut self, user: UserId, push: TracedPush) {
        if self.order.len() >= PUSHES_MAX
            && let Some((oldest, number)) = self.order.pop_front()
        {
            self.remove(&oldest, |push| push.number == number);
        }
        let number = self.next;
        self.next += 1;
        self.order.push_back((user.clone(), number));
        self.by_user.entry(user).or_default().push(TracedPush { number, ..push });
    }

    fn remove(&mut self, user: &UserId, is_over: impl Fn(&TracedPush) -> bool) {
        let Some(pushes) = self.by_user.get_mut(user) else { return };
        pushes.retain(|push| !is_over(push));
        if pushes.is_empty() {
            self.by_user.remove(user);
        }
    }

    /// Those of a user for which a receipt up to a position is new, as they were before; from then on they
    /// have it. With the last receipt that there is they are forgotten.
    fn receive(
        &mut self,
        state: &'static str,
        user: &UserId,
        up_to: Position,
        now_ns: u64,
    ) -> Vec<TracedPush> {
        let reaches = |push: &TracedPush| {
            push.position.epoch == up_to.epoch && push.position.offset <= up_to.offset && push.state != state
        };
        let Some(pushes) = self.by_user.get_mut(user) else { return Vec::new() };
        let mut received = Vec::new();
        for push in pushes.iter_mut().filter(|push| reaches(push)) {
            received.push(push.clone());
            (push.state, push.since_ns) = (state, now_ns);
        }
        if state == SHOWN {
            self.remove(user, |push| push.state == SHOWN);
        }
        received
    }

    /// Whether one more delivery of a broadcast is recorded.
    fn counts(&mut self, id: &MessageId) -> bool {
        // The newest is the likeliest.
        if let Some((_, count)) = self.broadcasts.iter_mut().rev().find(|(counted, _)| counted == id) {
            let is_recorded = *count < BROADCAST_MAX;
            *count += u32::from(is_recorded);
            return is_recorded;
        }
        if self.broadcasts.len() >= BROADCASTS_MAX {
            self.broadcasts.pop_front();
        }
        self.broadcasts.push_back((id.clone(), 1));
        true
    }
}

/// The receipt behind which none comes.
const SHOWN: &str = "shown";

impl Shard {
    /// A connection was given a message that is traced.
    pub(super) fn trace_delivery(&mut self, message: TracedMessage) {
        let Some(tracer) = &self.parts.tracer else { return };
        let owner = message.channel.owner();
        if owner.is_none() && !self.traced.counts(&message.id) {
            return;
        }
        let Some(span_id) = fresh_span_id() else { return };
        let now_ns = now_ns();
        let TracedMessage { trace: TraceContext { trace_id, span_id: parent, .. }, position, .. } = message;
        tracer.record(Span {
            name: "deliver",
            kind: Kind::Producer,
            trace_id,
            span_id,
            parent: Some(parent),
            start_ns: message.time.0.saturating_mul(NS_PER_MS).min(now_ns),
            end_ns: now_ns,
            attributes: vec![
                ("messaging.system", Value::Text("encke".into())),
                ("messaging.destination.name", Value::Text(message.channel.as_str().to_owned().into())),
                ("messaging.message.id", Value::Text(message.id.to_string().into())),
                ("encke.offset", Value::Number(position.offset)),
                ("encke.transport", Value::Text(message.transport.into())),
            ],
            error: None,
        });
        if let Some(user) = owner {
            let (delivery, state, since_ns) = (span_id, "sent", now_ns);
            self.traced.put(user, TracedPush { number: 0, position, trace_id, delivery, state, since_ns });
        }
    }

    /// A receipt of a user's pushes up to a position.
    pub(super) fn trace_receipt(&mut self, state: &'static str, user: &UserId, up_to: Position) {
        let Some(tracer) = &self.parts.tracer else { return };
        let now_ns = now_ns();
        for push in self.traced.receive(state, user, up_to, now_ns) {
            record_receipt(tracer, &push, state, now_ns);
        }
    }
}

fn record_receipt(tracer: &Tracer, push: &TracedPush, state: &'static str, now_ns: u64) {
    let Some(span_id) = fresh_span_id() else { return };
    tracer.record(Span {
        name: "receipt",
        kind: Kind::Internal,
        trace_id: push.trace_id,
        span_id,
        parent: Some(push.delivery),
        start_ns: push.since_ns.min(now_ns),
        end_ns: now_ns,
        attributes: vec![
            ("encke.receipt", Value::Text(state.into())),
            ("encke.offset", Value::Number(push.position.offset)),
        ],
        error: None,
    });
}

#[cfg(test)]
mod tests {
    use encke_proto::Epoch;

    use super::*;

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(1), offset }
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn put(traced: &mut TracedPushes, name: &str, offset: u64) {
        let (position, trace_id, delivery) = (at(offset), [1; 16], [2; 8]);
        traced.put(
            user(name),
            TracedPush { number: 0, position, trace_id, delivery, state: "sent", since_ns: offset },
        );
    }

    fn offsets(pushes: &[TracedPush]) -> Vec<u64> {
        pushes.iter().map(|push| push.position.offset).collect()
    }

    #[test]
    fn each_receipt_comes_once_and_begins_where_the_one_before_ended() {
        let mut traced = TracedPushes::default();
        (1..=3).for_each(|offset| put(&mut traced, "alice", offset));
        let delivered = traced.receive("delivered", &user("alice"), at(2), 50);
        assert_eq!((offsets(&delivered), delivered[0].since_ns), (vec![1, 2], 1));
        assert!(traced.receive("delivered", &user("alice"), at(2), 60).is_empty());
        assert!(traced.receive("delivered", &user("bob"), at(2), 60).is_empty());
        let shown = traced.receive(SHOWN, &user("alice"), at(3), 70);
        assert_eq!((offsets(&shown), shown[0].since_ns, shown[2].since_ns), (vec![1, 2, 3], 50, 3));
        assert!(traced.by_user.is_empty(), "nothing comes behind that");
    }

    #[test]
    fn only_so_many_are_kept_and_the_oldest_goes() {
        let mut traced = TracedPushes::default();
        (1..=9).for_each(|offset| put(&mut traced, if offset % 2 == 0 { "alice" } else { "bob" }, offset));
        assert_eq!(traced.order.len(), PUSHES_MAX);
        let kept =
            |traced: &mut TracedPushes, name| offsets(&traced.receive("delivered", &user(name), at(9), 1));
        assert_eq!((kept(&mut traced, "alice"), kept(&mut traced, "bob")), (vec![6, 8], vec![7, 9]));
    }

    #[test]
    fn of_a_broadcast_some_deliveries_are_recorded() {
        let mut traced = TracedPushes::default();
        let mut counted = |bits| (0..100).filter(|_| traced.counts(&MessageId::from_bits(bits))).count();
        assert_eq!((counted(1), counted(2)), (BROADCAST_MAX as usize, BROADCAST_MAX as usize));
    }

    #[test]
    fn broadcasts_that_are_delivered_in_turns_are_counted_each() {
        let mut traced = TracedPushes::default();
        let ids: Vec<_> = (0..BROADCASTS_MAX as u128).map(MessageId::from_bits).collect();
        let turns = (0..100).flat_map(|_| &ids);
        let recorded = turns.filter(|id| traced.counts(id)).count();
        assert_eq!(recorded, BROADCASTS_MAX * BROADCAST_MAX as usize);
        assert!((1_000..2_000).all(|bits| traced.counts(&MessageId::from_bits(bits))));
        assert_eq!(traced.broadcasts.len(), BROADCASTS_MAX);
    }
}
