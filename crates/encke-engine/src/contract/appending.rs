//! The contract's tests of append: all targets or none, offsets that rise by one, and the users that a push
//! reaches. Idempotency keys are in `keys.rs`, retention in `trimming.rs`.

use std::collections::HashSet;

use encke_proto::{Body, ChannelName, Show, Time, TraceContext, WebPage};

use super::{
    Bed,
    lab::{Lab, NOON, channel, data, everywhere, ids, message, offsets, to_channel, to_users, user},
};
use crate::{Append, Retention, Targets};

pub(super) async fn what_was_appended_is_read_back_as_it_was(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let written = [
        Append {
            body: data(r#"{"text":"Grüße, 世界 \u0000 \n","n":1.50,"big":123456789012345678901234567890}"#),
            from: Some(user("bob")),
            ..to_channel("a")
        },
        Append {
            body: Body::Page(WebPage { url: "https://example.com/?a=b&c=%20#d".into(), show: Show::Window }),
            expires: Some(Time(NOON.0 + 999)),
            ..to_channel("a")
        },
        Append { body: data("null"), time: Time(NOON.0 + 7), ..to_channel("a") },
        Append { trace: Some(trace(true)), from: Some(user("Bob B.")), ..to_channel("a") },
        Append { trace: Some(trace(false)), ..to_channel("a") },
    ];
    for append in &written {
        lab.append(append.clone()).await;
    }
    let page = lab.all(&channel("a")).await;
    assert_eq!(page.entries.len(), written.len());
    for (entry, append) in page.entries.iter().zip(&written) {
        let read = entry.message();
        assert_eq!(
            (&read.id, &read.from, read.time, read.expires, &read.trace),
            (&append.id, &append.from, append.time, append.expires, &append.trace)
        );
        assert_eq!((&read.channel, read.position.epoch), (&channel("a"), page.epoch));
        match (&read.body, &append.body) {
            (Body::Data(read), Body::Data(written)) => {
                assert_eq!(read.get(), written.get(), "the same bytes")
            }
            (Body::Page(read), Body::Page(written)) => assert_eq!(read, written),
            (Body::Bytes(read), Body::Bytes(written)) => assert_eq!(read, written, "the same bytes"),
            (read, written) => panic!("{written:?} became {read:?}"),
        }
    }
}

fn trace(is_sampled: bool) -> Box<TraceContext> {
    Box::new(TraceContext { trace_id: [0xa7; 16], span_id: [0, 1, 2, 3, 4, 5, 6, 7], is_sampled })
}

pub(super) async fn one_append_reaches_every_target(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.fill("b", 2).await;
    let names: Vec<ChannelName> = ["c", "b", "a"].map(channel).into();
    let appended = lab.append(message(Targets::Channels(names.clone()))).await;
    assert!(!appended.repeated);
    let named: Vec<ChannelName> = appended.positions.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(named, names, "positions in the order of the targets");
    for (name, position) in &appended.positions {
        let page = lab.all(name).await;
        let last = page.entries.last().expect("the message is there");
        assert_eq!((&last.message().id, last.message().position), (&appended.id, *position), "{name}");
        assert_eq!(page.epoch, position.epoch);
    }
    assert_eq!(appended.positions.iter().map(|(_, position)| position.offset).collect::<Vec<_>>(), [1, 3, 1]);
}

pub(super) async fn a_target_named_twice_gets_one_message(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let appended =
        lab.append(message(Targets::Channels(vec![channel("a"), channel("b"), channel("a")]))).await;
    assert_eq!(appended.positions.len(), 2);
    assert_eq!(lab.all(&channel("a")).await.head, 1);
    let pushed = lab.append(to_users(&["alice", "alice"])).await;
    assert_eq!(pushed.positions.len(), 1);
    assert_eq!(lab.all(&user("alice").channel()).await.head, 1);
}

pub(super) async fn offsets_rise_by_one_from_one(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for expected in 1..=50 {
        let appended = lab.append(to_channel("a")).await;
        assert_eq!(appended.positions[0].1.offset, expected);
        if expected % 3 == 0 {
            lab.append(to_channel("b")).await;
        }
    }
    let page = lab.all(&channel("a")).await;
    assert_eq!((page.tail, page.head), (1, 50));
    assert_eq!(offsets(&page), (1..=50).collect::<Vec<_>>());
}

pub(super) async fn offsets_rise_by_one_under_concurrent_appends(bed: &dyn Bed) {
    const TASKS: usize = 64;
    const EACH: usize = 10;
    let lab = Lab::open(bed).await;
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let engine = lab.engine.clone();
        tasks.push(tokio::spawn(async move {
            let mut places = Vec::new();
            for _ in 0..EACH {
                let append = message(Targets::Channels(vec![channel("a"), channel("b")]));
                let appended = engine.append(append).await.expect("a healthy engine appends");
                assert_eq!(appended.positions.len(), 2);
                places.push((appended.id, appended.positions[0].1.offset, appended.positions[1].1.offset));
            }
            places
        }));
    }
    let mut places = Vec::new();
    for task in tasks {
        places.extend(task.await.expect("no task panics"));
    }
    let (a, b) = (lab.all(&channel("a")).await, lab.all(&channel("b")).await);
    let all: Vec<u64> = (1..=(TASKS * EACH) as u64).collect();
    assert_eq!(offsets(&a), all);
    assert_eq!(offsets(&b), all);
    let unique: HashSet<_> = ids(&a).into_iter().collect();
    assert_eq!(unique.len(), all.len(), "no message is there twice");
    for (id, in_a, in_b) in places {
        assert_eq!(ids(&a)[in_a as usize - 1], id, "the place that was answered is the place in the log");
        assert_eq!(ids(&b)[in_b as usize - 1], id, "in every log");
    }
}

