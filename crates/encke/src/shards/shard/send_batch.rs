//! Connections that are written to together: their transports write one after the other into one buffer, and
//! one call of the kernel sends each its part.

use std::{io, ops::Range, os::fd::AsFd};

use encke_batch::{BATCH_MAX, Batch};
use encke_hub::{Key, Slab};

use super::{Shard, conn_key};
use crate::{
    shards::{Slot, State},
    transports::{HoldKind, NextAction},
};

/// Up to how many sends are made one by one, since a batch would cost as much.
const FEW: usize = 2;
/// How much is gathered before it is sent, in bytes. One connection writes little more than a transport's own
/// bound at a time.
const SLICE_MAX_BYTES: usize = 256 * 1024;

/// What was written and is to be sent.
#[derive(Debug, Default)]
pub(super) struct SendBatch {
    parts: Vec<Part>,
    bytes: Vec<u8>,
    results: Vec<io::Result<usize>>,
    ring: Ring,
}

/// The part of one connection.
#[derive(Debug)]
struct Part {
    key: Key,
    bytes: Range<usize>,
    after: NextAction,
    /// Whether it was served as one of a broadcast.
    broadcast: bool,
    /// Whether nothing comes after it once all of it is sent. It need not be looked at again then.
    settled: bool,
    /// What came of it in a batch.
    result: Option<io::Result<usize>>,
}

/// The kernel's means to send much at once.
#[derive(Debug, Default)]
enum Ring {
    /// Made by the thread that uses it, when it first does.
    #[default]
    Unmade,
    Made(Box<Batch>),
    /// The kernel has none for this process, or it was switched off.
    None,
}

impl SendBatch {
    /// Nothing is written. With `batched`, what is comes to many sockets by one call, where the kernel has
    /// that.
    pub(super) fn new(batched: bool) -> Self {
        Self { ring: if batched { Ring::Unmade } else { Ring::None }, ..Self::default() }
    }

    fn is_full(&self) -> bool {
        self.parts.len() >= BATCH_MAX || self.bytes.len() >= SLICE_MAX_BYTES
    }

    /// Sends by one call what goes to sockets, and keeps what came of each.
    fn send_batch(&mut self, slots: &Slab<Slot>) {
        self.make_ring();
        let Self { parts, bytes, results, ring } = self;
        let Ring::Made(batch) = ring else { return };
        let socket = |part: &Part| {
            let socket = slots.get(part.key)?.sink.socket()?;
            (!part.bytes.is_empty()).then(|| socket.as_fd())
        };
        let sendings = parts.iter().filter_map(|part| Some((socket(part)?, &bytes[part.bytes.clone()])));
        let failed = batch
            .send(sendings, results)
            .inspect_err(|error| tracing::error!(%error, "a batch of sends failed"))
            .is_err();
        let mut results = results.drain(..);
        for part in parts {
            if socket(part).is_some() {
                // What may have been sent is not sent again: its client comes back, and goes on where it was.
                part.result =
                    results.next().or_else(|| failed.then(|| Err(io::ErrorKind::BrokenPipe.into())));
            }
        }
        if failed {
            *ring = Ring::None;
        }
    }

    /// Makes the ring, if that was not tried before.
    pub(super) fn make_ring(&mut self) {
        if matches!(self.ring, Ring::Unmade) {
            self.ring = Batch::new().map_or_else(
                |error| {
                    tracing::info!(%error, "there is no io_uring here; sends are made one by one");
                    Ring::None
                },
                |batch| Ring::Made(Box::new(batch)),
            );
        }
    }
}

