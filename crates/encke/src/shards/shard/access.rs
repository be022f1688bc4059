//! What the access log has to say of connections that wait, at their end. Nothing is kept of any as long as
//! there is none.

use std::{collections::HashMap, time::Duration};

use encke_hub::Key;
use encke_proto::{CloseCode, ErrorCode, IntHashState};

use super::Shard;
use crate::{
    access_log::{Access, AccessLog, Subject},
    transports::Transport,
};

/// The connections that wait, and what is to be said of them. Bounded by the slots.
#[derive(Debug, Default)]
pub(super) struct HeldAccess(HashMap<Key, Held, IntHashState>);

/// One that waits.
#[derive(Debug)]
struct Held {
    who: Box<str>,
    transport: &'static str,
    status: u16,
    end: Option<&'static str>,
    began_ms: u64,
    /// How much had been written for its socket before.
    written: u32,
}

impl Shard {
    fn access_log(&self) -> Option<&AccessLog> {
        self.parts.access_log.as_ref().filter(|log| log.is_on())
    }

    /// A user begins to wait, or an operator who is known by a key's name.
    pub(super) fn begin_access(&mut self, key: Key, who: &str, transport: &'static dyn Transport) {
        // A connection that is now another user's, or waits anew.
        self.end_access(key);
        if self.access_log().is_none() {
            return;
        }
        let written = self.slots.get(key).map_or(0, |slot| slot.written);
        let (status, began_ms) = (if transport.is_duplex() { 101 } else { 200 }, self.now.mono_ms);
        let transport = transport.name();
        let held = Held { who: who.into(), transport, status, end: None, began_ms, written };
        self.access.0.insert(key, held);
    }

    /// The session of one was ended.
    pub(super) fn note_close(&mut self, key: Key, code: CloseCode) {
        if let Some(held) = self.access.0.get_mut(&key) {
            held.end = Some(code.as_str());
        }
    }

    /// One is refused after all.
    pub(super) fn note_refusal(&mut self, key: Key, code: ErrorCode) {
        if let Some(held) = self.access.0.get_mut(&key) {
            (held.status, held.end) = (code.status(), Some(code.as_str()));
        }
    }

    /// One waits no longer: it is answered, or gone.
    pub(super) fn end_access(&mut self, key: Key) {
        if self.access.0.is_empty() {
            return;
        }
        let Some(held) = self.access.0.remove(&key) else { return };
        let (Some(log), Some(slot)) = (self.access_log(), self.slots.get(key)) else { return };
        log.write(&Access {
            time: self.now.wall,
            client: slot.sink.peer(),
            who: Some(&held.who),
            what: Subject::Held(held.transport, held.end),
            status: held.status,
            bytes: Some(u64::from(slot.written.wrapping_sub(held.written))),
            took: Duration::from_millis(self.now.mono_ms.saturating_sub(held.began_ms)),
        });
    }
}