pub(super) async fn offsets_are_never_given_twice(bed: &dyn Bed) {
    let lab =
        Lab::with(bed, everywhere(Retention { max_messages: 100, max_bytes: 1 << 20, max_age_s: 10 })).await;
    lab.fill("a", 5).await;
    lab.append(to_users(&["alice"])).await;
    lab.sweep(NOON.plus_seconds(11)).await;
    for (name, head) in [(channel("a"), 5), (user("alice").channel(), 1)] {
        let page = lab.all(&name).await;
        assert_eq!(
            (page.tail, page.head, page.entries.len()),
            (head + 1, head, 0),
            "all of {name} was trimmed"
        );
    }
    assert_eq!(lab.append(to_channel("a")).await.positions[0].1.offset, 6);
    assert_eq!(lab.append(to_users(&["alice"])).await.positions[0].1.offset, 2);
    let page = lab.all(&channel("a")).await;
    assert_eq!((page.tail, page.head, offsets(&page)), (6, 6, vec![6]));
}

pub(super) async fn a_push_goes_to_the_own_channels_of_its_users(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.engine.seen(&user("carol"), NOON).await.expect("a healthy engine sees");
    let pushed = lab.append(to_users(&["bob", "alice"])).await;
    let named: Vec<_> = pushed.positions.iter().map(|(name, _)| name.as_str().to_owned()).collect();
    assert_eq!(named, ["@bob", "@alice"], "in the order of the targets");
    for name in ["alice", "bob"] {
        assert_eq!(ids(&lab.all(&user(name).channel()).await), std::slice::from_ref(&pushed.id), "{name}");
    }
    assert_eq!(lab.all(&user("carol").channel()).await.head, 0);
}

pub(super) async fn a_push_to_all_reaches_all_known_users(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    for name in ["zoe", "B", "a"] {
        lab.engine.seen(&user(name), NOON).await.expect("a healthy engine sees");
    }
    lab.append(to_users(&["élise", "a"])).await;
    lab.append(to_channel("public")).await;
    let pushed = lab.append(message(Targets::AllUsers)).await;
    let named: Vec<_> =
        pushed.positions.iter().map(|(name, at)| (name.as_str().to_owned(), at.offset)).collect();
    let expected =
        [("@B", 1), ("@a", 2), ("@zoe", 1), ("@élise", 2)].map(|(name, offset)| (name.to_owned(), offset));
    assert_eq!(named, expected, "in the order of the ids");
    for (name, position) in &pushed.positions {
        let page = lab.all(name).await;
        let last = page.entries.last().expect("the push is there");
        assert_eq!((&last.message().id, last.message().position), (&pushed.id, *position));
    }
    assert_eq!(lab.all(&channel("public")).await.head, 1, "a public channel is not a user's");
    assert_eq!(
        lab.append(to_users(&["a"])).await.positions[0].1.offset,
        3,
        "the next push goes on behind it"
    );
}

pub(super) async fn a_push_to_all_of_no_users_is_accepted(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let pushed = lab.append(message(Targets::AllUsers)).await;
    assert_eq!(pushed.positions, []);
    let receipts =
        lab.engine.receipts(&pushed.id, None, 10, NOON).await.expect("a healthy engine reads receipts");
    assert_eq!(receipts, Some(Vec::new()));
}
