//! The sweep: trims logs that are due, finds forgotten ones by a walk over the stream, and finishes appends
//! that were left unfinished. It also lists the public channels.

use std::{collections::HashSet, sync::PoisonError};

use encke_proto::{ChannelName, MessageId, NameFilter, Time};

use super::{
    deleted::DeleteIf,
    fault::Fault,
    link::at_once,
    record::{Record, Said},
    store::Store,
    swept::Swept,
    trimmed::Trimmed,
};
use crate::ChannelSummary;

/// The most logs that one sweep trims, and how many at once.
const LOGS_MAX: usize = 500;
const LOGS_AT_ONCE: usize = 16;
/// How many channels each further page of a listing looks at, at least.
const PAGE_MIN: usize = 1_000;
/// How many channels that match are asked at a time whether they were deleted.
const NAMES_AT_ONCE: usize = 1_000;
/// The most messages, and about the most bytes, that one sweep walks over to find logs that are due and that
/// no node remembers.
const WALK_MAX_MESSAGES: usize = 500;
const WALK_MAX_BYTES: usize = 1 << 20;
/// The most unfinished messages that one sweep looks at.
const UNFINISHED_MAX: usize = 16;

/// What a walk over a part of the stream found.
struct Found {
    /// Logs whose messages are due.
    due: Vec<ChannelName>,
    /// Logs that may have ended.
    ended: Vec<ChannelName>,
}