impl Shard {
    /// Serves a connection that has something to pull, as far as to write what it is to be sent.
    pub(super) fn serve(&mut self, key: Key, broadcast: bool) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let State::Waits(service) = &mut slot.state else { return };
        *(if broadcast { &mut service.queued.broadcast } else { &mut service.queued.targeted }) = false;
        if slot.unsent.is_some() || !service.ready {
            return;
        }
        service.ready = false;
        if broadcast {
            self.scheduler.sent_broadcast(&mut service.queued);
        }
        // Borrowed from the shard while the transport writes.
        let mut bytes = std::mem::take(&mut self.send_batch.bytes);
        let start = bytes.len();
        let after = self.act(key, &mut bytes, |service, context| service.ready(context));
        let sealed = self.slots.get_mut(key).map(|slot| slot.seal(&mut bytes, start));
        if matches!(sealed, Some(Err(_))) {
            bytes.truncate(start);
            self.send_batch.bytes = bytes;
            return self.free(key);
        }
        let bytes_of = start..bytes.len();
        self.written_bytes += bytes_of.len() as u64;
        self.send_batch.bytes = bytes;
        let Some(after) = after else { return };
        let settled = after == NextAction::Wait && self.settle(key);
        self.send_batch.parts.push(Part { key, bytes: bytes_of, after, broadcast, settled, result: None });
        if self.send_batch.is_full() {
            self.send_gathered();
        }
    }

    /// Does what comes after a write to one who goes on to wait, as far as it can be done before. True when
    /// that is all.
    fn settle(&mut self, key: Key) -> bool {
        let Some(slot) = self.slots.get_mut(key) else { return false };
        let State::Waits(service) = &slot.state else { return false };
        if service.transport.hold_kind() != HoldKind::Stream {
            return false;
        }
        slot.deadline_ms = self.now.mono_ms + service.silence_ms(self.parts.timeouts.heartbeat_ms, self.now);
        slot.look_in_time(&mut self.wheel, key);
        !self.hub.owes(conn_key(key))
    }

    /// Sends what was written for the slots that were served, and does what comes after it.
    pub(super) fn send_gathered(&mut self) {
        if self.send_batch.parts.is_empty() {
            return;
        }
        // Borrowed from the shard, which meanwhile may read and answer what a client has asked next.
        let mut send_batch = std::mem::take(&mut self.send_batch);
        if send_batch.parts.len() > FEW {
            send_batch.send_batch(&self.slots);
        }
        for part in send_batch.parts.drain(..) {
            self.send_part(part, &send_batch.bytes);
        }
        send_batch.bytes.clear();
        self.send_batch = send_batch;
    }

    fn send_part(&mut self, part: Part, bytes: &[u8]) {
        let Part { key, after, broadcast, .. } = part;
        let bytes = &bytes[part.bytes];
        let taken = match part.result {
            Some(Ok(count)) => count,
            None => 0,
            // What was not taken now is offered once more, one by one.
            Some(Err(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
            {
                0
            }
            Some(Err(_)) => {
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.unwrote(bytes.len());
                }
                return self.free(key);
            }
        };
        if part.settled && taken == bytes.len() {
            return self.has_drained(key);
        }
        self.send_rest(key, after, bytes, taken);
        if after == NextAction::More
            && let Some(Slot { state: State::Waits(service), .. }) = self.slots.get_mut(key)
        {
            service.ready = true;
            self.scheduler.put_back(key, &mut service.queued, broadcast);
        }
        self.has_drained(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_full_by_its_parts_or_its_bytes() {
        let key = Key { index: 0, generation: 0 };
        let part = |bytes| Part {
            key,
            bytes,
            after: NextAction::Wait,
            broadcast: false,
            settled: false,
            result: None,
        };
        let mut send_batch = SendBatch::new(true);
        send_batch.parts.extend((0..BATCH_MAX - 1).map(|_| part(0..0)));
        assert!(!send_batch.is_full());
        send_batch.parts.push(part(0..0));
        assert!(send_batch.is_full());
        let send_batch = SendBatch { bytes: vec![0; SLICE_MAX_BYTES], ..SendBatch::new(true) };
        assert!(send_batch.is_full());
    }
}
