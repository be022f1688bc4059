//! Appends a message with all its targets as one atomic batch, with its key and its page of targets. Messages
//! with too many targets for one batch are in `pieces.rs`.

use encke_proto::{ChannelName, NameFilter, Time, UserId};

use super::{
    fault::Fault,
    kept_times::KEY_TTL_S,
    link::Put,
    names::Names,
    receipt,
    record::Said,
    store::Store,
    targets::{KeyRecord, PAGE_MAX_TARGETS, Target, TargetPage, appended, targets, to_json},
    writer::{Beside, Once, Work, Written},
};
use crate::{Append, Appended, Key, RetentionTable, Targets, USER_KEYS_MAX, append::each_once};

/// What a target takes in a page, in bytes, besides its name.
const TARGET_BYTES: usize = 60;

/// A message with its targets found.
pub(super) struct Message {
    pub(super) said: Said,
    pub(super) channels: Vec<ChannelName>,
    pub(super) push: bool,
    pub(super) key: Option<Key>,
    /// Whether it is for all users; then one who was deleted meanwhile is left out.
    pub(super) all: bool,
}

/// How often an append is tried when logs are deleted meanwhile.
const TRIES_MAX: usize = 8;

impl Store {
    /// Appends a message to the logs of all its targets.
    pub(super) async fn append(&self, append: Append) -> Result<Appended, Fault> {
        let said = Said::of(&append);
        let all = append.targets == Targets::AllUsers;
        let mut unseen = Vec::new();
        let (channels, push) = match append.targets {
            Targets::Channels(channels) => (each_once(channels), false),
            Targets::Users(users) => {
                // A user who is known and gets nothing after all does no harm; one who gets something and is
                // not known would.
                unseen = self.make_known(&users, append.time).await?;
                (each_once(users.iter().map(UserId::channel)), true)
            }
            Targets::AllUsers => {
                let users = self.user_ids(&NameFilter::default(), None, usize::MAX).await?;
                unseen = self.look_up(&users).await?.unseen;
                (users.iter().map(UserId::channel).collect(), true)
            }
        };
        let mut message = Message { said, channels, push, key: append.key, all };
        let time = append.time;
        let appended = if message.channels.len() > PAGE_MAX_TARGETS || message.bytes() > PIECE_MAX_BYTES {
            self.append_in_pieces(message).await?
        } else {
            self.append_at_once(&mut message, time).await?
        };
        // The push is stored, so it is accepted whatever comes of this.
        if let Err(fault) = self.keep_known(unseen, time).await {
            tracing::debug!(%fault, "users may be forgotten for whom a push is kept");
        }
        Ok(appended)
    }

    /// Appends a message whose targets fit into one batch.
    async fn append_at_once(&self, message: &mut Message, time: Time) -> Result<Appended, Fault> {
        let (mut known_anew, mut void_up_to) = (false, 0);
        for _ in 0..TRIES_MAX {
            match self.writer.write(self.work(message, known_anew, void_up_to)).await? {
                Written::Now(positions) => {
                    self.count_key(message).await;
                    return Ok(Appended { id: message.said.id.clone(), positions, repeated: false });
                }
                Written::Before(stored) => {
                    let first = KeyRecord::parse(&stored)?;
                    let checked = first.check(message.key.as_ref());
                    match self.repeated_of_kept(first).await? {
                        Some(appended) => return checked.map(|()| appended),
                        None => void_up_to = stored.seq,
                    }
                }
                Written::Unknown(users) if message.all => {
                    let gone =
                        |channel: &ChannelName| channel.owner().is_some_and(|user| users.contains(&user));
                    message.channels.retain(|channel| !gone(channel));
                }
                Written::Unknown(users) => {
                    self.make_known_anew(&users, time).await?;
                    known_anew = true;
                }
            }
        }
        Err(Fault::Busy("its logs are deleted all the time".into()))
    }

    /// Makes those known who were deleted and are pushed to.
    pub(super) async fn make_known_anew(&self, users: &[UserId], at: Time) -> Result<(), Fault> {
        self.forget_known(users);
        self.make_known(users, at).await.map(drop)
    }

    /// A message as the writer takes it. What was stored with its key up to `void_up_to` does not count.
    fn work(&self, message: &Message, known_anew: bool, void_up_to: u64) -> Work {
        let once = |key: &Key| {
            let once = self.key_once(&key.text, message.said.from.as_ref());
            Once { void_up_to: once.void_up_to.max(void_up_to), ..once }
        };
        let once = message.key.as_ref().map(once).into_iter().collect();
        let (beside_messages, beside_bytes) =
            (usize::from(message.push) + usize::from(message.key.is_some()), message.targets_bytes());
        let beside: Option<Beside> = (beside_messages > 0).then(|| self.beside(message));
        Work {
            said: message.said.clone(),
            channels: message.channels.clone(),
            once,
            beside,
            beside_messages,
            beside_bytes,
            known_anew,
        }
    }

