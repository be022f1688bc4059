//! Deletes a log: a note takes the place of all that was stored in it, and the last words on the channel and
//! its user follow. A node that dies in between has not answered; asked again, a node does the rest.

use std::{sync::PoisonError, time::Duration};

use bytes::Bytes;
use encke_proto::{ChannelName, Offset, UserId};
use tokio::time::Instant;

use super::{
    deleted::{DeleteIf, Deleted},
    fault::Fault,
    link::{DEADLINE_MS, Put},
    log::Log,
    marked::Marked,
    record::{self, Extent, Record},
    store::Store,
    stored::Stored,
    targets::Target,
    writer::{WriterTask, pause},
};

/// How often the last word on how far a user was handed is tried when other nodes write it.
const TRIES_MAX: usize = 16;

impl WriterTask {
    pub(super) async fn delete(
        &mut self,
        channel: &ChannelName,
        condition: DeleteIf,
    ) -> Result<Option<Deleted>, Fault> {
        let end = Instant::now() + Duration::from_millis(DEADLINE_MS);
        loop {
            match self.try_delete(channel, condition).await {
                Err(Fault::Mismatch | Fault::Busy(_)) if Instant::now() < end => pause().await,
                other => return other,
            }
        }
    }

    async fn try_delete(
        &mut self,
        channel: &ChannelName,
        condition: DeleteIf,
    ) -> Result<Option<Deleted>, Fault> {
        let ages = self.context.epochs.sure().await?;
        let subject = self.context.names.channel(channel);
        self.logs.remove(channel);
        let (before, last_seq) = match self.context.link.last(&self.context.names.log, &subject).await? {
            Some(stored) => {
                let last = Record::parse(&stored)?;
                let has_ended = |now| last.extent.ends().is_some_and(|end| end <= now);
                if matches!(condition, DeleteIf::Ended(now) if !has_ended(now)) {
                    return Ok(None);
                }
                if last.deletes {
                    let (floor, epoch, seq) = (last.extent.head, last.extent.epoch, last.seq);
                    return Ok(Some(Deleted { floor, epoch, seq, was_there: false }));
                }
                (last.extent.in_age(&ages), last.seq)
            }
            // Another node may remember the user as known. The note says what it would not find out.
            None if condition == DeleteIf::Known => (Extent::empty(ages.now), 0),
            None => return Ok(None),
        };
        let extent = before.deleted();
        let put = record::put_deletion(subject, &extent, last_seq);
        let seq = self.context.link.put(put).await?;
        self.context.epochs.seen(seq);
        let deleted = Deleted { floor: extent.head, epoch: extent.epoch, seq, was_there: true };
        self.logs.insert(channel.clone(), Log::found(Record { seq, extent, said: None, deletes: true }));
        Ok(Some(deleted))
    }
}

impl Store {
    /// Deletes a log with everything of it; whether there was anything.
    pub(super) async fn delete(&self, channel: &ChannelName) -> Result<bool, Fault> {
        self.delete_if(channel, DeleteIf::There).await
    }

    /// The same on a condition.
    pub(super) async fn delete_if(&self, channel: &ChannelName, condition: DeleteIf) -> Result<bool, Fault> {
        let user = channel.owner();
        // First that the user is not known: a push that comes meanwhile makes the user known again before it
        // is stored.
        let was_known = match &user {
            Some(user) => self.make_unknown(user).await?,
            None => false,
        };
        let condition = if was_known { DeleteIf::Known } else { condition };
        let Some(deleted) = self.writer.delete(channel, condition).await? else { return Ok(was_known) };
        if let Some(user) = &user {
            self.mark_deleted(user, deleted).await?;
            self.link.purge(&self.names.book, &self.names.receipts(user)).await?;
            self.link.purge(&self.names.book, &self.names.cancelled(user)).await?;
            self.link.purge_before(&self.names.log, &self.names.user_keys(user), deleted.seq).await?;
        } else {
            // Those that come behind the deletion are of a new log.
            self.link.purge_before(&self.names.log, &self.names.producers(channel), deleted.seq).await?;
        }
        self.link.purge_before(&self.names.log, &self.names.channel(channel), deleted.seq).await?;
        // Last, so that one who asks again finds out whether all of it was done, and does the rest.
        let was_left = self.raise_floor(channel, deleted.floor).await?;
        Ok(was_known || deleted.was_there || was_left)
    }

