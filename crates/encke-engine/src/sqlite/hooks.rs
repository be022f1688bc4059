//! Fault injection for tests: commits that fail and a database that is full. Nothing is switched on by
//! default.

use std::sync::atomic::{AtomicU32, Ordering};

use super::fault::Fault;

/// Faults that a test can switch on, since real disks do not fail on demand.
#[derive(Debug, Default)]
pub struct Hooks {
    fail_before_commit: AtomicU32,
    fail_after_commit: AtomicU32,
    max_pages: AtomicU32,
}

impl Hooks {
    /// The next `times` commits fail before anything was written.
    pub fn fail_before_commit(&self, times: u32) {
        self.fail_before_commit.store(times, Ordering::SeqCst);
    }

    /// The next `times` commits are done but reported as failed, as a disk does that loses the answer.
    pub fn fail_after_commit(&self, times: u32) {
        self.fail_after_commit.store(times, Ordering::SeqCst);
    }

    /// The database may not grow over this many pages from the next batch on; 0 for no such limit.
    pub fn limit_pages(&self, pages: u32) {
        self.max_pages.store(pages, Ordering::SeqCst);
    }

    pub(super) fn before_commit(&self) -> Result<(), Fault> {
        fail(&self.fail_before_commit)
    }

    pub(super) fn after_commit(&self) -> Result<(), Fault> {
        fail(&self.fail_after_commit)
    }

    pub(super) fn max_pages(&self) -> u32 {
        self.max_pages.load(Ordering::SeqCst)
    }
}

fn fail(counter: &AtomicU32) -> Result<(), Fault> {
    let counted = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    counted.map_or(Ok(()), |_| Err(Fault::Broken("a test lets this commit fail".into())))
}
