//! The contract's tests of known users and channels: what makes them known, and the pages that list them.

use encke_proto::{ChannelName, NameFilter, UserId};

use super::{
    Bed,
    keys::sweep_for,
    lab::{Lab, NOON, channel, everywhere, message, to_channel, to_users, user},
};
use crate::{Append, ChannelSummary, ReceiptState, Retention, Targets, UserRecord};

pub(super) async fn users_are_known_who_were_seen_or_pushed_to(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    assert_eq!(lab.engine.user(&user("alice")).await, Ok(None));
    lab.engine.seen(&user("alice"), NOON).await.expect("a healthy engine sees");
    lab.append(to_users(&["bob"])).await;
    lab.append(to_channel("carol")).await;
    let seen = UserRecord { user: user("alice"), first_seen: NOON, last_seen: Some(NOON) };
    let pushed = UserRecord { user: user("bob"), first_seen: NOON, last_seen: None };
    assert_eq!(lab.engine.user(&user("alice")).await, Ok(Some(seen.clone())));
    assert_eq!(lab.engine.user(&user("bob")).await, Ok(Some(pushed.clone())));
    assert_eq!(lab.engine.user(&user("carol")).await, Ok(None), "a channel of that name is no user");
    assert_eq!(lab.engine.users(None, 10).await, Ok(vec![seen, pushed]));
}

pub(super) async fn a_user_who_was_never_here_is_forgotten_with_the_last_message(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let at = |seconds| NOON.plus_seconds(seconds);
    let until = |seconds, append: Append| Append { expires: Some(at(seconds)), ..append };
    lab.engine.seen(&user("alice"), NOON).await.expect("a healthy engine sees");
    let push = lab.append(until(10, to_users(&["alice", "alcie"]))).await;
    lab.append(until(40, to_users(&["alcie"]))).await;
    let known = async || {
        let all = lab.engine.users(None, 10).await.expect("a healthy engine reads");
        all.into_iter().map(|record| record.user.as_str().to_owned()).collect::<Vec<_>>()
    };
    // A store with many logs sweeps a part of them at a time.
    sweep_for(&lab, at(0), 30).await;
    assert_eq!(known().await, ["alcie", "alice"], "a message is kept for each, or was here");
    sweep_for(&lab, at(40), 60).await;
    assert_eq!(known().await, ["alice"]);
    assert_eq!(lab.engine.user(&user("alcie")).await, Ok(None));
    let all = lab.append(until(130, message(Targets::AllUsers))).await;
    assert_eq!(all.positions.len(), 1, "it goes to alice alone");
    let became: Vec<_> =
        lab.receipts(&push.id, at(100)).await.into_iter().map(|(user, state, _)| (user, state)).collect();
    let expired = |user: &str| (user.to_owned(), ReceiptState::Expired);
    assert_eq!(became, [expired("alcie"), expired("alice")], "the receipts stay");
    // A user who is pushed to again is known again, at the places that come next.
    let again = lab.append(Append { time: at(110), ..until(130, to_users(&["alcie"])) }).await;
    assert_eq!(again.positions[0].1.offset, 3);
    let record = UserRecord { user: user("alcie"), first_seen: at(110), last_seen: None };
    assert_eq!(lab.engine.user(&user("alcie")).await, Ok(Some(record)));
    lab.engine.seen(&user("alcie"), at(120)).await.expect("a healthy engine sees");
    sweep_for(&lab, at(130), 60).await;
    assert_eq!(known().await, ["alcie", "alice"], "who was here is known for good");
}

pub(super) async fn last_seen_moves_forward_only(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.append(to_users(&["alice"])).await;
    for (second, last) in [(5, 5), (3, 5), (9, 9)] {
        lab.engine.seen(&user("alice"), NOON.plus_seconds(second)).await.expect("a healthy engine sees");
        let record =
            UserRecord { user: user("alice"), first_seen: NOON, last_seen: Some(NOON.plus_seconds(last)) };
        assert_eq!(lab.engine.user(&user("alice")).await, Ok(Some(record)));
    }
    lab.append(message(Targets::AllUsers)).await;
    let record =
        lab.engine.user(&user("alice")).await.expect("a healthy engine reads").expect("she is known");
    assert_eq!(
        (record.first_seen, record.last_seen),
        (NOON, Some(NOON.plus_seconds(9))),
        "a push leaves both alone"
    );
}

