//! The contract's tests of known users and channels: what makes them known, and the pages that list them.

use super::{
    Bed,
    lab::{Lab, NOON, channel, everywhere, message, to_channel, to_users, user},
};
use crate::{ChannelSummary, Retention, Targets, UserRecord};

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