impl Store {
    /// Forgets some of what is too old, and finishes what was left unfinished.
    pub(super) async fn sweep(&self, now: Time) -> Result<(), Fault> {
        let mut swept = self.swept.lock().await;
        if self.streams.prepare(&self.link).await? {
            // Users who were known may be known no more.
            self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let epoch = self.epochs.sure().await?.now;
        let info = self.link.info(&self.names.log, None).await?;
        self.epochs.seen(info.last_seq);
        self.keys.told(now, epoch, info.last_seq);
        self.producers.told(now, epoch, info.last_seq);
        let due = self.expiry_index.take_due(now, LOGS_MAX);
        // What fails for one log must not keep all others from being swept.
        let mut result = self.trim_all(due, now).await;
        let found = self.walk(&mut swept, now, info.first_seq).await?;
        for channel in &found.ended {
            result = result.and(self.delete_ended(channel, now).await);
        }
        result = result.and(self.trim_all(found.due, now).await);
        result.and(self.finish_all(&mut swept).await)
    }

    async fn trim_all(&self, channels: Vec<ChannelName>, now: Time) -> Result<(), Fault> {
        let trimmed =
            at_once(LOGS_AT_ONCE, channels.iter().map(|channel| self.writer.trim(channel, now)).collect())
                .await;
        let mut result = Ok(());
        for (channel, one) in channels.iter().zip(trimmed) {
            match self.trimmed(channel, one, now).await {
                Ok(()) => {}
                // What is damaged would be due in every sweep.
                Err(Fault::Damaged(what)) => tracing::error!(%channel, what, "a log cannot be swept"),
                Err(fault) => {
                    self.expiry_index.note(channel, now);
                    result = Err(fault);
                }
            }
        }
        result
    }

    /// Does what follows from the trimming of a log.
    async fn trimmed(
        &self,
        channel: &ChannelName,
        trimmed: Result<Trimmed, Fault>,
        now: Time,
    ) -> Result<(), Fault> {
        match trimmed? {
            Trimmed::Due(Some(due)) => self.expiry_index.note(channel, due),
            Trimmed::Due(None) => {
                if let Some(user) = channel.owner() {
                    self.forget_unseen(&user, now).await?;
                }
            }
            Trimmed::Ended => self.delete_ended(channel, now).await?,
        }
        Ok(())
    }

    /// Deletes a log whose time is over.
    async fn delete_ended(&self, channel: &ChannelName, now: Time) -> Result<(), Fault> {
        let deleted = self.delete_if(channel, DeleteIf::Ended(now)).await;
        if deleted.is_err() {
            self.expiry_index.note(channel, now);
        }
        deleted.map(drop)
    }

    /// Walks on through the stream, round and round, and finds logs whose messages are due, or that have
    /// ended as far as some message of them tells.
    async fn walk(&self, swept: &mut Swept, now: Time, first_seq: u64) -> Result<Found, Fault> {
        let from = swept.walked_to.max(first_seq);
        let page = self
            .link
            .next(&self.names.log, &self.names.all_channels(), from, WALK_MAX_MESSAGES, WALK_MAX_BYTES)
            .await?;
        swept.walked_to = page.last().map_or(0, |last| last.seq + 1);
        let (mut due, mut ended) = (HashSet::new(), HashSet::new());
        for stored in &page {
            let Some(channel) = self.names.channel_of(&stored.subject) else { continue };
            let Ok(record) = Record::parse(stored) else { continue };
            let is_due = |said: &Said| self.retention.of(&channel).due(said.time, said.expires) <= now;
            if record.extent.ends().is_some_and(|end| end <= now) {
                ended.insert(channel);
            } else if record.said.as_ref().is_some_and(is_due) {
                due.insert(channel);
            }
        }
        let some = |found: HashSet<ChannelName>| found.into_iter().take(LOGS_MAX).collect();
        Ok(Found { due: some(due), ended: some(ended) })
    }

    async fn finish_all(&self, swept: &mut Swept) -> Result<(), Fault> {
        let found =
            self.link.next(&self.names.log, &self.names.intents(), 0, UNFINISHED_MAX, WALK_MAX_BYTES).await?;
        let id = |subject: &str| subject.rsplit('.').nth(1)?.parse::<MessageId>().ok();
        let unfinished: HashSet<MessageId> = found.iter().filter_map(|stored| id(&stored.subject)).collect();
        for id in unfinished.intersection(&swept.unfinished) {
            self.finish(id).await?;
        }
        swept.unfinished = unfinished;
        Ok(())
    }

    /// The public channels that have a log, by name, behind `after`.
    pub(super) async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, Fault> {
        self.epochs.sure().await?;
        let mut after = after.map(|channel| self.names.channel(channel));
        let (mut summaries, mut least) = (Vec::new(), 0);
        loop {
            let wanted = (limit - summaries.len()).max(least);
            // Each page lists all names of the stream, so where many were deleted there are few pages.
            least = PAGE_MIN;
            let filter = self.names.public_channels();
            let subjects = self.link.subjects(&self.names.log, &filter, after.as_deref(), wanted).await?;
            let is_last = subjects.len() < wanted;
            after = subjects.last().cloned().or(after);
            self.summarize(subjects, &mut summaries).await?;
            // Of deleted channels there are notes, in whose place others come.
            if is_last || summaries.len() >= limit {
                summaries.truncate(limit);
                return Ok(summaries);
            }
        }
    }

    /// The names of the public channels that have a log and match, behind `after`.
    pub(super) async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, Fault> {
        self.epochs.sure().await?;
        let after = after.map(|channel| self.names.channel(channel));
        let all = self.names.public_channels();
        let mut subjects = self.link.subjects(&self.names.log, &all, after.as_deref(), usize::MAX).await?;
        let is_asked_for = |subject: &String| {
            self.names.channel_of(subject).is_some_and(|channel| filter.matches(channel.as_str()))
        };
        subjects.retain(is_asked_for);
        let mut names = Vec::new();
        for some in subjects.chunks(NAMES_AT_ONCE) {
            let mut found = self.link.lasts(&self.names.log, some, true).await?;
            for subject in some {
                // Of deleted channels there are notes.
                if let Some(stored) = found.remove(subject)
                    && !Record::parse(&stored)?.deletes
                {
                    names.extend(self.names.channel_of(subject));
                }
            }
            if names.len() >= limit {
                break;
            }
        }
        names.truncate(limit);
        Ok(names)
    }

    async fn summarize(
        &self,
        subjects: Vec<String>,
        summaries: &mut Vec<ChannelSummary>,
    ) -> Result<(), Fault> {
        let mut found = self.link.lasts(&self.names.log, &subjects, true).await?;
        for subject in subjects {
            let (Some(channel), Some(stored)) = (self.names.channel_of(&subject), found.remove(&subject))
            else {
                continue;
            };
            let last = Record::parse(&stored)?;
            if last.deletes {
                continue;
            }
            let extent = self.head_of(last).await?.extent;
            summaries.push(ChannelSummary {
                channel,
                epoch: extent.epoch,
                tail: extent.tail,
                head: extent.head,
            });
        }
        Ok(())
    }
}
