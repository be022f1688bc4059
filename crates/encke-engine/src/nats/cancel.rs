//! Calls a push back. What is stored of it stays; each user's receipt says that it is cancelled, where a read
//! of the log looks, and a note in the log tells all nodes. A node that dies in between has not answered;
//! asked again, a node does the rest.

use std::sync::Arc;

use bytes::Bytes;
use encke_proto::{ChannelName, Entry, Message, MessageId, Time, UserId};

use super::{
    fault::Fault,
    link::{Put, at_once},
    marked::Marked,
    marks::stored_in,
    receipt::{self, Receipted},
    record::{self, Extent, Record},
    store::Store,
    targets::Target,
    writer::pause,
};
use crate::{CANCELLED, ReceiptState};

/// How many users a push is called back from at once.
const USERS_AT_ONCE: usize = 32;
/// How often a log is told when other nodes write to it.
const TRIES_MAX: usize = 64;

impl Store {
    /// Calls a push back; for how many users that was, or none when there is no such push.
    pub(super) async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, Fault> {
        // So that nothing of it comes behind the cancellation.
        self.finish(push).await?;
        let Some(mut page) = self.targets_of(push, 0).await? else { return Ok(None) };
        if !page.push || page.until <= at.0 {
            return Ok(None);
        }
        let (pages, expires) = (page.pages, page.expires());
        if expires.is_some_and(|end| end <= at) {
            return Ok(Some(0));
        }
        // What this node has trimmed has its receipts by now.
        self.trimmer.settled().await;
        let mut cancelled = 0;
        for next in 1..=pages.max(1) {
            cancelled += self.cancel_targets(page.targets, expires, at).await?;
            match if next < pages { self.targets_of(push, next).await? } else { None } {
                Some(found) => page = found,
                None => break,
            }
        }
        Ok(Some(cancelled))
    }

    async fn cancel_targets(
        &self,
        targets: Vec<Target>,
        expires: Option<Time>,
        at: Time,
    ) -> Result<usize, Fault> {
        let targets = self.without_deleted(targets).await?;
        let of_user = |target: Target| Some((target.channel.owner()?, target));
        let targets: Vec<(UserId, Target)> = targets.into_iter().filter_map(of_user).collect();
        let subjects: Vec<String> = targets.iter().map(|(user, _)| self.names.mark(user)).collect();
        let marks = self.link.lasts(&self.names.book, &subjects, true).await?;
        let mut each = Vec::new();
        for ((user, target), subject) in targets.iter().zip(&subjects) {
            let marked = marks.get(subject).map(Marked::parse).transpose()?.unwrap_or_default();
            if !marked.was_handed(target.epoch, target.offset) {
                each.push(self.cancel_one(user, target, expires, at));
            }
        }
        let mut cancelled = 0;
        for done in at_once(USERS_AT_ONCE, each).await {
            cancelled += usize::from(done?);
        }
        Ok(cancelled)
    }

    /// Whether it was still queued for the user.
    async fn cancel_one(
        &self,
        user: &UserId,
        target: &Target,
        expires: Option<Time>,
        at: Time,
    ) -> Result<bool, Fault> {
        let kept_s = receipt::kept_s(&self.retention, at, expires);
        let put = Put {
            subject: self.names.receipt(user, target.epoch, target.offset),
            head: Receipted { state: ReceiptState::Cancelled, at }.text(),
            payload: Bytes::new(),
            expect: Some(0),
            ttl_s: Some(kept_s),
        };
        let before = self.link.last(&self.names.book, &put.subject).await?;
        let state = before.map(|stored| Receipted::parse(&stored.head)).transpose()?;
        match state.map(|before| before.state) {
            None => {}
            // A node that did as much may not have come to tell of it.
            Some(ReceiptState::Cancelled) => return self.tell_cancelled(target).await.map(|()| false),
            Some(_) => return Ok(false),
        }
        self.expect_cancelled(user, at.plus_seconds(kept_s), at).await?;
        match self.link.put(put).await {
            Err(Fault::Mismatch) => return Ok(false),
            other => drop(other?),
        }
        self.tell_cancelled(target).await.map(|()| true)
    }

    /// Lets reads of the user's log look for what is cancelled, until then at least.
    async fn expect_cancelled(&self, user: &UserId, until: Time, now: Time) -> Result<(), Fault> {
        let subject = self.names.cancelled(user);
        for _ in 0..TRIES_MAX {
            let before = self.link.last(&self.names.book, &subject).await?;
            let known = before.as_ref().and_then(|stored| stored.head.parse().ok()).map_or(Time(0), Time);
            if known >= until {
                return Ok(());
            }
            let put = Put {
                subject: subject.clone(),
                head: until.0.to_string(),
                payload: Bytes::new(),
                expect: Some(before.map_or(0, |stored| stored.seq)),
                ttl_s: Some(until.0.saturating_sub(now.0).div_ceil(1_000)),
            };
            match self.link.put(put).await {
                Err(Fault::Mismatch) => pause().await,
                other => return other.map(drop),
            }
        }
        Err(Fault::Busy("other nodes cancel for the user at the same time".into()))
    }

    /// Tells all nodes that listen to the log, and those that compare its end, by a note at its end.
    async fn tell_cancelled(&self, target: &Target) -> Result<(), Fault> {
        let subject = self.names.channel(&target.channel);
        for _ in 0..TRIES_MAX {
            let Some(stored) = self.link.last(&self.names.log, &subject).await? else { return Ok(()) };
            let last = Record::parse(&stored)?;
            if last.deletes || last.extent.tail > target.offset {
                return Ok(());
            }
            let extent = last.extent.in_age(&self.epochs.sure().await?).retracted();
            let put = record::put(subject.clone(), &extent, None, Some(last.seq));
            match self.link.put(put).await {
                Err(Fault::Mismatch) => pause().await,
                other => {
                    self.epochs.seen(other?);
                    if last.said.is_none() {
                        // A note is of no use once another is behind it.
                        self.link.delete(&self.names.log, last.seq).await?;
                    }
                    return Ok(());
                }
            }
        }
        Err(Fault::Busy("its log is written to all the time".into()))
    }

    /// Entries of a log as a reader is given them: those that were cancelled have expired.
    pub(super) async fn with_cancelled(
        &self,
        channel: &ChannelName,
        extent: &Extent,
        mut entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, Fault> {
        let Some(user) = channel.owner().filter(|_| !entries.is_empty()) else { return Ok(entries) };
        if self.link.last(&self.names.book, &self.names.cancelled(&user)).await?.is_none() {
            return Ok(entries);
        }
        let subject = |entry: &Arc<Entry>| {
            let offset = entry.message().position.offset;
            self.names.receipt(&user, stored_in(extent.epoch, &extent.forks, offset), offset)
        };
        let subjects: Vec<String> = entries.iter().map(subject).collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        for (entry, subject) in entries.iter_mut().zip(&subjects) {
            let Some(stored) = found.get(subject) else { continue };
            if Receipted::parse(&stored.head)?.state == ReceiptState::Cancelled {
                let message = entry.message().clone();
                *entry = Arc::new(Entry::new(Message { expires: Some(CANCELLED), ..message }));
            }
        }
        Ok(entries)
    }
}
