//! Known bugs, planted in an honest history, to prove the judge: its zeros mean nothing unless it finds what
//! is there.

use encke_client::ReceiptState;
use encke_history::Kind;
use encke_proto::{ChannelName, Cursor, Epoch, Position, UserId};

use super::{
    evidence::{Id, Note},
    verdict::judge,
};

const EPOCH: Epoch = Epoch(7);
const MESSAGES: Id = 24;

fn channel(name: &str) -> ChannelName {
    ChannelName::any(name).unwrap()
}

fn user(client: usize) -> UserId {
    UserId::new(&format!("u{client}")).unwrap()
}

fn follows(client: usize) -> [ChannelName; 3] {
    [channel("a"), channel("b"), user(client).channel()]
}

fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset }
}

/// Where a message goes: two to `a` and `b` each, then one to each user.
fn to(id: Id) -> ChannelName {
    match id % 4 {
        0 | 1 => channel(["a", "b"][usize::try_from(id % 2).unwrap()]),
        left => user(usize::try_from(left - 2).unwrap()).channel(),
    }
}

/// Two clients that get all that is for them, with a reconnect in the middle; a publisher that is unsure
/// once; receipts; and presence.
fn honest() -> Vec<Note> {
    let mut notes = Vec::new();
    let mut cursors = [0, 1]
        .map(|client| Cursor { entries: follows(client).map(|name| (name, at(0))).to_vec(), closed: false });
    for (client, cursor) in cursors.iter().enumerate() {
        notes.push(Note::Began { client, user: user(client), cursor: cursor.clone() });
    }
    let mut logs: Vec<(ChannelName, Vec<(Position, Id)>)> =
        ["a", "b", "@u0", "@u1"].map(|name| (channel(name), Vec::new())).to_vec();
    for id in 1..=MESSAGES {
        let to = to(id);
        notes.push(Note::Invoked { id, to: vec![to.clone()] });
        let (_, log) = logs.iter_mut().find(|(name, _)| *name == to).unwrap();
        let position = at(log.len() as u64 + 1);
        log.push((position, id));
        if id == 9 {
            notes.push(Note::Unknown { id });
        }
        for (client, cursor) in cursors.iter_mut().enumerate() {
            if id == MESSAGES / 2 {
                notes.push(Note::Resumed { client, cursor: cursor.clone() });
            }
            if cursor.position(&to).is_some() {
                cursor.set(&to, position);
                notes.push(Note::Delivered { client, channel: to.clone(), position, id });
            }
        }
        let at = if to.is_own() { Vec::new() } else { vec![(to, position)] };
        notes.push(Note::Accepted { id, at, push: None });
    }
    for (channel, entries) in &logs {
        notes.push(Note::Log { channel: channel.clone(), asked_ms: u64::MAX, entries: entries.clone() });
    }
    for (client, cursor) in cursors.iter().enumerate() {
        let user = user(client);
        notes.push(Note::Judged { client });
        notes.push(Note::Acked { client, cursor: cursor.clone() });
        notes.push(Note::Receipt { id: 2 + client as Id, user: user.clone(), state: ReceiptState::Shown });
        notes.push(Note::Listed { look: 0, user: user.clone(), online: true, sessions: 1 });
        notes.push(Note::Truth { look: 0, user, sessions: 1 });
    }
    notes
}

/// The kinds of what is found when `plant` has been at work.
fn found(plant: impl FnOnce(&mut Vec<Note>)) -> Vec<Kind> {
    let mut notes = honest();
    plant(&mut notes);
    let notes: Vec<(u64, Note)> = notes.into_iter().enumerate().map(|(ms, note)| (ms as u64, note)).collect();
    let mut kinds: Vec<Kind> = judge(&notes).violations.iter().map(|violation| violation.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// Where a client is handed a message.
fn delivery(notes: &[Note], of: usize, message: Id) -> usize {
    notes
        .iter()
        .position(
            |note| matches!(note, Note::Delivered { client, id, .. } if *client == of && *id == message),
        )
        .unwrap()
}

fn log_of<'a>(notes: &'a mut [Note], name: &str) -> &'a mut Vec<(Position, Id)> {
    let of = |note: &'a mut Note| match note {
        Note::Log { channel, entries, .. } if channel.as_str() == name => Some(entries),
        _ => None,
    };
    notes.iter_mut().find_map(of).unwrap()
}