    /// The first result of a key that was used before, without the places in logs that were deleted since;
    /// none when all were.
    pub(super) async fn repeated_of_kept(&self, key: KeyRecord) -> Result<Option<Appended>, Fault> {
        let id = key.id.clone();
        let targets = self.targets_of_key(key).await?;
        let count = targets.len();
        let kept = self.without_deleted(targets).await?;
        Ok((count == 0 || !kept.is_empty()).then(|| appended(id, kept, true)))
    }

    /// What must not be there when a message with this key is appended.
    pub(super) fn key_once(&self, key: &str, user: Option<&UserId>) -> Once {
        Once { subject: self.names.key(key, user), void_up_to: self.keys.void_up_to(self.epochs.now()) }
    }

    /// Counts the keys that a user's messages brought through this node, and has the oldest of too many
    /// forgotten, some at a time. If that fails, more are kept until they are too old.
    pub(super) async fn count_key(&self, message: &Message) {
        let (Some(_), Some(user)) = (&message.key, &message.said.from) else { return };
        if self.user_keys.count(user)
            && let Err(fault) =
                self.link.purge_but(&self.names.log, &self.names.user_keys(user), USER_KEYS_MAX).await
        {
            tracing::debug!(%user, %fault, "more idempotency keys of a user are kept");
        }
    }

    fn beside(&self, message: &Message) -> Beside {
        let (names, retention): (Names, std::sync::Arc<RetentionTable>) =
            (self.names.clone(), self.retention.clone());
        let (said, push, key) = (message.said.clone(), message.push, message.key.clone());
        Box::new(move |positions| {
            let mut puts = Vec::new();
            if push {
                let mut targets = targets(positions, |place| place);
                targets.sort_unstable_by(|one, other| one.channel.cmp(&other.channel));
                puts.push(page_put(&names, &retention, &said, true, (0, 1), targets));
            }
            if let Some(key) = &key {
                let inline = if push { Vec::new() } else { targets(positions, |place| place) };
                puts.push(key_put(
                    &names,
                    (&key.text, said.from.as_ref()),
                    &KeyRecord {
                        id: said.id.clone(),
                        request: key.request,
                        pages: usize::from(push),
                        targets: inline,
                    },
                ));
            }
            puts
        })
    }

    async fn targets_of_key(&self, key: KeyRecord) -> Result<Vec<Target>, Fault> {
        let mut targets = key.targets;
        for page in 0..key.pages {
            let subject = self.names.page(&key.id, page);
            let mut stored = self.link.last(&self.names.log, &subject).await?;
            if stored.is_none() {
                // The first try did not get to its end. The caller that asks again finishes it.
                self.finish(&key.id).await?;
                stored = self.link.last(&self.names.log, &subject).await?;
            }
            let stored = stored.ok_or_else(|| Fault::damaged("a key's page is missing"))?;
            targets.extend(TargetPage::parse(&stored)?.targets);
        }
        Ok(targets)
    }
}

/// About the most bytes that one batch of a message with many targets has.
pub(super) const PIECE_MAX_BYTES: usize = 4 << 20;

impl Message {
    fn targets_bytes(&self) -> usize {
        self.channels.iter().map(|channel| channel.as_str().len() + TARGET_BYTES).sum()
    }

    fn bytes(&self) -> usize {
        self.channels.len() * (self.said.payload().len() + 300)
    }

    /// How many targets each piece has.
    pub(super) fn piece(&self) -> usize {
        (PIECE_MAX_BYTES / (self.said.payload().len() + 300)).clamp(1, PAGE_MAX_TARGETS)
    }
}

/// A page of a message's targets, to be stored.
pub(super) fn page_put(
    names: &Names,
    retention: &RetentionTable,
    said: &Said,
    push: bool,
    (page, pages): (usize, usize),
    targets: Vec<Target>,
) -> Put {
    let until = receipt::until(retention, said.time, said.expires).0;
    let (time, expires) = (said.time.0, said.expires.map(|end| end.0));
    let ttl_s = Some(receipt::kept_s(retention, said.time, said.expires));
    let payload = to_json(&TargetPage { push, time, expires, until, pages, targets });
    Put { subject: names.page(&said.id, page), head: String::new(), payload, expect: None, ttl_s }
}

/// A key's first result, to be stored. The key is of a backend, or of this user.
pub(super) fn key_put(names: &Names, (key, user): (&str, Option<&UserId>), record: &KeyRecord) -> Put {
    Put {
        subject: names.key(key, user),
        head: String::new(),
        payload: to_json(record),
        expect: None,
        ttl_s: Some(KEY_TTL_S),
    }
}
