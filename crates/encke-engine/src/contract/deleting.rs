//! The contract's tests of deletion: what was deleted is gone for every reader, and what comes later is never
//! taken for it. A deletion over a reopening is in `reopening.rs`.

use std::{collections::HashSet, sync::Arc};

use encke_proto::{Offset, Position, Time};

use super::{
    Bed,
    keys::{asking, keyed},
    lab::{ALL, Lab, NOON, channel, ids, message, offsets, to_channel, to_users, user},
};
use crate::{Append, Appended, EngineError, Mark, PageLimit, ReadFrom, ReceiptState, Targets};

fn at(second: u64) -> Time {
    NOON.plus_seconds(second)
}

pub(super) async fn a_deleted_channel_is_gone(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert!(!lab.delete("a").await, "there is none");
    lab.fill("a", 3).await;
    let kept = lab.fill("b", 2).await;
    let both = lab.append(message(Targets::Channels(vec![channel("a"), channel("b")]))).await.id;
    assert!(lab.delete("a").await);
    assert!(!lab.delete("a").await, "it is gone already");
    for from in [ReadFrom::After(0), ReadFrom::After(2), ReadFrom::Before(u64::MAX), ReadFrom::Head] {
        assert_eq!(offsets(&lab.read(&channel("a"), from, ALL).await), [0; 0], "{from:?}");
    }
    let listed = lab.engine.channels(None, 10).await.expect("a healthy engine reads");
    assert_eq!(listed.iter().map(|summary| summary.channel.as_str()).collect::<Vec<_>>(), ["b"]);
    let others: Vec<_> = kept.into_iter().chain([both]).collect();
    assert_eq!(ids(&lab.all(&channel("b")).await), others, "what another log has stays there");
    lab.sweep(at(60)).await;
    assert_eq!(ids(&lab.all(&channel("b")).await), others, "after a sweep too");
}

pub(super) async fn no_cursor_of_a_deleted_log_is_a_place_in_a_new_one(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for round in 1..4 {
        let before = lab.all(&channel("a")).await;
        let last = lab.fill("a", 4).await.pop();
        let head = lab.all(&channel("a")).await.head;
        assert!(head >= before.head + 4);
        assert!(lab.delete("a").await);
        let gone = lab.all(&channel("a")).await;
        assert_eq!(gone.epoch, before.epoch);
        assert!(gone.head > head, "the deletion has an offset: also the last cursor lies before the tail");
        assert_eq!(gone.tail, gone.head + 1, "there is nothing");
        let new = lab.append(to_channel("a")).await;
        assert!(!new.repeated && Some(&new.id) != last.as_ref());
        let Position { epoch, offset } = new.positions[0].1;
        assert!(epoch != before.epoch || offset > head + 1, "round {round}: {offset} behind {head}");
        let page = lab.all(&channel("a")).await;
        assert_eq!((page.tail, page.head), (offset, offset));
        for after in 0..offset {
            let page = lab.read(&channel("a"), ReadFrom::After(after), ALL).await;
            assert_eq!(ids(&page), std::slice::from_ref(&new.id), "behind {after}");
        }
        let listed = lab.engine.channels(None, 10).await.expect("a healthy engine reads");
        assert_eq!((listed[0].tail, listed[0].head), (offset, offset));
        let one = PageLimit { messages: 1, bytes: 1 };
        assert_eq!(ids(&lab.read(&channel("a"), ReadFrom::Before(u64::MAX), one).await), [new.id]);
    }
}