#[test]
fn an_honest_history_has_nothing_wrong() {
    assert_eq!(found(|_| {}), []);
}

type Plant = fn(&mut Vec<Note>);

/// Bugs in an honest history: what is wrong, the kind that is to be found, and how to plant it.
const PLANTS: [(&str, Kind, Plant); 17] = [
    ("a message is left out", Kind::Lost, |notes| {
        notes.remove(delivery(notes, 0, 8));
    }),
    ("the last message never comes", Kind::Lost, |notes| {
        notes.remove(delivery(notes, 1, 24));
    }),
    ("a message is handed over twice", Kind::Dup, |notes| {
        let index = delivery(notes, 0, 8);
        notes.insert(index + 1, notes[index].clone());
    }),
    ("two messages change places", Kind::Order, |notes| {
        let (first, second) = (delivery(notes, 0, 4), delivery(notes, 0, 8));
        notes.swap(first, second);
    }),
    ("a message is said to be of another epoch", Kind::Order, |notes| {
        let index = delivery(notes, 0, 8);
        if let Note::Delivered { position, .. } = &mut notes[index] {
            position.epoch = Epoch(8);
        }
    }),
    ("a client goes on from an old cursor, and hands over again what it had", Kind::Dup, |notes| {
        let again: Vec<Note> = notes[delivery(notes, 0, 4)..=delivery(notes, 0, 8)]
            .iter()
            .filter(|note| matches!(note, Note::Delivered { client: 0, .. }))
            .cloned()
            .collect();
        let index = notes.iter().position(|note| matches!(note, Note::Resumed { client: 0, .. })).unwrap();
        notes.splice(index + 1..=index, again);
    }),
    ("a session that is gone is listed", Kind::Ghost, |notes| {
        let index = notes.iter().position(|note| matches!(note, Note::Truth { .. })).unwrap();
        if let Note::Truth { sessions, .. } = &mut notes[index] {
            *sessions = 0;
        }
    }),
    ("one session too many is listed", Kind::Ghost, |notes| {
        let index = notes.iter().position(|note| matches!(note, Note::Listed { .. })).unwrap();
        if let Note::Listed { sessions, .. } = &mut notes[index] {
            *sessions = 2;
        }
    }),
    ("a push goes to another user too", Kind::Leak, |notes| {
        let index = delivery(notes, 0, 2);
        let Note::Delivered { channel, position, id, .. } = notes[index].clone() else { return };
        notes.insert(index, Note::Delivered { client: 1, channel, position, id });
    }),
    ("a loss that the cursor hides", Kind::Lost, |notes| {
        notes.remove(delivery(notes, 0, 8));
        let index = notes.iter().position(|note| matches!(note, Note::Resumed { client: 0, .. })).unwrap();
        if let Note::Resumed { cursor, .. } = &mut notes[index] {
            cursor.set(&channel("a"), at(4));
        }
    }),
    ("a message that was never sent", Kind::Phantom, |notes| {
        let index = delivery(notes, 0, 24);
        notes.insert(
            index + 1,
            Note::Delivered { client: 0, channel: channel("a"), position: at(13), id: 99 },
        );
    }),
    ("a retry becomes a second message", Kind::Dup, |notes| {
        log_of(notes, "b").push((at(7), 9));
    }),
    ("subscribers disagree about the order", Kind::Order, |notes| {
        let (first, second) = (delivery(notes, 0, 4), delivery(notes, 0, 8));
        let (Note::Delivered { id: a, .. }, Note::Delivered { id: b, .. }) =
            (notes[first].clone(), notes[second].clone())
        else {
            return;
        };
        for (index, other) in [(first, b), (second, a)] {
            if let Note::Delivered { id, .. } = &mut notes[index] {
                *id = other;
            }
        }
    }),
    ("an offset is given twice", Kind::Order, |notes| {
        let log = log_of(notes, "a");
        let last = log.len() - 1;
        log[last].1 = 99;
        notes.insert(0, Note::Invoked { id: 99, to: vec![channel("a")] });
    }),
    ("what was accepted is not in the log", Kind::Lost, |notes| {
        log_of(notes, "@u1").pop();
    }),
    ("a gap is told where nothing is missing", Kind::FalseGap, |notes| {
        let index = delivery(notes, 0, 8);
        notes.insert(index, Note::Gap { client: 0, channel: channel("a"), from: 2, to: Some(2) });
    }),
    ("a receipt goes back", Kind::Receipt, |notes| {
        notes.push(Note::Receipt { id: 2, user: user(0), state: ReceiptState::Delivered });
    }),
];

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<_> = PLANTS
        .into_iter()
        .filter_map(|(name, kind, plant)| (!found(plant).contains(&kind)).then_some(name))
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn who_comes_back_without_a_cursor_gets_what_was_pushed_meanwhile() {
    let again = |notes: &mut Vec<Note>, offset: u64| {
        let index = delivery(notes, 0, 2);
        notes.insert(index + 1, Note::Ended { client: 0 });
        notes.retain(|note| {
            !matches!(
                note,
                Note::Delivered { client: 0, .. }
                    | Note::Resumed { client: 0, .. }
                    | Note::Acked { client: 0, .. }
            )
        });
        let index = notes.iter().position(|note| matches!(note, Note::Log { .. })).unwrap();
        let entries = vec![(channel("a"), at(6)), (channel("b"), at(6)), (user(0).channel(), at(offset))];
        notes.insert(
            index,
            Note::Began { client: 0, user: user(0), cursor: Cursor { entries, closed: false } },
        );
    };
    // It ended behind its first push, and begins behind the fifth.
    assert!(found(|notes| again(notes, 5)).contains(&Kind::Lost));
    let from_the_future = |notes: &mut Vec<Note>| {
        let Note::Began { cursor, .. } = &mut notes[0] else { return };
        cursor.set(&channel("a"), at(3));
    };
    assert!(found(from_the_future).contains(&Kind::Lost));
}

