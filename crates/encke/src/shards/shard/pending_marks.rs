//! What is left at the engine I/O task before the engine, and when.

use encke_hub::Receipt;

use super::Shard;
use crate::shards::EngineRequest;

/// How long pending marks of what was handed over are gathered before the engine is given them, in
/// milliseconds, and how many at most: together they cost little more than one.
const PENDING_MARKS_MS: u64 = 20;
const PENDING_MARKS_MAX: usize = 1_024;

impl Shard {
    pub(super) fn note_mark(&mut self, receipt: Receipt) {
        if self.pending_marks.is_empty() {
            self.pending_marks_due_ms = self.now.mono_ms + PENDING_MARKS_MS;
        }
        self.pending_marks.push(receipt);
        if self.pending_marks.len() >= PENDING_MARKS_MAX {
            self.write_pending_marks();
        }
    }

    pub(super) fn write_pending_marks(&mut self) {
        if !self.pending_marks.is_empty() {
            // As much comes in the next while, as a rule.
            let room = Vec::with_capacity(self.pending_marks.len());
            let receipts = std::mem::replace(&mut self.pending_marks, room);
            let _ = self.parts.engine_io.send(EngineRequest::Handed(receipts));
        }
    }

    pub(super) fn request_engine(&mut self, request_engine: EngineRequest) {
        // A session that opens a user's channel is to find what was noted of it before.
        self.write_pending_marks();
        // The engine I/O task is there as long as the engine is; without it, there is nothing left to serve.
        let _ = self.parts.engine_io.send(request_engine);
    }
}