pub(super) async fn a_deleted_user_is_gone(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let own = user("alice").channel();
    lab.engine.seen(&user("alice"), NOON).await.expect("a healthy engine sees");
    let alone = lab.append(to_users(&["alice"])).await.id;
    let both = lab.append(to_users(&["alice", "bob"])).await.id;
    lab.mark("alice", 1, ReceiptState::Shown, at(1)).await;
    let before = lab.all(&own).await;
    assert!(lab.delete("@alice").await);
    assert!(!lab.delete("@alice").await, "she is gone already");
    let gone = async |who: &str| {
        assert_eq!(lab.engine.user(&user("alice")).await, Ok(None), "{who}");
        let users = lab.engine.users(None, 10).await.expect("a healthy engine reads");
        assert_eq!(users.iter().map(|known| known.user.as_str()).collect::<Vec<_>>(), ["bob"], "{who}");
        assert_eq!(lab.all(&own).await.entries.len(), 0, "{who}");
        let bob = [("bob".to_owned(), ReceiptState::Queued, NOON)];
        assert_eq!(lab.receipts(&both, at(2)).await, bob, "{who}");
        let receipts = lab.engine.receipts(&alone, None, 10, at(2)).await.expect("a healthy engine reads");
        assert_eq!(receipts.unwrap_or_default(), [], "{who}");
    };
    gone("after the deletion").await;
    // What was on its way for her comes too late.
    for state in [ReceiptState::Delivered, ReceiptState::Shown] {
        for offset in [2, before.head + 1, u64::MAX] {
            let position = Position { epoch: before.epoch, offset };
            let mark = Mark { user: user("alice"), position, state, at: at(3) };
            lab.engine.mark(vec![mark]).await.expect("a healthy engine marks");
        }
    }
    gone("after late marks").await;
    let handed = lab.engine.handed(&user("alice")).await.expect("a healthy engine reads");
    assert_eq!(handed.offset, lab.all(&own).await.head, "a session that begins now is behind nothing");
    let all = lab.append(message(Targets::AllUsers)).await;
    assert_eq!(all.positions.len(), 1, "a push to all is not for her");
    lab.sweep(at(60)).await;
    gone("after a sweep").await;

    let anew = lab.append(Append { time: at(70), ..to_users(&["alice"]) }).await;
    let offset = anew.positions[0].1.offset;
    assert!(offset > before.head + 1);
    let record =
        lab.engine.user(&user("alice")).await.expect("a healthy engine reads").expect("she is known");
    assert_eq!((record.first_seen, record.last_seen), (at(70), None), "as a new user");
    assert_eq!(ids(&lab.all(&own).await), std::slice::from_ref(&anew.id));
    assert_eq!(lab.receipt(&anew.id, at(71)).await, (ReceiptState::Queued, at(70)));
    let handed = lab.engine.handed(&user("alice")).await.expect("a healthy engine reads");
    assert_eq!(handed.offset, offset - 1, "it was not handed over");
    lab.mark("alice", offset, ReceiptState::Delivered, at(72)).await;
    assert_eq!(lab.receipt(&anew.id, at(73)).await, (ReceiptState::Delivered, at(72)));
    let bob = [("bob".to_owned(), ReceiptState::Queued, NOON)];
    assert_eq!(lab.receipts(&both, at(73)).await, bob, "the former receipts do not come back");
}

pub(super) async fn a_key_of_a_deleted_log_is_forgotten(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let two = Targets::Channels(vec![channel("b"), channel("a")]);
    let shared = lab.append(keyed("api:2", message(two.clone()))).await;
    for (key, append) in [("api:1", to_channel("a")), ("api:3", to_users(&["alice"]))] {
        let name = if key == "api:1" { "a" } else { "@alice" };
        let first = lab.append(keyed(key, append.clone())).await;
        assert!(lab.delete(name).await);
        let id = super::lab::new_id();
        let anew = lab.append(keyed(key, Append { id: id.clone(), ..append.clone() })).await;
        assert!(!anew.repeated && anew.id == id && anew.id != first.id, "it is as good as new");
        let again = lab.append(keyed(key, append)).await;
        assert_eq!(again, Appended { repeated: true, ..anew }, "and is remembered again");
    }
    let again = lab.append(keyed("api:2", message(two))).await;
    assert!(again.repeated && again.id == shared.id, "another log still has its message");
    assert!(again.positions.contains(&shared.positions[0]));
}

pub(super) async fn the_keys_of_a_deleted_user_are_forgotten(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    // To channels that stay, in whatever part of an engine they are.
    let sent = |name: &str, number: usize| Append {
        from: Some(user(name)),
        ..keyed(&format!("user:{name}:{number}"), to_channel(&format!("c{}", number % 8)))
    };
    let mut others = Vec::new();
    for name in ["alice", "bob"] {
        lab.engine.seen(&user(name), NOON).await.expect("a healthy engine sees");
        lab.append(to_users(&[name])).await;
    }
    for number in 0..16 {
        assert!(!lab.append(sent("alice", number)).await.repeated);
        others.push(lab.append(sent("bob", number)).await);
    }
    let backend = lab.append(keyed("api:1", to_channel("c1"))).await;
    assert!(lab.delete("@alice").await);
    for (number, other) in others.into_iter().enumerate() {
        assert!(!lab.append(sent("alice", number)).await.repeated, "{number}: it is a new user's");
        assert!(lab.append(sent("alice", number)).await.repeated, "{number}: and is remembered again");
        assert_eq!(lab.append(sent("bob", number)).await, Appended { repeated: true, ..other });
    }
    let again = lab.append(keyed("api:1", to_channel("c1"))).await;
    assert_eq!(again, Appended { repeated: true, ..backend }, "a backend's key is not the user's");
}