/// An honest history in which the engine loses the end of `a`, and goes on in another epoch: of six messages
/// it keeps four, and two others come after them.
fn with_a_loss() -> Vec<Note> {
    let mut notes = honest();
    let next = |offset| Position { epoch: Epoch(8), offset };
    let first_log = notes.iter().position(|note| matches!(note, Note::Log { .. })).unwrap();
    let kept: Vec<(Position, Id)> =
        log_of(&mut notes, "a")[..4].iter().map(|(position, id)| (next(position.offset), *id)).collect();
    let mut more = vec![Note::Loss { since_ms: 30, until_ms: 1_000 }];
    for client in 0..2 {
        more.push(Note::Gap { client, channel: channel("a"), from: 7, to: None });
    }
    for (id, offset) in [(97, 5), (98, 6)] {
        more.push(Note::Invoked { id, to: vec![channel("a")] });
        for client in 0..2 {
            more.push(Note::Delivered { client, channel: channel("a"), position: next(offset), id });
        }
        more.push(Note::Accepted { id, at: vec![(channel("a"), next(offset))], push: None });
    }
    *log_of(&mut notes, "a") = kept.into_iter().chain([(next(5), 97), (next(6), 98)]).collect();
    notes.splice(first_log..first_log, more);
    notes
}

/// The kinds of what is found in a history with a loss when `plant` has been at work.
fn found_with_a_loss(plant: impl FnOnce(&mut Vec<Note>)) -> Vec<Kind> {
    found(|notes| {
        *notes = with_a_loss();
        plant(notes);
    })
}

#[test]
fn what_the_engine_itself_lost_and_told_is_no_fault() {
    assert_eq!(found_with_a_loss(|_| {}), []);
    // A client that stood before the loss goes on without a word.
    let before = found_with_a_loss(|notes| {
        notes.retain(|note| match note {
            Note::Delivered { client: 1, channel: name, position, .. } => {
                *name != channel("a") || position.epoch != EPOCH || position.offset <= 4
            }
            Note::Resumed { client: 1, .. } => false,
            Note::Acked { client: 1, .. } | Note::Gap { client: 1, .. } => false,
            _ => true,
        });
    });
    assert_eq!(before, []);
}

