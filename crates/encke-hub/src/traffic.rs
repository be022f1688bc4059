//! What a hub has done since it began, in numbers. It counts for itself alone; who wants to know asks.

use encke_proto::{CloseCode, GapReason, Histogram};

/// The most transports that are told apart; those beyond count as the last.
const TRANSPORTS_MAX: usize = 256;

/// What went through a hub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// By transport, in the order in which they first came.
    pub transports: Vec<TransportTraffic>,
    /// How many connections the hub has ended, by the code that they were told.
    pub closed: Vec<(CloseCode, u64)>,
    /// How many gaps receivers were told of, by their reason.
    pub gaps: Vec<(GapReason, u64)>,
    /// How old messages were when a connection was handed them, in milliseconds. Those that were read from
    /// the engine for a receiver who was away are left out: they are as old as it was away.
    pub delivered_ms: Histogram,
    /// How long it took from when the client's side had acknowledged a push until the client said that it was
    /// shown, in milliseconds.
    pub shown_ms: Histogram,
}

/// What went over one transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportTraffic {
    /// What the driver calls it.
    pub name: &'static str,
    /// Connections that serve a session now.
    pub connections: u64,
    /// Connections that have begun to.
    pub opened: u64,
    /// Messages that connections were handed.
    pub delivered: u64,
}

impl Traffic {
    /// The number of a transport. The driver has a handful of them.
    pub(crate) fn number(&mut self, name: &'static str) -> u8 {
        let known = self.transports.iter().position(|known| known.name == name);
        let number = known.unwrap_or_else(|| {
            if self.transports.len() < TRANSPORTS_MAX {
                self.transports.push(TransportTraffic { name, ..TransportTraffic::default() });
            }
            self.transports.len() - 1
        });
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    /// What is counted of a transport.
    pub(crate) fn of(&mut self, number: u8) -> Option<&mut TransportTraffic> {
        self.transports.get_mut(usize::from(number))
    }

    pub(crate) fn connected(&mut self, number: u8) {
        self.of(number).into_iter().for_each(|transport| transport.connections += 1);
    }

    pub(crate) fn disconnected(&mut self, number: u8) {
        // It was counted when it connected.
        self.of(number).into_iter().for_each(|transport| transport.connections -= 1);
    }

    pub(crate) fn ended(&mut self, code: CloseCode) {
        *entry(&mut self.closed, code) += 1;
    }

    pub(crate) fn gap(&mut self, reason: GapReason) {
        *entry(&mut self.gaps, reason) += 1;
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for more in &other.transports {
            let number = self.number(more.name);
            if let Some(transport) = self.of(number) {
                transport.connections += more.connections;
                transport.opened += more.opened;
                transport.delivered += more.delivered;
            }
        }
        other.closed.iter().for_each(|(code, count)| *entry(&mut self.closed, *code) += count);
        other.gaps.iter().for_each(|(reason, count)| *entry(&mut self.gaps, *reason) += count);
        self.delivered_ms.add(&other.delivered_ms);
        self.shown_ms.add(&other.shown_ms);
        self
    }

    /// How many messages connections were handed, on whatever transport.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.transports.iter().map(|transport| transport.delivered).sum()
    }
}

/// The count of a code, of which there are a handful.
fn entry<K: PartialEq>(counts: &mut Vec<(K, u64)>, key: K) -> &mut u64 {
    let place = counts.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        counts.push((key, 0));
        counts.len() - 1
    });
    &mut counts[place].1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_make_one_by_their_names() {
        let mut one = Traffic::default();
        let (sse, ws) = (one.number("sse"), one.number("ws"));
        assert_eq!((sse, ws, one.number("sse")), (0, 1, 0));
        one.connected(ws);
        one.ended(CloseCode::Slow);
        let mut other = Traffic::default();
        let ws = other.number("ws");
        (0..2).for_each(|_| other.connected(ws));
        other.disconnected(ws);
        other.of(ws).unwrap().delivered = 7;
        other.ended(CloseCode::Slow);
        other.ended(CloseCode::Client);
        other.gap(GapReason::Epoch);
        other.delivered_ms.record(5);
        other.shown_ms.record(6);
        let both = one.plus(&other);
        assert_eq!(both.transports.iter().map(|transport| transport.connections).sum::<u64>(), 2);
        assert_eq!((both.delivered(), both.transports.len()), (7, 2));
        assert_eq!(both.closed, [(CloseCode::Slow, 2), (CloseCode::Client, 1)]);
        assert_eq!(
            (both.gaps.as_slice(), both.delivered_ms.count(), both.shown_ms.count()),
            (&[(GapReason::Epoch, 1)][..], 1, 1)
        );
    }

    #[test]
    fn more_transports_than_can_be_told_apart_share_the_last_number() {
        let mut traffic = Traffic::default();
        for number in 0..300 {
            traffic.number(Box::leak(format!("transport {number}").into_boxed_str()));
        }
        assert_eq!((traffic.transports.len(), traffic.number("another")), (256, 255));
    }
}
