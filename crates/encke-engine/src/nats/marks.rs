//! Moves receipts to delivered or shown, and with them the position that each user has. A concurrent mark by
//! another node is detected by the sequence of the subject; then the mark is tried again.

use std::collections::HashMap;

use bytes::Bytes;
use encke_proto::{Epoch, Offset, Position, UserId};

use super::{
    fault::Fault,
    link::{BATCH_MAX_MESSAGES, Put, at_once},
    marked::Marked,
    receipt::{self, Receipted},
    store::Store,
};
use crate::{Mark, PageLimit, ReadFrom, ReceiptState};

/// How many messages before the marked one a mark reaches at most. What is further back stays as it was.
const REACH_MAX_MESSAGES: u64 = 4_096;
/// How often a mark is tried when other nodes mark for the same user.
const TRIES_MAX: usize = 16;
/// The most users whose marks are written at once.
const USERS_AT_ONCE: usize = 32;

impl Store {
    /// Where a session of the user without a cursor begins.
    pub(super) async fn handed(&self, user: &UserId) -> Result<Position, Fault> {
        let subject = self.names.mark(user);
        let own = user.channel();
        let (head, stored) = tokio::try_join!(self.head(&own), self.link.last(&self.names.book, &subject))?;
        let marked =
            stored.as_ref().map(Marked::parse).transpose()?.unwrap_or_default().carried(&head.extent);
        Ok(Position { epoch: head.extent.epoch, offset: marked.handed })
    }

    /// Moves receipts forward.
    pub(super) async fn mark(&self, marks: Vec<Mark>) -> Result<(), Fault> {
        let epoch = self.epochs.sure().await?.now;
        let mut by_user: HashMap<UserId, Vec<Mark>> = HashMap::new();
        for mark in marks.into_iter().filter(|mark| mark.position.epoch == epoch) {
            by_user.entry(mark.user.clone()).or_default().push(mark);
        }
        let users = by_user.iter().map(|(user, marks)| self.mark_user(user, marks)).collect();
        at_once(USERS_AT_ONCE, users).await.into_iter().collect()
    }

    async fn mark_user(&self, user: &UserId, marks: &[Mark]) -> Result<(), Fault> {
        for mark in marks {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.mark_one(user, mark).await {
                    Err(Fault::Mismatch) if tries < TRIES_MAX => {}
                    other => break other?,
                }
            }
        }
        Ok(())
    }

    async fn mark_one(&self, user: &UserId, mark: &Mark) -> Result<(), Fault> {
        let subject = self.names.mark(user);
        let own = user.channel();
        let (head, stored) = tokio::try_join!(self.head(&own), self.link.last(&self.names.book, &subject))?;
        let marked =
            stored.as_ref().map(Marked::parse).transpose()?.unwrap_or_default().carried(&head.extent);
        // What is not there yet cannot have been handed to any session.
        let to = mark.position.offset.min(head.extent.head);
        let (place, moved) = match mark.state {
            ReceiptState::Delivered => (marked.handed, Marked { handed: to, ..marked }),
            ReceiptState::Shown => (marked.shown, Marked { shown: to, ..marked }),
            ReceiptState::Queued | ReceiptState::Expired | ReceiptState::Cancelled => return Ok(()),
        };
        if to <= place {
            return Ok(());
        }
        let from = place.max(to.saturating_sub(REACH_MAX_MESSAGES));
        let mut puts = self.receipts_between(user, &marked, from, to, mark).await?;
        let last = Put {
            subject,
            head: moved.text(),
            payload: Bytes::new(),
            expect: Some(stored.map_or(0, |stored| stored.seq)),
            ttl_s: None,
        };
        // All but the last batch may be written twice and say the same.
        while puts.len() >= BATCH_MAX_MESSAGES {
            let rest = puts.split_off(puts.len() - (BATCH_MAX_MESSAGES - 1));
            self.link.put_all(rest).await?;
        }
        puts.push(last);
        self.link.put_all(puts).await.map(|_| ())
    }

    /// The receipts behind `from` and up to `to` that the mark moves.
    async fn receipts_between(
        &self,
        user: &UserId,
        marked: &Marked,
        from: Offset,
        to: Offset,
        mark: &Mark,
    ) -> Result<Vec<Put>, Fault> {
        let own = user.channel();
        let mut puts = Vec::new();
        let write = |epoch: Epoch, offset: Offset, expires| Put {
            subject: self.names.receipt(user, epoch, offset),
            head: Receipted { state: mark.state, at: mark.at }.text(),
            payload: Bytes::new(),
            expect: None,
            ttl_s: Some(receipt::kept_s(&self.retention, mark.at, expires)),
        };
        // Of what was handed already there are records. They are found without the messages, which may be
        // gone.
        let known_to = if mark.state == ReceiptState::Shown { marked.handed.min(to) } else { from };
        if known_to > from {
            let mut places = self.places_between(user, from, known_to).await?;
            let subjects: Vec<String> = places.keys().cloned().collect();
            for (subject, stored) in self.link.lasts(&self.names.book, &subjects, true).await? {
                let delivered = Receipted::parse(&stored.head)?.state == ReceiptState::Delivered;
                if let Some((epoch, offset)) = places.remove(&subject).filter(|_| delivered) {
                    puts.push(write(epoch, offset, None));
                }
            }
        }
        // Of what was only queued there are the messages; if they are gone, their receipts have expired.
        let known_to =
            known_to.max(if mark.state == ReceiptState::Delivered { marked.shown.min(to) } else { 0 });
        let mut after = known_to;
        while after < to {
            let limit =
                PageLimit { messages: usize::try_from(to - after).unwrap_or(usize::MAX), bytes: 1 << 20 };
            let page = self.records(&own, after, limit).await?;
            let Some((_, last, _)) = page.last() else { break };
            after = *last;
            for (epoch, offset, expires) in page {
                // Who was skipped because the time was over does not become delivered by what came behind.
                if offset <= to && expires.is_none_or(|end| end > mark.at) {
                    puts.push(write(epoch, offset, expires));
                }
            }
        }
        Ok(puts)
    }

    /// The subjects of the receipts between two offsets. A receipt is named by the epoch that its message was
    /// stored in.
    async fn places_between(
        &self,
        user: &UserId,
        from: Offset,
        to: Offset,
    ) -> Result<HashMap<String, (Epoch, Offset)>, Fault> {
        let extent = self.head(&user.channel()).await?.extent;
        let mut places = HashMap::new();
        for offset in from + 1..=to {
            let epoch = stored_in(extent.epoch, &extent.forks, offset);
            places.insert(self.names.receipt(user, epoch, offset), (epoch, offset));
        }
        Ok(places)
    }

    /// Of a page of a user's log: in which epoch each message was stored, at which offset, and when it
    /// expires.
    async fn records(
        &self,
        channel: &encke_proto::ChannelName,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<(Epoch, Offset, Option<encke_proto::Time>)>, Fault> {
        let page = self.page(channel, ReadFrom::After(after), limit).await?;
        let place = |message: &encke_proto::Message| {
            let offset = message.position.offset;
            (stored_in(page.epoch, page.lineage.forks(), offset), offset, message.expires)
        };
        Ok(page.entries.iter().map(|entry| place(entry.message())).collect())
    }
}

/// In which epoch the message at an offset of a log was stored, by the log's present epoch and those that it
/// goes on from: the oldest that still holds the offset is the one in which it was given.
pub(super) fn stored_in(epoch: Epoch, forks: &[Position], offset: Offset) -> Epoch {
    let older = forks.iter().take_while(|fork| offset <= fork.offset).last();
    older.map_or(epoch, |fork| fork.epoch)
}
