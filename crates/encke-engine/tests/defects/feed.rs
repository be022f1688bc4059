//! A feed that is correct except for one planted defect: it drops, repeats, reorders or alters what it is
//! told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use encke_engine::Feed;
use encke_proto::{ChannelName, Entry, Message, UserId};

use super::Defect;

/// Hands on what it is told, but for the defect.
pub struct BrokenFeed {
    inner: Arc<dyn Feed>,
    defect: Option<Defect>,
    told: AtomicU64,
    held_back: Mutex<Option<Arc<Entry>>>,
}

impl BrokenFeed {
    pub fn new(inner: Arc<dyn Feed>, defect: Option<Defect>) -> Self {
        Self { inner, defect, told: AtomicU64::new(0), held_back: Mutex::new(None) }
    }
}

impl Feed for BrokenFeed {
    fn behind(&self, channels: &[ChannelName]) {
        self.inner.behind(channels);
    }

    fn retracted(&self, channels: &[ChannelName]) {
        if self.defect != Some(Defect::FeedMissesRetractions) {
            self.inner.retracted(channels);
        }
    }

    fn appended(&self, entries: &[Arc<Entry>]) {
        let turn = self.told.fetch_add(1, Ordering::SeqCst);
        let fifth = turn % 5 == 4;
        match self.defect {
            Some(Defect::FeedDrops) if fifth => {}
            Some(Defect::FeedDoubles) if fifth => {
                self.inner.appended(entries);
                self.inner.appended(entries);
            }
            Some(Defect::FeedReorders) => {
                // Each is told after its successor.
                let mut held = self.held_back.lock().expect("no thread panics while holding this");
                for entry in entries {
                    match held.take() {
                        None => *held = Some(Arc::clone(entry)),
                        Some(before) => self.inner.appended(&[Arc::clone(entry), before]),
                    }
                }
            }
            Some(Defect::FeedTellsFirstTarget) => self.inner.appended(&entries[..1]),
            Some(Defect::FeedTellsOther) => {
                for entry in entries {
                    let from = UserId::new("mallory").ok();
                    self.inner.appended(&[Arc::new(Entry::new(Message { from, ..entry.message().clone() }))]);
                }
            }
            _ => self.inner.appended(entries),
        }
    }
}