pub(super) async fn the_feed_is_told_of_a_deletion(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let own = user("alice").channel();
    lab.watch([channel("a"), own.clone()]).await;
    lab.fill("a", 2).await;
    lab.append(to_users(&["alice"])).await;
    lab.feed.wait_for(3).await;
    for (name, deleted) in [("a", channel("a")), ("@alice", own)] {
        assert!(lab.delete(name).await);
        lab.feed.wait_for_retracted(&deleted, 1).await;
    }
    let next = lab.append(to_channel("a")).await;
    let heard = lab.feed.wait_for(4).await;
    assert_eq!((heard[3].message().id.clone(), heard.len()), (next.id, 4), "and then goes on");
    assert_eq!(heard[3].message().position, next.positions[0].1);
}

pub(super) async fn a_deletion_comes_before_or_after_each_append(bed: &dyn Bed) {
    const TASKS: usize = 6;
    const EACH: usize = 20;
    let lab = Lab::open(bed).await;
    let lab = Arc::new(lab);
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let lab = Arc::clone(&lab);
        tasks.push(tokio::spawn(async move {
            let mut told = Vec::new();
            for _ in 0..EACH {
                let appended = lab.append(to_channel("a")).await;
                told.push((appended.positions[0].1.offset, appended.id));
            }
            told
        }));
    }
    for _ in 0..EACH {
        lab.delete("a").await;
        tokio::task::yield_now().await;
    }
    let mut told = Vec::new();
    for task in tasks {
        let of_task = task.await.expect("no task panics");
        assert!(of_task.is_sorted_by_key(|(offset, _)| *offset), "each goes on behind the one before");
        told.extend(of_task);
    }
    let given: HashSet<Offset> = told.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(given.len(), TASKS * EACH, "no offset is given twice");
    let page = lab.all(&channel("a")).await;
    told.sort_unstable();
    let left = told.into_iter().filter(|(offset, _)| *offset >= page.tail);
    let kept = offsets(&page).into_iter().zip(ids(&page));
    assert!(kept.eq(left), "what came behind the last deletion is there, and nothing else");
}

pub(super) async fn a_repeat_to_many_leaves_out_who_was_deleted(bed: &dyn Bed) {
    const USERS: usize = 1_000;
    let lab = Lab::open(bed).await;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number:04}")).collect();
    let many = message(Targets::Users(names.iter().map(|name| user(name)).collect()));
    let all = message(Targets::AllUsers);
    let few = to_users(&["user-0001", "user-0002", "user-0003"]);
    let cases = [("api:many", many), ("api:all", all), ("api:few", few)];
    let mut firsts = Vec::new();
    for (key, append) in &cases {
        firsts.push(lab.append(keyed(key, append.clone())).await);
    }
    for name in ["@user-0001", "@user-0500"] {
        assert!(lab.delete(name).await, "{name}");
    }
    for ((key, append), first) in cases.iter().zip(&firsts) {
        let mut left = first.clone();
        left.positions.retain(|(channel, _)| !["@user-0001", "@user-0500"].contains(&channel.as_str()));
        assert!(left.positions.len() < first.positions.len(), "{key}");
        let again = lab.append(keyed(key, append.clone())).await;
        assert_eq!(again, Appended { repeated: true, ..left }, "{key}");
    }
    for name in ["@user-0002", "@user-0003"] {
        assert!(lab.delete(name).await, "{name}");
    }
    let (key, append) = &cases[2];
    let append = &Append { id: super::lab::new_id(), ..append.clone() };
    let anew = lab.append(keyed(key, append.clone())).await;
    assert_eq!((anew.repeated, anew.positions.len()), (false, 3), "it is as good as new");
    let again = lab.append(keyed(key, append.clone())).await;
    assert_eq!(again, Appended { repeated: true, ..anew }, "and is remembered again");
}

/// Wherever the targets lie.
pub(super) async fn a_key_of_which_nothing_is_left_takes_another_request(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for count in [1, 2, 20, 1_000] {
        let key = format!("api:{count}");
        let names: Vec<String> = (0..count).map(|number| format!("user-{count}-{number}")).collect();
        let all = || message(Targets::Users(names.iter().map(|name| user(name)).collect()));
        lab.append(asking(&key, 1, all())).await;
        let (first, others) = names.split_first().expect("there are users");
        for name in others {
            assert!(lab.delete(&format!("@{name}")).await, "{name}");
        }
        let other = all();
        let refused = lab.engine.append(asking(&key, 2, other.clone())).await;
        assert_eq!(refused, Err(EngineError::KeyReused), "{count}: the message is still there for one");
        assert!(lab.delete(&format!("@{first}")).await);
        let anew = lab.append(asking(&key, 2, other.clone())).await;
        assert_eq!((anew.repeated, anew.positions.len(), &anew.id), (false, count, &other.id), "{count}");
        let again = lab.append(asking(&key, 2, other.clone())).await;
        assert_eq!(again, Appended { repeated: true, ..anew }, "{count}");
        let refused = lab.engine.append(asking(&key, 1, other)).await;
        assert_eq!(refused, Err(EngineError::KeyReused), "{count}: it is of the second request now");
    }
}
