//! Whether the promises were kept: what publishers and subscribers wrote down is compared with each other and
//! with the server's own logs, and then read as a history by the same checker that the hub's simulation has.

mod receipts;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};

use encke_history::{Kind, Violation};
use encke_proto::{ChannelName, Epoch, Offset, Position, UserId};
use receipts::receipts;
use sequences::sequences;

use super::evidence::{Id, Note};

/// What was found, and how much there was to look at.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong. Each names the note that it was found at.
    pub violations: Vec<Violation>,
    /// Messages that publishers began to send, and those that were accepted.
    pub invoked: usize,
    /// See `invoked`.
    pub accepted: usize,
    /// Attempts whose outcome was unknown at the time.
    pub unknown: usize,
    /// Messages that applications were handed.
    pub deliveries: usize,
    /// Gaps that applications were told of.
    pub gaps: usize,
    /// Connections that went on from a cursor.
    pub resumed: usize,
    /// Logins of a user who had been away, without a cursor; and pushes that were accepted meanwhile, and
    /// waited for one.
    pub logins: usize,
    /// See `logins`.
    pub waited: usize,
    /// Receipts that were looked at.
    pub receipts: usize,
    /// Accepted messages that the engine itself lost, by channel.
    pub lost_by_engine: usize,
    /// In restarts of all nodes: the longest that an accepted message took to a client, in milliseconds; the
    /// same from when it was first sent; the longest without a connection; and how many deliveries there were
    /// to look at.
    pub silence: Silence,
}

/// How silent it was for clients while all nodes were restarted one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence {
    /// The longest from a message's being accepted until it was handed to an application, in milliseconds.
    pub accepted_ms: u64,
    /// The same from when its publisher first sent it: its own trouble is in it.
    pub sent_ms: u64,
    /// The longest from the end of a connection until the next one serves.
    pub away_ms: u64,
    /// How many deliveries that is from.
    pub deliveries: usize,
}

impl Verdict {
    /// How many violations are of this kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    fn wrong(&mut self, kind: Kind, at: usize, what: String) {
        self.violations.push(Violation { kind, at, what });
    }
}

/// Everything that is wrong.
#[must_use]
pub fn judge(notes: &[(u64, Note)]) -> Verdict {
    let mut verdict = Verdict::default();
    count(notes, &mut verdict);
    let losses = Losses::gather(notes);
    let claims = Claims::gather(notes, &losses, &mut verdict);
    let logs = Logs::piece_together(&claims);
    durable(notes, &claims, &losses, &mut verdict);
    beginnings(notes, &claims, &logs, &mut verdict);
    receipts(notes, &losses, &mut verdict);
    sequences(notes, &claims, &losses, &logs, &mut verdict);
    verdict.silence = silence(notes);
    verdict.violations.sort_by_key(|violation| violation.at);
    verdict
}

fn count(notes: &[(u64, Note)], verdict: &mut Verdict) {
    for (at, (_, note)) in notes.iter().enumerate() {
        match note {
            Note::Invoked { .. } => verdict.invoked += 1,
            Note::Accepted { .. } => verdict.accepted += 1,
            Note::Unknown { .. } => verdict.unknown += 1,
            Note::Delivered { .. } => verdict.deliveries += 1,
            Note::Gap { .. } => verdict.gaps += 1,
            Note::Resumed { .. } => verdict.resumed += 1,
            Note::Receipt { .. } => verdict.receipts += 1,
            Note::Stuck(what) => verdict.wrong(Kind::Stuck, at, what.clone()),
            Note::Ghost(what) => verdict.wrong(Kind::Ghost, at, what.clone()),
            Note::Broken(what) => verdict.wrong(Kind::Left, at, what.clone()),
            _ => {}
        }
    }
}

/// What was in a log when it was read.
struct Look {
    /// Which note says so.
    at: usize,
    /// When it was asked for.
    asked_ms: u64,
    /// The epoch that it was in.
    epoch: Option<Epoch>,
    ids: BTreeSet<Id>,
    at_offset: BTreeMap<Offset, Id>,
}

/// What cursors say of an epoch.
#[derive(Clone, Copy)]
struct Heard {
    epoch: Epoch,
    /// The furthest that any cursor was.
    reach: Offset,
    /// At which note a cursor was there first.
    reached: usize,
}

