//! The epoch that all logs of a site are told in, and how it is found out that it must change.
//!
//! It stands in a message of the logs' own stream. A stream that was deleted or purged has lost it with all
//! else, so whatever begins there begins with another one. A stream that was put back (a restored snapshot, a
//! disk that lost its last writes) still has it, but its sequence is behind what this node has seen.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use encke_proto::{Epoch, Lineage};

use super::{
    fault::Fault,
    link::{Link, Put, random},
    names::Names,
    stored::Stored,
    streams::Streams,
};

/// How many bits of an epoch are chance; above them are seconds since 1970, so that a later epoch is a higher
/// number.
const CHANCE_BITS: u32 = 16;
/// How often two nodes that make an epoch at the same time try to agree.
const TRIES_MAX: usize = 8;

/// The present epoch, and those before it since the stream was last empty, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ages {
    pub(super) now: Epoch,
    pub(super) before: Vec<Epoch>,
}

impl Ages {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut epochs = std::str::from_utf8(text).ok()?.split(' ').map(str::parse);
        let now = epochs.next()?.ok()?;
        Some(Self { now, before: epochs.collect::<Result<_, _>>().ok()? })
    }

    fn text(&self) -> String {
        let mut text = self.now.to_string();
        for epoch in &self.before {
            text.push(' ');
            text.push_str(&epoch.to_string());
        }
        text
    }

    /// A new epoch behind these.
    fn next(&self) -> Result<Self, Fault> {
        let mut before = vec![self.now];
        before.extend(&self.before);
        before.truncate(Lineage::MAX);
        Ok(Self { now: fresh(self.now)?, before })
    }
}

/// What this node knows of the epoch.
pub(super) struct Epochs {
    link: Arc<Link>,
    names: Names,
    streams: Streams,
    ages: Mutex<Ages>,
    /// The highest sequence of the logs' stream that this node has seen.
    seen: AtomicU64,
    /// The number of the connection's breaks at the last look.
    looked: AtomicU64,
    look: tokio::sync::Mutex<()>,
}

impl Epochs {
    pub(super) async fn open(link: Arc<Link>, names: Names, streams: Streams) -> Result<Self, Fault> {
        let epochs = Self {
            link,
            names,
            streams,
            ages: Mutex::new(Ages { now: Epoch(0), before: Vec::new() }),
            seen: AtomicU64::new(0),
            looked: AtomicU64::new(u64::MAX),
            look: tokio::sync::Mutex::new(()),
        };
        epochs.sure().await?;
        Ok(epochs)
    }

    /// The epoch, as it was at the last look.
    pub(super) fn now(&self) -> Epoch {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    /// The same, with those before it.
    pub(super) fn ages(&self) -> Ages {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is the epoch that this node knows.
    pub(super) fn is_told_by(&self, stored: &Stored) -> bool {
        Ages::parse(&stored.payload).is_some_and(|told| told.now == self.now())
    }

    /// This sequence was seen in the logs' stream.
    pub(super) fn seen(&self, seq: u64) {
        self.seen.fetch_max(seq, Ordering::SeqCst);
    }

    /// The highest sequence that was seen.
    pub(super) fn highest(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// The epoch, after a look if the connection was broken since the last one: whatever was lost, was lost
    /// then.
    pub(super) async fn sure(&self) -> Result<Ages, Fault> {
        if self.looked.load(Ordering::SeqCst) != self.link.breaks() {
            self.look().await?;
        }
        Ok(self.ages())
    }

    /// Looks whether the stream is still the one that was known, and says whether the epoch is another one
    /// now.
    pub(super) async fn look(&self) -> Result<bool, Fault> {
        let _alone = self.look.lock().await;
        let breaks = self.link.breaks();
        let before = self.now();
        for _ in 0..TRIES_MAX {
            match self.try_look().await {
                Err(Fault::Mismatch) => {}
                Err(Fault::NoStream) => _ = self.streams.prepare(&self.link).await?,
                Err(fault) => return Err(fault),
                Ok(ages) => {
                    let epoch = ages.now;
                    *self.ages.lock().unwrap_or_else(PoisonError::into_inner) = ages;
                    self.looked.store(breaks, Ordering::SeqCst);
                    if epoch != before && before.0 != 0 {
                        tracing::warn!(%before, %epoch, "the logs go on in another epoch");
                    }
                    return Ok(epoch != before);
                }
            }
        }
        Err(Fault::Busy("other nodes make the epoch at the same time".into()))
    }

    async fn try_look(&self) -> Result<Ages, Fault> {
        let seen = self.highest();
        let info = self.link.info(&self.names.log, None).await?;
        let Some(stored) = self.link.last(&self.names.log, &self.names.epoch()).await? else {
            let fresh = Ages { now: fresh(self.now())?, before: Vec::new() };
            self.forget(self.write(&fresh, 0).await?);
            return Ok(fresh);
        };
        let ages = Ages::parse(&stored.payload).ok_or_else(|| Fault::damaged("the epoch is not one"))?;
        if ages.now != self.now() {
            // Another node made it, and has taken whatever is missing into account.
            self.forget(info.last_seq);
            return Ok(ages);
        }
        if info.last_seq >= seen {
            self.seen(info.last_seq);
            return Ok(ages);
        }
        // A leader that was deposed and does not know it may say so too. What is written goes through the
        // true one, and tells.
        let written = self.write(&ages, stored.seq).await?;
        if written > seen {
            self.seen(written);
            return Ok(ages);
        }
        let next = ages.next()?;
        self.forget(self.write(&next, written).await?);
        Ok(next)
    }

    async fn write(&self, ages: &Ages, expect: u64) -> Result<u64, Fault> {
        let payload = Bytes::from(ages.text());
        self.link
            .put(Put {
                subject: self.names.epoch(),
                head: String::new(),
                payload,
                expect: Some(expect),
                ttl_s: None,
            })
            .await
    }

    /// What was seen before was of another stream.
    fn forget(&self, seq: u64) {
        self.seen.store(seq, Ordering::SeqCst);
    }
}

/// An epoch that is later than `before` and than all that were made before this second.
fn fresh(before: Epoch) -> Result<Epoch, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let chance = random()? & ((1 << CHANCE_BITS) - 1);
    Ok(Epoch((now << CHANCE_BITS | chance).max(before.0 + 1)))
}