/// Bugs in a history with a loss.
const PLANTS_BESIDE_A_LOSS: [(&str, Kind, Plant); 8] = [
    ("no client is told of the loss", Kind::Order, |notes| {
        notes.retain(|note| !matches!(note, Note::Gap { client: 0, .. }));
    }),
    ("what the engine kept is lost", Kind::Lost, |notes| {
        log_of(notes, "b").pop();
        // It was accepted long before anything went wrong.
        for note in notes.iter_mut() {
            if let Note::Loss { since_ms, .. } = note {
                *since_ms = 1_000;
            }
        }
    }),
    ("the first message behind the loss does not come", Kind::Lost, |notes| {
        notes.remove(delivery(notes, 0, 97));
    }),
    ("the last message behind the loss does not come", Kind::Lost, |notes| {
        notes.remove(delivery(notes, 0, 98));
    }),
    ("what is accepted in the new epoch is not in its log", Kind::Lost, |notes| {
        log_of(notes, "a").pop();
        notes.retain(|note| !matches!(note, Note::Delivered { id: 98, .. }));
    }),
    ("a loss is told where nothing was lost", Kind::FalseGap, |notes| {
        let index = notes.iter().position(|note| matches!(note, Note::Loss { .. })).unwrap();
        notes.insert(index + 1, Note::Gap { client: 0, channel: channel("b"), from: 7, to: None });
        notes.push(Note::Invoked { id: 96, to: vec![channel("b")] });
        log_of(notes, "b").iter_mut().for_each(|(position, _)| position.epoch = Epoch(8));
        log_of(notes, "b").push((Position { epoch: Epoch(8), offset: 7 }, 96));
        let position = Position { epoch: Epoch(8), offset: 7 };
        notes.push(Note::Delivered { client: 0, channel: channel("b"), position, id: 96 });
    }),
    ("a receipt goes back that was given long before", Kind::Receipt, |notes| {
        for note in notes.iter_mut() {
            match note {
                Note::Loss { since_ms, until_ms } => (*since_ms, *until_ms) = (0, 1),
                Note::Receipt { state, .. } => *state = ReceiptState::Queued,
                _ => {}
            }
        }
    }),
    ("a message behind the loss comes twice", Kind::Dup, |notes| {
        let index = delivery(notes, 0, 98);
        notes.insert(index + 1, notes[index].clone());
    }),
];

#[test]
fn every_bug_that_is_planted_beside_a_loss_is_found() {
    let missed: Vec<_> = PLANTS_BESIDE_A_LOSS
        .into_iter()
        .filter_map(|(name, kind, plant)| (!found_with_a_loss(plant).contains(&kind)).then_some(name))
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    // Without a loss the same history is full of wrongs.
    assert!(
        found_with_a_loss(|notes| notes.retain(|note| !matches!(note, Note::Loss { .. })))
            .contains(&Kind::FalseGap)
    );
}

/// The engine loses the log of a user, and is restarted after more was pushed: of the epoch between, in which
/// the user's client began anew, no client was handed a message.
fn with_an_unseen_epoch(place: u64) -> Vec<Note> {
    let mut notes = honest();
    let own = user(0).channel();
    let unseen = |offset| Position { epoch: Epoch(8), offset };
    let next = |offset| Position { epoch: Epoch(9), offset };
    let more = |id| Note::Invoked { id, to: vec![own.clone()] };
    let accepted = |id| Note::Accepted { id, at: Vec::new(), push: Some(format!("push {id}")) };
    let after = |position| {
        let entries = vec![(channel("a"), at(6)), (channel("b"), at(6)), (own.clone(), position)];
        Cursor { entries, closed: false }
    };
    let gap = Note::Gap { client: 0, channel: own.clone(), from: 7, to: None };
    let began = Note::Began { client: 0, user: user(0), cursor: after(unseen(place)) };
    let loss = Note::Loss { since_ms: 0, until_ms: 1_000 };
    let delivered = Note::Delivered { client: 0, channel: own.clone(), position: next(3), id: 103 };
    let between = [
        vec![loss, gap, more(101), accepted(101), more(102), accepted(102), Note::Tried { client: 0 }, began],
        vec![Note::Resumed { client: 0, cursor: after(next(place)) }, more(103), delivered, accepted(103)],
    ];
    *log_of(&mut notes, "@u0") = vec![(next(1), 101), (next(2), 102), (next(3), 103)];
    let first_log = notes.iter().position(|note| matches!(note, Note::Log { .. })).unwrap();
    notes.splice(first_log..first_log, between.concat());
    notes
}