/// Who says that which message is where. Publishers, subscribers and the logs must agree.
#[derive(Default)]
struct Claims {
    at: BTreeMap<(ChannelName, Epoch), BTreeMap<Offset, Id>>,
    of: BTreeMap<(ChannelName, Id), Position>,
    /// At which other offsets a message is, which came again after the engine had lost its key: it cannot be
    /// known for the same.
    copies: BTreeMap<(ChannelName, Id), Vec<Offset>>,
    /// When each message was first sent.
    invoked: BTreeMap<Id, usize>,
    /// When each message was first known to be accepted.
    accepted: BTreeMap<Id, usize>,
    /// What the server had each time when it was asked: which note that is, and what was in it.
    logged: BTreeMap<ChannelName, Vec<Look>>,
    /// The epochs of each channel in the order in which they were first heard of.
    epochs: BTreeMap<ChannelName, Vec<Heard>>,
}

impl Claims {
    fn gather(notes: &[(u64, Note)], losses: &Losses, verdict: &mut Verdict) -> Self {
        let mut claims = Self::default();
        for (at, (_, note)) in notes.iter().enumerate() {
            match note {
                Note::Invoked { id, .. } => {
                    claims.invoked.insert(*id, at);
                }
                Note::Accepted { id, at: positions, .. } => {
                    claims.accepted.entry(*id).or_insert(at);
                    for (channel, position) in positions {
                        claims.claim(
                            channel,
                            *position,
                            *id,
                            (at, "its publisher was told"),
                            losses,
                            verdict,
                        );
                    }
                }
                Note::Began { cursor, .. } | Note::Resumed { cursor, .. } => {
                    for (channel, position) in &cursor.entries {
                        claims.heard_of(channel, *position, at);
                    }
                }
                Note::Delivered { channel, position, id, .. } => {
                    claims.claim(
                        channel,
                        *position,
                        *id,
                        (at, "a subscriber was handed it"),
                        losses,
                        verdict,
                    );
                }
                Note::Log { channel, asked_ms, entries } => {
                    for (position, id) in entries {
                        if !claims.invoked.contains_key(id) {
                            verdict.wrong(
                                Kind::Phantom,
                                at,
                                format!("{channel} {} holds what was never sent", position.offset),
                            );
                        }
                        claims.claim(channel, *position, *id, (at, "the log says"), losses, verdict);
                    }
                    let ids: BTreeSet<Id> = entries.iter().map(|(_, id)| *id).collect();
                    if ids.len() < entries.len() {
                        verdict.wrong(Kind::Dup, at, format!("the log of {channel} holds a message twice"));
                    }
                    claims.logged.entry(channel.clone()).or_default().push(Look {
                        at,
                        asked_ms: *asked_ms,
                        epoch: entries.last().map(|(position, _)| position.epoch),
                        ids,
                        at_offset: entries.iter().map(|(position, id)| (position.offset, *id)).collect(),
                    });
                    let rises = entries.windows(2).all(|pair| {
                        pair[0].0.epoch != pair[1].0.epoch || pair[0].0.offset + 1 == pair[1].0.offset
                    });
                    if !rises {
                        verdict.wrong(Kind::Order, at, format!("the log of {channel} does not rise by one"));
                    }
                }
                _ => {}
            }
        }
        claims
    }

    /// In which epochs what had these offsets is not in the log any more, as it was read next.
    fn gone(&self, channel: &ChannelName, (from, to): (Offset, Offset), ms: u64, logs: &Logs) -> Vec<Epoch> {
        let look = self.logged.get(channel).and_then(|looks| looks.iter().find(|look| look.asked_ms > ms));
        let epochs = self.epochs.get(channel).into_iter().flatten().map(|heard| heard.epoch);
        let is_gone = |epoch: &Epoch| {
            let Some(log) = logs.of.get(&(channel.clone(), *epoch)) else { return false };
            look.is_some_and(|look| {
                log.range(from..=to).all(|(offset, id)| look.at_offset.get(offset) != Some(id))
            })
        };
        epochs.filter(is_gone).collect()
    }

    fn heard_of(&mut self, channel: &ChannelName, position: Position, at: usize) {
        let epochs = self.epochs.entry(channel.clone()).or_default();
        match epochs.iter_mut().find(|heard| heard.epoch == position.epoch) {
            Some(heard) if heard.reach >= position.offset => {}
            Some(heard) => (heard.reach, heard.reached) = (position.offset, at),
            None => {
                let (epoch, reach) = (position.epoch, position.offset);
                epochs.push(Heard { epoch, reach, reached: at });
            }
        }
    }

