//! The records of known users: first and last seen. The position up to which each was handed messages is in
//! `marks.rs`.

use std::sync::PoisonError;

use bytes::Bytes;
use encke_proto::{ChannelName, NameFilter, Time, UserId};

use super::{
    fault::Fault,
    link::{ASKED_MAX, BATCH_MAX_MESSAGES, Put, at_once},
    names::{last_token, untoken},
    store::Store,
    stored::Stored,
};
use crate::UserRecord;

/// How often a user is written when other nodes write the same.
const TRIES_MAX: usize = 16;
/// Half of the users who are remembered as known for good: they were here.
pub(super) const KNOWN_MAX: usize = 100_000;

fn text(first_seen: Time, last_seen: Option<Time>) -> String {
    match last_seen {
        Some(last) => format!("{} {}", first_seen.0, last.0),
        None => format!("{} -", first_seen.0),
    }
}

fn parse(user: &UserId, stored: &Stored) -> Result<UserRecord, Fault> {
    let parsed = stored.head.split_once(' ').and_then(|(first, last)| {
        let last_seen = if last == "-" { None } else { Some(Time(last.parse().ok()?)) };
        Some(UserRecord { user: user.clone(), first_seen: Time(first.parse().ok()?), last_seen })
    });
    parsed.ok_or_else(|| Fault::damaged("a user is not understood"))
}

/// What the records say of users who are not remembered as known for good.
pub(super) struct LookedUp {
    /// Who has a record and was never here.
    pub(super) unseen: Vec<UserId>,
    /// Who has none.
    unknown: Vec<UserId>,
}

impl Store {
    /// Makes the user known, and moves `last_seen` forward.
    pub(super) async fn seen(&self, user: &UserId, at: Time) -> Result<(), Fault> {
        let subject = self.names.user(user);
        for _ in 0..TRIES_MAX {
            let stored = self.link.last(&self.names.book, &subject).await?;
            let head = match &stored {
                Some(stored) => {
                    let known = parse(user, stored)?;
                    if known.last_seen >= Some(at) {
                        return Ok(());
                    }
                    text(known.first_seen, Some(at))
                }
                None => text(at, Some(at)),
            };
            let expect = Some(stored.map_or(0, |stored| stored.seq));
            match self
                .link
                .put(Put { subject: subject.clone(), head, payload: Bytes::new(), expect, ttl_s: None })
                .await
            {
                Err(Fault::Mismatch) => {}
                other => return other.map(|_| self.remember(user)),
            }
        }
        Err(Fault::Busy("other nodes see the user at the same time".into()))
    }

