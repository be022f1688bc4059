//! Where the tests put the engines.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use encke_engine::{Engine, Feed, RetentionTable, contract::Bed, log::LogEngine, memory::MemoryEngine};
use encke_proto::Epoch;
use tempfile::TempDir;

static NEXT_EPOCH: AtomicU64 = AtomicU64::new(u64::MAX / 2);

/// An epoch that no other engine of this process has.
pub fn new_epoch() -> Epoch {
    Epoch(NEXT_EPOCH.fetch_add(1, Ordering::Relaxed))
}

/// Makes memory engines.
pub struct MemoryBed;

#[async_trait]
impl Bed for MemoryBed {
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine> {
        Arc::new(MemoryEngine::new(feed, retention, new_epoch()))
    }

    async fn reopen(
        &self,
        _: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine> {
        self.open(feed, retention).await
    }
}

/// Makes log engines, each in a directory of its own.
#[derive(Default)]
pub struct LogBed {
    dirs: Mutex<Vec<TempDir>>,
}

impl LogBed {
    pub fn new() -> Self {
        Self::default()
    }

    fn last_dir(&self) -> PathBuf {
        let dirs = self.dirs.lock().expect("no test panics while it holds this");
        dirs.last().expect("a store was opened").path().to_owned()
    }
}

#[async_trait]
impl Bed for LogBed {
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine> {
        let dir = TempDir::new().expect("there is room for a directory");
        self.dirs.lock().expect("no test panics while it holds this").push(dir);
        Arc::new(LogEngine::open(&self.last_dir(), feed, retention, new_epoch()).expect("a new store opens"))
    }

    async fn reopen(
        &self,
        _: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine> {
        Arc::new(
            LogEngine::open(&self.last_dir(), feed, retention, new_epoch()).expect("the store opens again"),
        )
    }
}