    fn claim(
        &mut self,
        channel: &ChannelName,
        position: Position,
        id: Id,
        (at, who): (usize, &str),
        losses: &Losses,
        verdict: &mut Verdict,
    ) {
        self.heard_of(channel, position, at);
        let there = *self
            .at
            .entry((channel.clone(), position.epoch))
            .or_default()
            .entry(position.offset)
            .or_insert(id);
        if there != id {
            let what = format!(
                "{channel} {} is message {id}, {who}, and is message {there} as well",
                position.offset
            );
            verdict.wrong(Kind::Order, at, what);
        }
        let placed = *self.of.entry((channel.clone(), id)).or_insert(position);
        // In an epoch that goes on from another it has the same offset. When the engine has lost it, and its
        // key, its publisher's next attempt puts it somewhere else.
        let again =
            placed.epoch != position.epoch && (placed.offset == position.offset || losses.any_before(at));
        if placed.offset != position.offset && again {
            let copies = self.copies.entry((channel.clone(), id)).or_default();
            if !copies.contains(&position.offset) {
                copies.push(position.offset);
            }
        }
        if placed != position && !again {
            let what = format!(
                "message {id} is {channel} {}, {who}, and {channel} {} as well",
                position.offset, placed.offset
            );
            verdict.wrong(if placed.epoch == position.epoch { Kind::Dup } else { Kind::Order }, at, what);
        }
    }
}

/// When the engine itself may have lost something: which note says so, and from when until when what it was
/// told is in doubt.
#[derive(Debug, Default)]
struct Losses(Vec<(usize, u64, u64)>);

impl Losses {
    fn gather(notes: &[(u64, Note)]) -> Self {
        let loss = |(at, (_, note)): (usize, &(u64, Note))| match note {
            Note::Loss { since_ms, until_ms } => Some((at, *since_ms, *until_ms)),
            _ => None,
        };
        Self(notes.iter().enumerate().filter_map(loss).collect())
    }

    fn any_before(&self, at: usize) -> bool {
        self.0.first().is_some_and(|(first, ..)| *first < at)
    }

    /// Whether what was accepted then may have been lost by the engine before that note.
    fn may_have_taken(&self, accepted_ms: u64, before: usize) -> bool {
        self.0.iter().any(|(at, since, until)| *at < before && (*since..=*until).contains(&accepted_ms))
    }

    /// Whether anything that was accepted then may be lost.
    fn doubt(&self, accepted_ms: u64) -> bool {
        self.may_have_taken(accepted_ms, usize::MAX)
    }
}

/// The logs of all epochs, as far as clients saw them, and how one goes on from another. An engine that lost
/// the end of a log goes on in a new epoch, in which what was kept has its old offsets; so the content says
/// what was kept.
#[derive(Debug, Default)]
struct Logs {
    of: BTreeMap<(ChannelName, Epoch), BTreeMap<Offset, Id>>,
    /// The channel, the old epoch and the last that was kept of it, and the new epoch.
    forks: Vec<(ChannelName, Position, Epoch)>,
}

impl Logs {
    fn piece_together(claims: &Claims) -> Self {
        let mut logs = Self::default();
        for (channel, epochs) in &claims.epochs {
            let known =
                |epoch: &Epoch| claims.at.get(&(channel.clone(), *epoch)).cloned().unwrap_or_default();
            let mut pieces: Vec<Piece> = epochs
                .iter()
                .map(|heard| Piece {
                    epoch: heard.epoch,
                    reach: heard.reach,
                    log: known(&heard.epoch),
                    from: None,
                })
                .collect();
            for (number, heard) in epochs.iter().enumerate() {
                fill_unseen(&mut pieces[number..], heard.reached, &claims.accepted);
            }
            // What one knows of the other may tell where a third belongs, so all are looked at once more.
            for _ in 0..2 {
                // From the newest, whose log is known from its beginning.
                for number in (1..pieces.len()).rev() {
                    join(&mut pieces, number);
                }
                for number in 1..pieces.len() {
                    join(&mut pieces, number);
                }
            }
            for (number, piece) in pieces.iter().enumerate() {
                let seen = piece.from.map(|(from, kept)| (&pieces[from], kept));
                if let Some((from, kept)) = seen.or_else(|| unseen(&pieces[..number], piece)) {
                    logs.forks.push((
                        channel.clone(),
                        Position { epoch: from.epoch, offset: kept },
                        piece.epoch,
                    ));
                }
            }
            logs.of.extend(pieces.into_iter().map(|piece| ((channel.clone(), piece.epoch), piece.log)));
        }
        // An epoch of which no client has seen a message has no log.
        logs.of.retain(|_, log| !log.is_empty());
        logs
    }
}

/// A channel's log in one epoch.
#[derive(Debug)]
struct Piece {
    epoch: Epoch,
    /// The furthest that any cursor was.
    reach: Offset,
    log: BTreeMap<Offset, Id>,
    /// Which earlier one it goes on from, and up to where they are the same.
    from: Option<(usize, Offset)>,
}