    /// Looks for the records of users, and remembers those who were here.
    pub(super) async fn look_up(&self, users: &[UserId]) -> Result<LookedUp, Fault> {
        let asked: Vec<&UserId> = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            users.iter().filter(|user| known.get(*user).is_none()).collect()
        };
        let (mut unseen, mut unknown) = (Vec::new(), Vec::new());
        if asked.is_empty() {
            return Ok(LookedUp { unseen, unknown });
        }
        let subjects: Vec<String> = asked.iter().map(|user| self.names.user(user)).collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        for (user, subject) in asked.into_iter().zip(&subjects) {
            match found.get(subject).map(|stored| parse(user, stored)) {
                Some(Ok(record)) if record.last_seen.is_some() => self.remember(user),
                Some(Ok(_)) => unseen.push(user.clone()),
                // One damaged record must not refuse a push to all.
                Some(Err(_)) => {}
                None => unknown.push(user.clone()),
            }
        }
        Ok(LookedUp { unseen, unknown })
    }

    /// Makes those known who are pushed to. Returns those of them who were never here: they may be forgotten
    /// until the push is stored, and then have to be made known again ([`Self::keep_known`]).
    pub(super) async fn make_known(&self, users: &[UserId], at: Time) -> Result<Vec<UserId>, Fault> {
        let LookedUp { mut unseen, unknown } = self.look_up(users).await?;
        let put = |subject| Put {
            subject,
            head: text(at, None),
            payload: Bytes::new(),
            expect: Some(0),
            ttl_s: None,
        };
        let puts: Vec<Put> = unknown.iter().map(|user| put(self.names.user(user))).collect();
        for some in puts.chunks(BATCH_MAX_MESSAGES) {
            match self.link.put_all(some.to_vec()).await {
                Ok(_) => {}
                // Another node made one of them known meanwhile, so none was; then each by itself.
                Err(Fault::Mismatch) => {
                    for one in
                        at_once(ASKED_MAX, some.iter().map(|put| self.link.put(put.clone())).collect()).await
                    {
                        match one {
                            Ok(_) | Err(Fault::Mismatch) => {}
                            Err(fault) => return Err(fault),
                        }
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
        unseen.extend(unknown);
        Ok(unseen)
    }

    /// Makes those of these users known again whom a sweep has forgotten although something is kept for them.
    /// Who was deleted stays unknown.
    pub(super) async fn keep_known(&self, users: Vec<UserId>, at: Time) -> Result<(), Fault> {
        if users.is_empty() {
            return Ok(());
        }
        let forgotten = self.not_known(users).await?;
        let channels: Vec<ChannelName> = forgotten.iter().map(UserId::channel).collect();
        let heads = at_once(ASKED_MAX, channels.iter().map(|channel| self.head(channel)).collect()).await;
        let mut kept = Vec::new();
        for (user, head) in forgotten.into_iter().zip(heads) {
            if head?.extent.messages() > 0 {
                kept.push(user);
            }
        }
        self.make_known(&kept, at).await.map(drop)
    }

    /// Forgets a user who was never here, and for whom no message is kept any more. A push that is stored
    /// meanwhile makes the user known again, here or by who stored it.
    pub(super) async fn forget_unseen(&self, user: &UserId, at: Time) -> Result<(), Fault> {
        let subject = self.names.user(user);
        let Some(stored) = self.link.last(&self.names.book, &subject).await? else { return Ok(()) };
        if parse(user, &stored)?.last_seen.is_some() {
            return Ok(());
        }
        // One who is seen meanwhile has a later record, which stays.
        self.link.purge_before(&self.names.book, &subject, stored.seq + 1).await?;
        self.keep_known(vec![user.clone()], at).await
    }

    /// Those of some users who are not known.
    pub(super) async fn not_known(&self, users: Vec<UserId>) -> Result<Vec<UserId>, Fault> {
        let subjects: Vec<String> = users.iter().map(|user| self.names.user(user)).collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        let unknown = users.into_iter().zip(subjects).filter(|(_, subject)| !found.contains_key(subject));
        Ok(unknown.map(|(user, _)| user).collect())
    }

    fn remember(&self, user: &UserId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(user.clone(), ());
    }

    /// One known user.
    pub(super) async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, Fault> {
        let stored = self.link.last(&self.names.book, &self.names.user(user)).await?;
        stored.map(|stored| parse(user, &stored)).transpose()
    }

    /// The known users, by id, behind `after`.
    pub(super) async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, Fault> {
        let users = self.user_ids(&NameFilter::default(), after, limit).await?;
        let subjects: Vec<String> = users.iter().map(|user| self.names.user(user)).collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        users
            .iter()
            .zip(&subjects)
            .filter_map(|(user, subject)| found.get(subject).map(|stored| parse(user, stored)))
            .collect()
    }

    /// The ids of the known users that match, behind `after`.
    pub(super) async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, Fault> {
        let after = after.map(|user| self.names.user(user));
        // The names stand in subjects in a form of their own, so NATS cannot match them.
        let listed = if filter.matches_all() { limit } else { usize::MAX };
        let subjects =
            self.link.subjects(&self.names.book, &self.names.users(), after.as_deref(), listed).await?;
        let matching = |subject: &String| untoken(last_token(subject)).filter(|name| filter.matches(name));
        let user = |subject: &String| matching(subject).and_then(|name| UserId::new(&name).ok());
        Ok(subjects.iter().filter_map(user).take(limit).collect())
    }
}
