//! A message with more targets than a batch may have. What is to be done is stored first, as one with the
//! key; then it is done piece by piece, each of which is stored with a mark of its own that it is done. Any
//! node that finds it unfinished goes on: a piece that is done cannot be done again.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use encke_proto::{ChannelName, MessageId, Time, UserId};
use serde::{Deserialize, Serialize};

use super::{
    append::{Message, key_put, page_put},
    fault::Fault,
    link::{Put, at_once},
    record::{self, Said},
    store::Store,
    targets::{KeyRecord, Target, TargetPage, appended, from_json, targets, to_json},
    writer::{Beside, Once, Work, Written},
};
use crate::Appended;

/// How long the stream keeps what is to be done, in seconds: if no node comes to it within a week, it is not
/// done.
const INTENT_TTL_S: u64 = 7 * 24 * 3600;
/// How many pages of it are stored as one.
const PAGES_AT_ONCE: usize = 4;
/// How many pieces are under way at once. The writer stores them one after the other anyway; others get
/// between them.
const PIECES_AT_ONCE: usize = 2;

/// What is to be done.
#[derive(Serialize, Deserialize)]
struct Intent {
    push: bool,
    /// Whether the body is a page for a frame.
    page: bool,
    /// Whether the body is a page for a window of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    window: bool,
    from: Option<UserId>,
    /// `traceparent`, if it belongs to a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    time: u64,
    expires: Option<u64>,
    body: String,
    /// Whether the body is bytes, and stands here in base64.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    base64: bool,
    /// How many pieces there are; each has a page with its targets.
    pieces: usize,
}

/// How often a piece is tried when logs are deleted meanwhile.
const TRIES_MAX: usize = 8;

/// What becomes of users whose logs were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    /// They are named, so the push makes them known.
    MadeKnown,
    /// They get nothing, unless they are known again.
    LeftOut,
}

/// The targets of a piece: which of the message's targets each is.
type Piece = Vec<(ChannelName, usize)>;

impl Intent {
    fn of(message: &Message, pieces: usize) -> Self {
        let said = &message.said;
        let base64 = said.kind() == 'b';
        Self {
            push: message.push,
            page: said.kind() == 'p',
            window: said.kind() == 'w',
            from: said.from.clone(),
            trace: said.trace.as_ref().map(ToString::to_string),
            time: said.time.0,
            expires: said.expires.map(|end| end.0),
            body: if base64 {
                STANDARD.encode(said.payload())
            } else {
                String::from_utf8_lossy(&said.payload()).into_owned()
            },
            base64,
            pieces,
        }
    }

    fn said(&self, id: &MessageId) -> Result<Said, Fault> {
        let body = if self.base64 {
            STANDARD.decode(&self.body).ok().and_then(|bytes| record::body("b", &bytes))
        } else {
            let kind = if self.window {
                "w"
            } else if self.page {
                "p"
            } else {
                "d"
            };
            record::body(kind, self.body.as_bytes())
        };
        let body = body.ok_or_else(|| Fault::damaged("a message that is to be stored is not understood"))?;
        Ok(Said {
            id: id.clone(),
            time: Time(self.time),
            expires: self.expires.map(Time),
            from: self.from.clone(),
            trace: self.trace.as_ref().and_then(|trace| trace.parse().ok()).map(Box::new),
            body,
        })
    }
}

impl Store {
    pub(super) async fn append_in_pieces(&self, message: Message) -> Result<Appended, Fault> {
        let id = message.said.id.clone();
        if let Some((_, refusal)) = self.refusing(&message.channels, message.said.time).await?.first() {
            return Err((*refusal).into());
        }
        // Pages are read by user, so they are made in that order.
        let mut all: Piece =
            message.channels.iter().cloned().enumerate().map(|(index, channel)| (channel, index)).collect();
        all.sort_unstable();
        let pieces: Vec<Piece> = all.chunks(message.piece()).map(<[_]>::to_vec).collect();
        if let Some(key) = &message.key {
            let once = self.key_once(&key.text, message.said.from.as_ref());
            let first = self.link.last(&self.names.log, &once.subject).await?;
            if let Some(stored) = first.as_ref().filter(|stored| stored.seq > once.void_up_to) {
                let first = KeyRecord::parse(stored)?;
                let checked = first.check(Some(key));
                // A key of which nothing is left is as good as new.
                if let Some(appended) = self.repeated_of_kept(first).await? {
                    return checked.map(|()| appended);
                }
            }
            let expect = Some(first.map_or(0, |stored| stored.seq));
            let put = Put {
                expect,
                ..key_put(
                    &self.names,
                    (&key.text, message.said.from.as_ref()),
                    &KeyRecord {
                        id: id.clone(),
                        request: key.request,
                        pages: pieces.len(),
                        targets: Vec::new(),
                    },
                )
            };
            match self.intend(&message, &pieces, Some(put)).await {
                Err(Fault::Mismatch) => {
                    let first = self.link.last(&self.names.log, &once.subject).await?;
                    let first = first.ok_or_else(|| Fault::Busy("a key was used and is gone".into()))?;
                    let first = KeyRecord::parse(&first)?;
                    first.check(Some(key))?;
                    let id = first.id.clone();
                    return Ok(self.repeated_of_kept(first).await?.unwrap_or(appended(id, Vec::new(), true)));
                }
                other => other?,
            }
        } else {
            self.intend(&message, &pieces, None).await?;
        }
        let deleted = if message.all { Deleted::LeftOut } else { Deleted::MadeKnown };
        let targets = self.do_pieces(&message.said, message.push, deleted, pieces).await?;
        self.done(&id).await;
        self.count_key(&message).await;
        Ok(appended(id, targets, false))
    }

