//! Opens memory engines with one planted defect. Defects in the retention and in the epoch of a reopened
//! engine are planted here; all others in `engine.rs` and `feed.rs`.

use std::sync::Arc;

use async_trait::async_trait;
use encke_engine::{
    Engine, Feed, PageLimit, ReadFrom, Retention, RetentionTable, contract::Bed, memory::MemoryEngine,
};
use encke_proto::ChannelName;

use super::{Defect, engine::BrokenEngine, feed::BrokenFeed};
use crate::beds::MemoryBed;

/// Makes engines with a defect.
pub struct BrokenBed {
    pub inner: MemoryBed,
    pub defect: Option<Defect>,
}

impl BrokenBed {
    fn retention(&self, table: RetentionTable) -> RetentionTable {
        let change = |by: fn(u64) -> u64| {
            move |rule: Retention| Retention {
                max_messages: by(rule.max_messages),
                max_bytes: by(rule.max_bytes),
                max_age_s: rule.max_age_s,
            }
        };
        let all = |change: &dyn Fn(Retention) -> Retention| RetentionTable {
            rules: table.rules.iter().map(|(pattern, rule)| (pattern.clone(), change(*rule))).collect(),
            public: change(table.public),
            own: change(table.own),
        };
        match self.defect {
            Some(Defect::KeepsTooMuch) => all(&change(|value| value * 2)),
            Some(Defect::KeepsTooLittle) => all(&change(|value| value / 2)),
            Some(Defect::IgnoresRules) => RetentionTable { rules: Vec::new(), ..table },
            _ => table,
        }
    }

    fn wrap(&self, inner: Arc<dyn Engine>) -> Arc<dyn Engine> {
        Arc::new(BrokenEngine::new(inner, self.defect))
    }
}

#[async_trait]
impl Bed for BrokenBed {
    async fn open(&self, feed: Arc<dyn Feed>, retention: RetentionTable) -> Arc<dyn Engine> {
        let feed = Arc::new(BrokenFeed::new(feed, self.defect));
        self.wrap(self.inner.open(feed, self.retention(retention)).await)
    }

    async fn reopen(
        &self,
        engine: Arc<dyn Engine>,
        feed: Arc<dyn Feed>,
        retention: RetentionTable,
    ) -> Arc<dyn Engine> {
        if self.defect != Some(Defect::KeepsEpochWithoutLog) {
            return self.open(feed, retention).await;
        }
        let name = ChannelName::public("any").expect("this is a name");
        // The stopped engine still tells its epoch to this defect.
        let limit = PageLimit { messages: 1, bytes: 1 };
        let epoch =
            engine.read(&name, ReadFrom::Head, limit).await.expect("this defect reads after the stop").epoch;
        self.wrap(Arc::new(MemoryEngine::new(feed, retention, epoch)))
    }
}