pub(super) async fn users_come_in_pages_by_id(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let names = ["zoe", "Zoe", "@odd", "!first", "élise", "b", "a b", "四个用户"];
    for name in names {
        lab.engine.seen(&user(name), NOON).await.expect("a healthy engine sees");
    }
    lab.fill("public", 1).await;
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    for expected in [3, 3, 2, 0] {
        let page = lab.engine.users(after.as_ref(), 3).await.expect("a healthy engine reads");
        assert_eq!(page.len(), expected);
        after = page.last().map(|record| record.user.clone()).or(after);
        found.extend(page.into_iter().map(|record| record.user.as_str().to_owned()));
    }
    assert_eq!(found, sorted);
    let behind = lab.engine.users(Some(&user("unknown")), 1).await.expect("a healthy engine reads");
    assert_eq!(behind[0].user, user("zoe"), "behind an id that does not exist");
}

pub(super) async fn channels_come_in_pages_by_name_without_those_of_users(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let names = ["zz", "AA", "!a", "?b", "news", "news:1", "Ünï", "9"];
    for (index, name) in names.iter().enumerate() {
        lab.fill(name, index + 1).await;
        lab.append(to_users(&[name])).await;
    }
    lab.read(&channel("only-read"), crate::ReadFrom::Head, super::lab::ALL).await;
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    for size in [1, 3, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..=names.len() {
            let page = lab.engine.channels(after.as_ref(), size).await.expect("a healthy engine reads");
            assert!(page.len() <= size);
            let Some(last) = page.last() else { break };
            after = Some(last.channel.clone());
            found.extend(page);
        }
        let found_names: Vec<_> = found.iter().map(|summary| summary.channel.as_str()).collect();
        assert_eq!(found_names, sorted);
        for summary in found {
            let index =
                names.iter().position(|name| *name == summary.channel.as_str()).expect("it is one of them");
            assert_eq!((summary.tail, summary.head), (1, index as u64 + 1));
        }
    }
}

/// Of all lists of names: each filter gives those that match it, in order, in whatever pages.
pub(super) async fn names_that_match_come_in_order_and_in_pages(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let names = ["zoe", "Zoe", "odd", "!first", "élise", "b", "bb", "a b", "abba", "四个用户"];
    for name in names {
        lab.engine.seen(&user(name), NOON).await.expect("a healthy engine sees");
        lab.fill(name, 1).await;
    }
    lab.engine.delete(&channel("bb")).await.expect("a healthy engine deletes");
    lab.engine.delete(&user("bb").channel()).await.expect("a healthy engine deletes");
    lab.read(&channel("b-read"), crate::ReadFrom::Head, super::lab::ALL).await;
    for (prefix, contains) in [("", ""), ("b", ""), ("", "b"), ("a", "b"), ("", "个"), ("Z", "o"), ("", "x")]
    {
        let filter = NameFilter { prefix: prefix.into(), contains: contains.into() };
        let mut expected: Vec<&str> =
            names.into_iter().filter(|name| *name != "bb" && filter.matches(name)).collect();
        expected.sort_unstable();
        for size in [1, 3, usize::MAX] {
            let (mut users, mut channels) = (Vec::new(), vec![ChannelName::last_internal()]);
            for _ in 0..=names.len() {
                let page = lab.engine.user_ids(&filter, users.last(), size).await;
                users.extend(page.expect("a healthy engine reads").into_iter().take(size));
                let page = lab.engine.channel_names(&filter, channels.last(), size).await;
                channels.extend(page.expect("a healthy engine reads").into_iter().take(size));
            }
            let users: Vec<&str> = users.iter().map(UserId::as_str).collect();
            let channels: Vec<&str> = channels[1..].iter().map(ChannelName::as_str).collect();
            assert_eq!((users, channels), (expected.clone(), expected.clone()), "{filter:?} by {size}");
        }
    }
}

pub(super) async fn a_trimmed_channel_is_still_known(bed: &dyn Bed) {
    let lab =
        Lab::with(bed, everywhere(Retention { max_messages: 3, max_bytes: 1 << 20, max_age_s: 10 })).await;
    lab.fill("a", 5).await;
    let epoch = lab.all(&channel("a")).await.epoch;
    let summary = |tail| ChannelSummary { channel: channel("a"), epoch, tail, head: 5 };
    assert_eq!(lab.engine.channels(None, 10).await, Ok(vec![summary(3)]));
    lab.sweep(NOON.plus_seconds(60)).await;
    assert_eq!(lab.engine.channels(None, 10).await, Ok(vec![summary(6)]));
}