#[test]
fn an_epoch_in_which_no_message_was_seen_holds_what_was_accepted_before_it_was_named() {
    assert_eq!(found(|notes| *notes = with_an_unseen_epoch(2)), []);
    // A client that comes to the end of the log without what is behind its place has lost that.
    let lost = found(|notes| {
        *notes = with_an_unseen_epoch(1);
        notes.retain(|note| !matches!(note, Note::Tried { .. }));
    });
    assert!(lost.contains(&Kind::Lost), "{lost:?}");
}

#[test]
fn an_epoch_of_which_only_the_beginning_was_seen_holds_what_was_accepted_before_a_cursor_was_there() {
    let with_its_beginning = |notes: &mut Vec<Note>| {
        *notes = with_an_unseen_epoch(2);
        let position = Position { epoch: Epoch(8), offset: 1 };
        let began = notes.iter().rposition(|note| matches!(note, Note::Tried { client: 0 })).unwrap();
        let delivered = Note::Delivered { client: 0, channel: user(0).channel(), position, id: 101 };
        notes.insert(began, delivered);
    };
    assert_eq!(found(with_its_beginning), []);
    // What only came there in the later epoch was not in this one.
    let lost = found(|notes| {
        with_its_beginning(notes);
        notes.retain(|note| !matches!(note, Note::Accepted { id: 102, .. }));
    });
    assert!(!lost.is_empty());
}

#[test]
fn an_epoch_of_which_the_beginning_was_not_seen_may_go_on_from_one_of_which_nothing_was() {
    let kept = vec![(Position { epoch: Epoch(9), offset: 3 }, 103)];
    let found = found(|notes| {
        *notes = with_an_unseen_epoch(2);
        *log_of(notes, "@u0") = kept;
    });
    assert_eq!(found, []);
}

#[test]
fn a_receipt_that_was_given_while_the_engine_may_have_lost_it_is_not_expected() {
    let queued = |notes: &mut Vec<Note>| {
        for note in notes.iter_mut() {
            match note {
                Note::Loss { since_ms, .. } => *since_ms = 0,
                Note::Receipt { state, .. } => *state = ReceiptState::Queued,
                _ => {}
            }
        }
    };
    assert_eq!(found_with_a_loss(queued), []);
}

#[test]
fn an_engine_that_lost_the_beginning_of_a_log_may_say_exactly_what_is_gone_but_not_of_what_is_there() {
    let gone = |notes: &mut Vec<Note>, kept: usize| {
        let index = notes.iter().position(|note| matches!(note, Note::Loss { .. })).unwrap();
        notes[index] = Note::Loss { since_ms: 0, until_ms: 1_000 };
        for client in 0..2 {
            notes.retain(|note| match note {
                Note::Delivered { client: of, channel: name, position, .. } => {
                    *of != client || *name != channel("b") || position.offset <= 4
                }
                _ => true,
            });
        }
        let index = notes.iter().position(|note| matches!(note, Note::Loss { .. })).unwrap();
        for client in 0..2 {
            notes.insert(index + 1, Note::Gap { client, channel: channel("b"), from: 5, to: Some(6) });
        }
        log_of(notes, "b").drain(..kept);
    };
    assert_eq!(found_with_a_loss(|notes| gone(notes, 6)), []);
    assert!(found_with_a_loss(|notes| gone(notes, 5)).contains(&Kind::FalseGap));
}