/// What was in an epoch, the first of these, besides what clients saw of it: what a later one has that agrees
/// with that, and was accepted before a cursor was as far as any in this one, up to there.
fn fill_unseen(pieces: &mut [Piece], reached: usize, accepted: &BTreeMap<Id, usize>) {
    let [piece, later @ ..] = pieces else { return };
    let Some(later) = later.iter().find(|later| !later.log.is_empty()) else { return };
    if piece.log.iter().any(|(offset, id)| later.log.get(offset).is_some_and(|other| other != id)) {
        return;
    }
    let was_there = |offset: &Offset, id: &Id| {
        piece.log.contains_key(offset) || accepted.get(id).is_some_and(|accepted| *accepted < reached)
    };
    let kept = later.log.range(..=piece.reach).take_while(|(offset, id)| was_there(offset, id));
    let kept: Vec<(Offset, Id)> = kept.map(|(offset, id)| (*offset, *id)).collect();
    piece.log.extend(kept);
}

/// The last epoch of which no client saw a message, and up to where cursors were in it, if all that was seen
/// of a later one lies behind that: nothing says then that the later one does not go on from it.
fn unseen<'a>(earlier: &'a [Piece], piece: &Piece) -> Option<(&'a Piece, Offset)> {
    let (first, _) = piece.log.first_key_value()?;
    let from = earlier.iter().rfind(|from| from.log.is_empty() && (1..*first).contains(&from.reach))?;
    Some((from, from.reach))
}

/// Finds the epoch that this one goes on from: the earlier one with which it has most in common. An old
/// master that comes back goes on from what it had, not from what came after it.
fn join(pieces: &mut [Piece], number: usize) {
    let (earlier, rest) = pieces.split_at_mut(number);
    let Some(piece) = rest.first_mut() else { return };
    let common = |from: &Piece| {
        kept(&from.log, piece).map(|kept| {
            (from.log.range(..=kept).filter(|(offset, id)| piece.log.get(offset) == Some(id)).count(), kept)
        })
    };
    // Of equals the latest.
    let best = earlier.iter().enumerate().filter_map(|(index, from)| Some((common(from)?, index))).max();
    let Some(((_, kept), index)) = best else {
        piece.from = None;
        return;
    };
    piece.from = Some((index, kept));
    let from = &mut earlier[index];
    for (offset, id) in from.log.range(..=kept) {
        piece.log.entry(*offset).or_insert(*id);
    }
    for (offset, id) in piece.log.range(..=kept) {
        from.log.entry(*offset).or_insert(*id);
    }
}

/// Up to where a log is the same in a later epoch; none when that began anew.
fn kept(old: &BTreeMap<Offset, Id>, new: &Piece) -> Option<Offset> {
    let head = *old.keys().next_back()?;
    let differs = old
        .iter()
        .find(|(offset, id)| new.log.get(offset).is_some_and(|other| other != *id))
        .map(|(offset, _)| *offset);
    let kept = differs.map_or(head, |offset| offset - 1);
    let Some(first) = new.log.keys().next().copied() else {
        // No client saw a message of it, but some cursors were in it.
        return Some(head.min(new.reach)).filter(|kept| *kept > 0);
    };
    let agrees = new.log.range(..=kept).any(|(offset, id)| old.get(offset) == Some(id));
    // One that is not seen from its beginning goes on from somewhere.
    (kept > 0 && (agrees || first > 1)).then_some(kept)
}

