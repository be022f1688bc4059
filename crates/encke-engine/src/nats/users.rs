//! The records of known users: first and last seen. The position up to which each was handed messages is in
//! `marks.rs`.

use std::sync::PoisonError;

use bytes::Bytes;
use encke_proto::{Time, UserId};

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
/// Half of the users who are remembered as known.
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

    /// Makes those known who are pushed to.
    pub(super) async fn make_known(&self, users: &[UserId], at: Time) -> Result<(), Fault> {
        let unknown: Vec<&UserId> = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            users.iter().filter(|user| known.get(*user).is_none()).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let subjects: Vec<String> = unknown.iter().map(|user| self.names.user(user)).collect();
        let found = self.link.lasts(&self.names.book, &subjects, false).await?;
        let new = subjects.into_iter().filter(|subject| !found.contains_key(subject));
        let put = |subject| Put {
            subject,
            head: text(at, None),
            payload: Bytes::new(),
            expect: Some(0),
            ttl_s: None,
        };
        let puts: Vec<Put> = new.map(put).collect();
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
        unknown.iter().for_each(|user| self.remember(user));
        Ok(())
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
        let users = self.user_ids(after, limit).await?;
        let subjects: Vec<String> = users.iter().map(|user| self.names.user(user)).collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        users
            .iter()
            .zip(&subjects)
            .filter_map(|(user, subject)| found.get(subject).map(|stored| parse(user, stored)))
            .collect()
    }

    /// The ids of the known users, behind `after`.
    pub(super) async fn user_ids(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserId>, Fault> {
        let after = after.map(|user| self.names.user(user));
        let subjects =
            self.link.subjects(&self.names.book, &self.names.users(), after.as_deref(), limit).await?;
        let user = |subject: &String| untoken(last_token(subject)).and_then(|name| UserId::new(&name).ok());
        Ok(subjects.iter().filter_map(user).collect())
    }
}