    /// Writes up to where a channel was deleted, and says whether that was not written yet.
    async fn raise_floor(&self, channel: &ChannelName, to: Offset) -> Result<bool, Fault> {
        let subject = self.names.floor(channel);
        for _ in 0..TRIES_MAX {
            let stored = self.link.last(&self.names.book, &subject).await?;
            if stored.as_ref().map(floor).transpose()?.is_some_and(|known| known >= to) {
                return Ok(false);
            }
            let put = Put {
                subject: subject.clone(),
                head: to.to_string(),
                payload: Bytes::new(),
                expect: Some(stored.map_or(0, |stored| stored.seq)),
                ttl_s: None,
            };
            match self.link.put(put).await {
                Err(Fault::Mismatch) => {}
                other => return other.map(|_| true),
            }
        }
        Err(Fault::Busy("other nodes delete the channel at the same time".into()))
    }

    async fn make_unknown(&self, user: &UserId) -> Result<bool, Fault> {
        let subject = self.names.user(user);
        let was_known = self.link.last(&self.names.book, &subject).await?.is_some();
        if was_known {
            self.link.purge(&self.names.book, &subject).await?;
        }
        self.forget_known(std::slice::from_ref(user));
        Ok(was_known)
    }

    /// These users may not be known any more.
    pub(super) fn forget_known(&self, users: &[UserId]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            known.remove(user);
        }
    }

    /// A new session of the user begins behind the deletion.
    async fn mark_deleted(&self, user: &UserId, deleted: Deleted) -> Result<(), Fault> {
        let subject = self.names.mark(user);
        let extent = self.head(&user.channel()).await?.extent;
        let begun =
            Marked { epoch: deleted.epoch, handed: deleted.floor, shown: deleted.floor }.carried(&extent);
        for _ in 0..TRIES_MAX {
            let stored = self.link.last(&self.names.book, &subject).await?;
            let marked = stored.as_ref().map(Marked::parse).transpose()?.unwrap_or_default().carried(&extent);
            let head = Marked {
                epoch: begun.epoch,
                handed: begun.handed.max(marked.handed),
                shown: begun.shown.max(marked.shown),
            };
            let put = Put {
                subject: subject.clone(),
                head: head.text(),
                payload: Bytes::new(),
                expect: Some(stored.map_or(0, |stored| stored.seq)),
                ttl_s: None,
            };
            match self.link.put(put).await {
                Err(Fault::Mismatch) => {}
                other => return other.map(drop),
            }
        }
        Err(Fault::Busy("other nodes mark for the user at the same time".into()))
    }

    /// Those of a message's targets whose logs were not deleted since.
    pub(super) async fn without_deleted(&self, targets: Vec<Target>) -> Result<Vec<Target>, Fault> {
        let subjects: Vec<String> = targets.iter().map(|target| self.names.floor(&target.channel)).collect();
        if subjects.is_empty() {
            return Ok(targets);
        }
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        if found.is_empty() {
            return Ok(targets);
        }
        let mut kept = Vec::with_capacity(targets.len());
        for (target, subject) in targets.into_iter().zip(subjects) {
            if found.get(&subject).map(floor).transpose()?.is_none_or(|floor| target.offset > floor) {
                kept.push(target);
            }
        }
        Ok(kept)
    }
}

fn floor(stored: &Stored) -> Result<Offset, Fault> {
    stored.head.parse().map_err(|_| Fault::damaged("up to where a channel was deleted is not understood"))
}