    /// Stores what is to be done. Before its first page is there, nothing is.
    async fn intend(&self, message: &Message, pieces: &[Piece], key: Option<Put>) -> Result<(), Fault> {
        let id = &message.said.id;
        let put = |page: usize, payload: Bytes| Put {
            subject: self.names.intent(id, page),
            head: String::new(),
            payload,
            expect: Some(0),
            ttl_s: Some(INTENT_TTL_S),
        };
        let pages: Vec<Put> =
            pieces.iter().enumerate().map(|(index, piece)| put(index + 1, to_json(piece))).collect();
        for some in pages.chunks(PAGES_AT_ONCE) {
            self.link.put_all(some.to_vec()).await?;
        }
        let mut last = vec![put(0, to_json(&Intent::of(message, pieces.len())))];
        last.extend(key);
        self.link.put_all(last).await.map(|_| ())
    }

    async fn do_pieces(
        &self,
        said: &Said,
        push: bool,
        deleted: Deleted,
        pieces: Vec<Piece>,
    ) -> Result<Vec<Target>, Fault> {
        let count = pieces.len();
        let each = pieces
            .into_iter()
            .enumerate()
            .map(|(page, piece)| self.do_piece(said, push, deleted, (page, count), piece))
            .collect();
        let mut targets = Vec::new();
        for done in at_once(PIECES_AT_ONCE, each).await {
            targets.extend(done?);
        }
        Ok(targets)
    }

    async fn do_piece(
        &self,
        said: &Said,
        push: bool,
        deleted: Deleted,
        page: (usize, usize),
        mut piece: Piece,
    ) -> Result<Vec<Target>, Fault> {
        let mut known_anew = false;
        for _ in 0..TRIES_MAX {
            let (channels, indices): (Vec<ChannelName>, Vec<usize>) = piece.iter().cloned().unzip();
            let (names, retention, about, order) =
                (self.names.clone(), self.retention.clone(), said.clone(), indices.clone());
            let beside: Beside = Box::new(move |positions| {
                let targets = targets(positions, |place| order[place]);
                vec![page_put(&names, &retention, &about, push, page, targets)]
            });
            let work = Work {
                said: said.clone(),
                beside_bytes: channels.len() * 100,
                channels: channels.clone(),
                once: vec![Once { subject: self.names.page(&said.id, page.0), void_up_to: 0 }],
                beside: Some(beside),
                beside_messages: 1,
                known_anew,
            };
            let written = match self.writer.write(work).await {
                Err(Fault::Log(_)) => {
                    // All were found to take it; what came to its end since is passed over.
                    let refusing = self.refusing(&channels, said.time).await?;
                    piece.retain(|(channel, _)| refusing.iter().all(|(other, _)| other != channel));
                    continue;
                }
                written => written?,
            };
            match written {
                Written::Now(positions) => return Ok(targets(&positions, |place| indices[place])),
                Written::Before(stored) => return Ok(TargetPage::parse(&stored)?.targets),
                Written::Unknown(users) if deleted == Deleted::MadeKnown => {
                    self.make_known_anew(&users, said.time).await?;
                    known_anew = true;
                }
                Written::Unknown(users) => {
                    let count = users.len();
                    let gone = self.not_known(users).await?;
                    piece.retain(|(channel, _)| !channel.owner().is_some_and(|user| gone.contains(&user)));
                    known_anew = gone.len() < count;
                }
            }
        }
        Err(Fault::Busy("its logs are deleted all the time".into()))
    }

    /// It is done; what is left of it does no harm.
    async fn done(&self, id: &MessageId) {
        if let Err(fault) = self.link.purge(&self.names.log, &self.names.intent_pages(id)).await {
            tracing::debug!(%fault, "a push that is done is looked at once more");
        }
    }

    /// Does what is left to be done of a message, if anything is.
    pub(super) async fn finish(&self, id: &MessageId) -> Result<(), Fault> {
        let Some(first) = self.link.last(&self.names.log, &self.names.intent(id, 0)).await? else {
            return Ok(());
        };
        let intent: Intent = from_json(&first.payload, "what is to be done")?;
        let mut pieces = Vec::with_capacity(intent.pieces);
        for page in 1..=intent.pieces {
            let stored = self.link.last(&self.names.log, &self.names.intent(id, page)).await?;
            // The node that was at it has just finished it.
            let Some(stored) = stored else { return Ok(()) };
            pieces.push(from_json::<Piece>(&stored.payload, "what is to be done")?);
        }
        // Users who were deleted since it was accepted do not come back by it.
        self.do_pieces(&intent.said(id)?, intent.push, Deleted::LeftOut, pieces).await?;
        self.done(id).await;
        Ok(())
    }
}