#[test]
fn a_late_request_whose_key_was_lost_makes_another_message() {
    // Also for clients that stood before the loss.
    let late = |notes: &mut Vec<Note>| {
        let id = log_of(notes, "b")[1].1;
        let (was, now) = (log_of(notes, "b").len() as u64, Position { epoch: Epoch(8), offset: 7 });
        log_of(notes, "b").iter_mut().for_each(|(position, _)| position.epoch = Epoch(8));
        assert_eq!(was, 6);
        log_of(notes, "b").push((now, id));
        let first = notes.iter().position(|note| matches!(note, Note::Log { .. })).unwrap();
        let copies =
            (0..2).map(|client| Note::Delivered { client, channel: channel("b"), position: now, id });
        notes.splice(first..first, copies);
        id
    };
    assert_eq!(
        found_with_a_loss(|notes| {
            let id = late(notes);
            // A purge took the first one with everything else.
            log_of(notes, "b").retain(|(position, there)| *there != id || position.offset == 7);
            log_of(notes, "b").drain(..1);
            notes.iter_mut().for_each(|note| {
                if let Note::Loss { since_ms, .. } = note {
                    *since_ms = 0;
                }
            });
        }),
        []
    );
    assert!(
        found_with_a_loss(|notes| {
            let _ = late(notes);
        })
        .contains(&Kind::Dup),
        "both in one log are a retry that became a second message"
    );
}

#[test]
fn silence_is_measured_while_nodes_are_restarted_one_after_the_other() {
    let mut notes = honest();
    let index = delivery(&notes, 0, 8);
    notes.insert(index, Note::Rolling { begins: true });
    notes.insert(index + 1, Note::Cut { client: 0 });
    notes.push(Note::Rolling { begins: false });
    let notes: Vec<(u64, Note)> =
        notes.into_iter().enumerate().map(|(number, note)| (number as u64 * 10, note)).collect();
    let silence = judge(&notes).silence;
    let resumed = notes.iter().position(|(_, note)| matches!(note, Note::Resumed { client: 0, .. })).unwrap();
    assert_eq!(silence.away_ms, notes[resumed].0 - notes[index + 1].0);
    assert!(silence.sent_ms >= 10 && silence.deliveries > 10, "{silence:?}");
}

#[test]
fn an_epoch_goes_on_from_the_one_that_it_has_most_in_common_with() {
    let at = |epoch, offset| Position { epoch: Epoch(epoch), offset };
    let name = || channel("x");
    let mut notes = vec![Note::Lineages, Note::Loss { since_ms: 0, until_ms: 1_000_000 }];
    let begin = |epoch, offset| Cursor { entries: vec![(name(), at(epoch, offset))], closed: false };
    let message = |notes: &mut Vec<Note>, client, epoch, offset, id| {
        notes.push(Note::Invoked { id, to: vec![name()] });
        notes.push(Note::Delivered { client, channel: name(), position: at(epoch, offset), id });
    };
    notes.push(Note::Began { client: 0, user: user(0), cursor: begin(1, 0) });
    for offset in 1..=9 {
        message(&mut notes, 0, 1, offset, 100 + offset);
    }
    // Everything is lost. No client hears the first two messages of the next epoch, so that it could be one
    // that goes on from there.
    notes.push(Note::Gap { client: 0, channel: name(), from: 10, to: None });
    notes.push(Note::Ended { client: 0 });
    notes.push(Note::Invoked { id: 201, to: vec![name()] });
    notes.push(Note::Invoked { id: 202, to: vec![name()] });
    notes.push(Note::Began { client: 1, user: user(1), cursor: begin(2, 2) });
    for offset in 3..=5 {
        message(&mut notes, 1, 2, offset, 200 + offset);
    }
    // A restart, and then an old master that had only four of these.
    message(&mut notes, 1, 3, 6, 206);
    notes.push(Note::Gap { client: 1, channel: name(), from: 7, to: None });
    message(&mut notes, 1, 4, 5, 305);
    let entries = [201, 202, 203, 204, 305]
        .into_iter()
        .enumerate()
        .map(|(number, id)| (at(4, number as u64 + 1), id))
        .collect();
    notes.push(Note::Log { channel: name(), asked_ms: u64::MAX, entries });
    notes.push(Note::Judged { client: 1 });
    let notes: Vec<(u64, Note)> = notes.into_iter().enumerate().map(|(ms, note)| (ms as u64, note)).collect();
    let found: Vec<String> = judge(&notes).violations.into_iter().map(|violation| violation.what).collect();
    assert!(found.is_empty(), "{found:?}");
}
