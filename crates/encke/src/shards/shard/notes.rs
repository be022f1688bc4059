//! What is left at the desk before the engine, and when.

use super::Shard;
use crate::shards::Wish;

/// How long notes of what was handed over are gathered before the engine is given them, in milliseconds, and
/// how many at most: together they cost little more than one.
const NOTES_MS: u64 = 20;
const NOTES_MAX: usize = 1_024;

impl Shard {
    pub(super) fn note(&mut self, note: Wish) {
        if self.notes.is_empty() {
            self.notes_due_ms = self.now.mono_ms + NOTES_MS;
        }
        self.notes.push(note);
        if self.notes.len() >= NOTES_MAX {
            self.hand_in_notes();
        }
    }

    pub(super) fn hand_in_notes(&mut self) {
        for note in self.notes.drain(..) {
            let _ = self.parts.desk.send(note);
        }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        // Whoever opens a user's channel is to find what was noted of it before.
        self.hand_in_notes();
        // The desk is there as long as the engine is; without it, there is nothing left to serve.
        let _ = self.parts.desk.send(wish);
    }
}