/// What was accepted is in the logs, each time when they are read, unless the engine itself lost it before.
fn durable(notes: &[(u64, Note)], claims: &Claims, losses: &Losses, verdict: &mut Verdict) {
    let mut to: BTreeMap<Id, &[ChannelName]> = BTreeMap::new();
    for (at, (ms, note)) in notes.iter().enumerate() {
        match note {
            Note::Invoked { id, to: channels } => {
                to.insert(*id, channels);
            }
            Note::Accepted { id, at: positions, .. } => {
                for channel in to.get(id).copied().unwrap_or_default() {
                    let epoch = positions
                        .iter()
                        .find(|(name, _)| name == channel)
                        .map(|(_, position)| position.epoch);
                    let looks = claims.logged.get(channel).map(Vec::as_slice).unwrap_or_default();
                    let missing = looks.iter().find(|look| look.asked_ms > *ms && !look.ids.contains(id));
                    match missing {
                        // A log that is still in the epoch in which it was accepted has lost nothing.
                        Some(look)
                            if losses.may_have_taken(*ms, look.at)
                                && (epoch.is_none() || epoch != look.epoch) =>
                        {
                            verdict.lost_by_engine += 1;
                        }
                        Some(_) => {
                            verdict.wrong(
                                Kind::Lost,
                                at,
                                format!("message {id} was accepted for {channel} and is not in its log"),
                            );
                        }
                        None if looks.last().is_none_or(|look| look.asked_ms < *ms) => {
                            verdict.wrong(
                                Kind::Lost,
                                at,
                                format!(
                                    "message {id} was accepted for {channel}, whose log no client read since"
                                ),
                            );
                        }
                        None => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// How silent the restarts of all nodes were.
fn silence(notes: &[(u64, Note)]) -> Silence {
    let mut silence = Silence::default();
    let (mut invoked, mut accepted) = (BTreeMap::new(), BTreeMap::new());
    for (ms, note) in notes {
        match note {
            Note::Invoked { id, .. } => drop(invoked.insert(*id, *ms)),
            Note::Accepted { id, .. } => drop(accepted.insert(*id, *ms)),
            _ => {}
        }
    }
    let (mut rolling, mut since) = (false, 0);
    let mut cut: BTreeMap<usize, u64> = BTreeMap::new();
    for (ms, note) in notes {
        match note {
            Note::Rolling { begins } => {
                // Who is away at the end was so for at least so long.
                for left in cut.values() {
                    silence.away_ms = silence.away_ms.max(if *begins { 0 } else { ms - left });
                }
                (rolling, since) = (*begins, *ms);
                cut.clear();
            }
            Note::Cut { client } if rolling => {
                cut.entry(*client).or_insert(*ms);
            }
            Note::Began { client, .. } | Note::Resumed { client, .. } => {
                let left = cut.remove(client).unwrap_or(*ms);
                silence.away_ms = silence.away_ms.max(ms - left);
            }
            // What was sent before may have been late for other reasons.
            Note::Delivered { id, .. } if rolling && invoked.get(id).is_some_and(|sent| *sent >= since) => {
                silence.deliveries += 1;
                let late = |of: &BTreeMap<Id, u64>| of.get(id).map_or(0, |since| ms.saturating_sub(*since));
                silence.accepted_ms = silence.accepted_ms.max(late(&accepted));
                silence.sent_ms = silence.sent_ms.max(late(&invoked));
            }
            _ => {}
        }
    }
    silence
}

/// A client without a cursor begins behind nothing that was sent later, and with everything that was pushed
/// while its user was away.
fn beginnings(notes: &[(u64, Note)], claims: &Claims, logs: &Logs, verdict: &mut Verdict) {
    let mut clients: BTreeMap<UserId, BTreeSet<usize>> = BTreeMap::new();
    for (_, note) in notes {
        if let Note::Began { client, user, .. } = note {
            clients.entry(user.clone()).or_default().insert(*client);
        }
    }
    // When the last session of a client ended; from the beginning no client was there.
    let mut ended: BTreeMap<usize, Option<usize>> = BTreeMap::new();
    let mut accepted: BTreeMap<Id, usize> = BTreeMap::new();
    for (at, (_, note)) in notes.iter().enumerate() {
        match note {
            Note::Accepted { id, .. } => {
                accepted.insert(*id, at);
            }
            Note::Ended { client } => {
                ended.insert(*client, Some(at));
            }
            Note::Tried { client } => {
                ended.insert(*client, None);
            }
            Note::Began { client, user, cursor } => {
                let away_since = ended.remove(client).unwrap_or(Some(0));
                verdict.logins += usize::from(away_since.is_some_and(|since| since > 0));
                let alone = clients.get(user).is_some_and(|clients| clients.len() == 1);
                for (channel, position) in &cursor.entries {
                    let Some(log) = logs.of.get(&(channel.clone(), position.epoch)) else { continue };
                    for (offset, id) in log {
                        let invoked = claims.invoked.get(id).copied().unwrap_or(0);
                        let waited = alone
                            && channel.is_own()
                            && accepted.contains_key(id)
                            && away_since.is_some_and(|since| invoked > since);
                        if *offset > position.offset {
                            // It has to come now, which is for the reading of its sequence to see.
                            verdict.waited += usize::from(waited);
                            continue;
                        }
                        if invoked > at {
                            let what = format!(
                                "client {client} began behind {channel} {offset}, which was not even sent then"
                            );
                            verdict.wrong(Kind::Lost, at, what);
                        }
                        if waited {
                            let what = format!(
                                "{channel} {offset} was pushed while its user was away, and did not come at the next login"
                            );
                            verdict.wrong(Kind::Lost, at, what);
                        }
                    }
                }
                ended.insert(*client, None);
            }
            _ => {}
        }
    }
}
