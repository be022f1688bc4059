//! Takes out of the streams what logs do not keep any more. A log says in its last message where it begins,
//! so no caller has to wait for this, and whatever it does not come to is found later.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use encke_proto::{ChannelName, UserId};
use tokio::sync::{mpsc, oneshot};

use super::{
    fault::Fault,
    link::{ASKED_MAX, Link, Put, at_once},
    log::Dropped,
    marked::Marked,
    names::Names,
    receipt::{self, Receipted},
};
use crate::{ReceiptState, RetentionTable};

/// The most groups of messages that wait to be taken out.
const WAITING_MAX: usize = 4_096;
/// The most that are taken out at once.
const GROUP_MAX_MESSAGES: usize = 1_000;

enum Job {
    Drop(Vec<Dropped>),
    Tell(oneshot::Sender<()>),
}

/// The way to the task that takes out.
#[derive(Clone)]
pub(super) struct Trimmer(mpsc::Sender<Job>);

impl Trimmer {
    pub(super) fn start(link: Arc<Link>, names: Names, retention: Arc<RetentionTable>) -> Self {
        let (sender, mut jobs) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let sweeper = Sweeper { link, names, retention };
            while let Some(job) = jobs.recv().await {
                let mut group = Vec::new();
                let mut tell = Vec::new();
                let mut next = Some(job);
                while let Some(job) = next {
                    match job {
                        Job::Drop(dropped) => group.extend(dropped),
                        Job::Tell(answer) => tell.push(answer),
                    }
                    next = if group.len() < GROUP_MAX_MESSAGES { jobs.try_recv().ok() } else { None };
                }
                if let Err(fault) = sweeper.take_out(group).await {
                    tracing::debug!(%fault, "what was trimmed stays in the stream for now");
                }
                for answer in tell {
                    let _ = answer.send(());
                }
            }
        });
        Self(sender)
    }

    pub(super) fn drop_all(&self, dropped: Vec<Dropped>) {
        if !dropped.is_empty() && self.0.try_send(Job::Drop(dropped)).is_err() {
            tracing::debug!("too much is trimmed at once; the rest is found later");
        }
    }

    /// Returns when everything that was dropped before is out.
    pub(super) async fn settled(&self) {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Job::Tell(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }
}

struct Sweeper {
    link: Arc<Link>,
    names: Names,
    retention: Arc<RetentionTable>,
}

impl Sweeper {
    async fn take_out(&self, group: Vec<Dropped>) -> Result<(), Fault> {
        let mut own: BTreeMap<ChannelName, Vec<Dropped>> = BTreeMap::new();
        let mut sequences = Vec::new();
        for dropped in group {
            if dropped.seq > 0 && !dropped.leave {
                sequences.push(dropped.seq);
            }
            if dropped.channel.is_own() && dropped.place.is_some() {
                own.entry(dropped.channel.clone()).or_default().push(dropped);
            }
        }
        // First the receipts: as long as the messages are there, another node can still find out that these
        // are to be written.
        self.expire(own).await?;
        let deletes = sequences.into_iter().map(|seq| self.link.delete(&self.names.log, seq)).collect();
        at_once(ASKED_MAX, deletes).await.into_iter().collect()
    }

    /// Writes the receipts of users who were not handed these, and never will be.
    async fn expire(&self, own: BTreeMap<ChannelName, Vec<Dropped>>) -> Result<(), Fault> {
        let users: Vec<UserId> = own.keys().filter_map(ChannelName::owner).collect();
        let subjects: Vec<String> = users.iter().map(|user| self.names.mark(user)).collect();
        let marks = self.link.lasts(&self.names.book, &subjects, true).await?;
        let mut puts = Vec::new();
        for (user, subject) in users.iter().zip(&subjects) {
            let marked = marks.get(subject).map(Marked::parse).transpose()?.unwrap_or_default();
            for dropped in own.get(user.channel().as_str()).into_iter().flatten() {
                let Some((epoch, offset)) = dropped.place else { continue };
                if marked.was_handed(epoch, offset) {
                    continue;
                }
                let at = dropped.expires.map_or(dropped.at, |end| end.min(dropped.at));
                puts.push(Put {
                    subject: self.names.receipt(user, epoch, offset),
                    head: Receipted { state: ReceiptState::Expired, at }.text(),
                    payload: Bytes::new(),
                    expect: Some(0),
                    ttl_s: Some(receipt::kept_s(&self.retention, at, dropped.expires)),
                });
            }
        }
        for written in at_once(ASKED_MAX, puts.into_iter().map(|put| self.link.put(put)).collect()).await {
            match written {
                // It was shown, or another node found out the same.
                Ok(_) | Err(Fault::Mismatch) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }
}
