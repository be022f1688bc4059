//! What [`crate::Engine`] promises when many nodes have one store.

use std::{collections::HashSet, sync::Arc};

use encke_proto::{ChannelName, Offset};

use super::{
    ClusterBed,
    circle::{Circle, until},
    closing::{close, with_message},
    lab::{ALL, NOON, channel, ids, message, offsets, to_channel, to_users, update, user},
    producing::producer,
};
use crate::{
    Append, Appended, CANCELLED, Configure, EngineError, Key, Lifetime, LogConfig, LogRefusal, LogUpdate,
    Mark, Page, ReadFrom, ReceiptState, Targets,
};

impl Circle {
    async fn append(&self, at: usize, append: Append) -> Appended {
        self.nodes[at].engine.append(append).await.expect("a healthy engine appends")
    }

    async fn read(&self, at: usize, name: &ChannelName, from: ReadFrom) -> Page {
        self.nodes[at].engine.read(name, from, ALL).await.expect("a healthy engine reads")
    }

    /// Watches a channel, and waits until what is appended from now on is told. Where the log ends then.
    async fn watch(&self, at: usize, name: &ChannelName) -> Page {
        self.nodes[at].engine.watch(name);
        self.read(at, name, ReadFrom::Head).await
    }
}

pub(super) async fn what_one_node_appends_every_node_reads(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let first = circle.append(0, to_channel("a")).await;
    let second = circle.append(1, to_channel("a")).await;
    assert_eq!(first.positions[0].1.epoch, second.positions[0].1.epoch, "one log");
    for at in 0..2 {
        let page = circle.read(at, &channel("a"), ReadFrom::After(0)).await;
        assert_eq!(ids(&page), [first.id.clone(), second.id.clone()], "at {at}");
    }
    circle.append(0, to_users(&["alice"])).await;
    let record = circle.nodes[1].engine.user(&user("alice")).await.expect("a healthy engine reads");
    assert_eq!(record.map(|record| record.first_seen), Some(NOON));
}

pub(super) async fn offsets_rise_by_one_under_appends_of_two_nodes(bed: &dyn ClusterBed) {
    const TASKS: usize = 16;
    const EACH: usize = 10;
    let circle = Circle::open(bed, 2).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let engine = Arc::clone(&circle.nodes[task % 2].engine);
        tasks.push(tokio::spawn(async move {
            let mut places = Vec::new();
            for _ in 0..EACH {
                let append = message(Targets::Channels(vec![channel("a"), channel("b")]));
                let appended = engine.append(append).await.expect("a healthy engine appends");
                places.push((appended.id, appended.positions[0].1.offset, appended.positions[1].1.offset));
            }
            places
        }));
    }
    let (a, b) = {
        let mut places = Vec::new();
        for task in tasks {
            places.extend(task.await.expect("no task panics"));
        }
        let pages = (
            circle.read(0, &channel("a"), ReadFrom::After(0)).await,
            circle.read(1, &channel("b"), ReadFrom::After(0)).await,
        );
        for (id, in_a, in_b) in places {
            assert_eq!((&ids(&pages.0)[in_a as usize - 1], &ids(&pages.1)[in_b as usize - 1]), (&id, &id));
        }
        pages
    };
    let all: Vec<Offset> = (1..=(TASKS * EACH) as Offset).collect();
    assert_eq!((offsets(&a), offsets(&b)), (all.clone(), all));
}

pub(super) async fn keys_are_shared_between_nodes(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    for (key, targets) in [
        ("api:1", Targets::Channels(vec![channel("a")])),
        ("api:2", Targets::Channels(vec![channel("a"), channel("b"), channel("c")])),
        ("api:3", Targets::Users(["alice", "bob", "carol"].map(user).into())),
    ] {
        let keyed = || Append { key: Some(Key::new(key)), ..message(targets.clone()) };
        let first = circle.append(0, keyed()).await;
        assert_eq!(circle.append(1, keyed()).await, Appended { repeated: true, ..first });
    }
    let mut tasks = Vec::new();
    for task in 0..32 {
        let engine = Arc::clone(&circle.nodes[task % 2].engine);
        let append = Append {
            key: Some(Key::new("api:same")),
            ..message(Targets::Channels(vec![channel("x"), channel("y")]))
        };
        tasks.push(tokio::spawn(async move { engine.append(append).await }));
    }
    let mut firsts = 0;
    for task in tasks {
        let appended = task.await.expect("no task panics").expect("a healthy engine appends");
        firsts += usize::from(!appended.repeated);
    }
    assert_eq!(firsts, 1, "one is the first");
    assert_eq!(circle.read(0, &channel("x"), ReadFrom::Head).await.head, 1);
    assert_eq!(circle.read(1, &channel("y"), ReadFrom::Head).await.head, 1);
}

pub(super) async fn receipts_and_handed_are_shared_between_nodes(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let push = circle.append(0, to_users(&["alice", "bob"])).await;
    let mark =
        Mark { user: user("alice"), position: push.positions[0].1, state: ReceiptState::Delivered, at: NOON };
    circle.nodes[1].engine.mark(vec![mark]).await.expect("a healthy engine marks");
    let receipts = circle.nodes[0]
        .engine
        .receipts(&push.id, None, 10, NOON)
        .await
        .expect("a healthy engine reads receipts");
    let states: Vec<_> =
        receipts.expect("the push is known").into_iter().map(|receipt| receipt.state).collect();
    assert_eq!(states, [ReceiptState::Delivered, ReceiptState::Queued]);
    assert_eq!(
        circle.nodes[0].engine.handed(&user("alice")).await.expect("a healthy engine reads"),
        push.positions[0].1
    );
}

pub(super) async fn a_node_that_watches_is_told_of_what_another_appends(bed: &dyn ClusterBed) {
    const EACH: usize = 50;
    let circle = Circle::open(bed, 2).await;
    let names = [channel("a"), channel("b *>.{}"), user("alice").channel()];
    for name in &names {
        assert_eq!(circle.watch(1, name).await.head, 0);
    }
    let mut expected = Vec::new();
    for _ in 0..EACH {
        let published = circle.append(0, message(Targets::Channels(names[..2].to_vec()))).await;
        let pushed = circle.append(0, to_users(&["alice"])).await;
        for appended in [published, pushed] {
            expected.extend(
                appended.positions.into_iter().map(|(name, position)| (name, position, appended.id.clone())),
            );
        }
    }
    let heard = circle.events[1].feed.wait_for(expected.len()).await;
    let mut heard: Vec<_> = heard
        .iter()
        .map(|entry| entry.message())
        .map(|told| (told.channel.clone(), told.position, told.id.clone()))
        .collect();
    for name in &names {
        let of = |list: &[(ChannelName, encke_proto::Position, encke_proto::MessageId)]| -> Vec<_> {
            list.iter().filter(|told| told.0 == *name).cloned().collect()
        };
        assert_eq!(of(&heard), of(&expected), "in the order of the offsets");
    }
    heard.sort_by_key(|told| (told.0.clone(), told.1.offset));
    expected.sort_by_key(|told| (told.0.clone(), told.1.offset));
    assert_eq!(heard, expected, "each once");
    let page = circle.read(1, &names[0], ReadFrom::After(0)).await;
    let told = circle.events[1].feed.heard();
    for (read, told) in
        page.entries.iter().zip(told.iter().filter(|entry| entry.message().channel == names[0]))
    {
        assert_eq!(read.event_json(), told.event_json(), "the feed and the log say the same");
    }
}

pub(super) async fn a_node_that_does_not_watch_is_not_told(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 3).await;
    circle.watch(1, &channel("a")).await;
    circle.watch(1, &channel("last")).await;
    circle.watch(2, &channel("last")).await;
    circle.append(0, to_channel("a")).await;
    circle.append(0, to_channel("b")).await;
    circle.events[1].feed.wait_for(1).await;
    circle.nodes[1].engine.unwatch(&channel("a"));
    until!("what is not watched is not told any more", {
        let appended = circle.append(0, to_channel("a")).await;
        // One more behind it shows whether it was told.
        let last = circle.append(0, to_channel("last")).await;
        until!(
            "the last is told",
            circle.events[1].feed.heard().iter().any(|entry| entry.message().id == last.id)
        );
        circle.events[1].feed.heard().iter().all(|entry| entry.message().id != appended.id)
    });
    for at in [1, 2] {
        let names: HashSet<_> =
            circle.events[at].feed.heard().iter().map(|entry| entry.message().channel.clone()).collect();
        assert!(!names.contains(&channel("b")), "no node watches it");
        assert!(at == 1 || !names.contains(&channel("a")), "this node does not");
    }
    assert!(circle.events[0].feed.heard().is_empty(), "the node that appends watches nothing itself");
}

pub(super) async fn a_read_after_a_watch_misses_nothing(bed: &dyn ClusterBed) {
    const CHANNELS: usize = 40;
    let circle = Circle::open(bed, 2).await;
    let names: Vec<ChannelName> = (0..CHANNELS).map(|index| channel(&format!("c{index}"))).collect();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let appending = {
        let (engine, names) = (Arc::clone(&circle.nodes[0].engine), names.clone());
        tokio::spawn(async move {
            let mut counts = vec![0_u64; names.len()];
            while !*stopped.borrow_and_update() {
                for (name, count) in names.iter().zip(&mut counts) {
                    let appended = engine.append(message(Targets::Channels(vec![name.clone()]))).await;
                    *count = appended.expect("a healthy engine appends").positions[0].1.offset;
                }
            }
            counts
        })
    };
    let mut read = Vec::new();
    for name in &names {
        read.push(circle.watch(1, name).await.head);
    }
    stop.send(true).expect("the task is there");
    let heads = appending.await.expect("no task panics");
    let missing: u64 = heads.iter().zip(&read).map(|(head, read)| head - read).sum();
    until!("all behind what was read is told", {
        let heard = circle.events[1].feed.heard();
        names.iter().zip(heads.iter().zip(&read)).all(|(name, (head, read))| {
            let told: HashSet<Offset> = heard
                .iter()
                .map(|entry| entry.message())
                .filter(|told| told.channel == *name)
                .map(|told| told.position.offset)
                .collect();
            (read + 1..=*head).all(|offset| told.contains(&offset))
        })
    });
    assert!(circle.events[1].feed.heard().len() as u64 >= missing);
}

pub(super) async fn a_lost_wake_up_is_found(bed: &dyn ClusterBed) {
    const ROUNDS: usize = 5;
    const CHANNELS: usize = 20;
    let circle = Circle::open(bed, 2).await;
    let names: Vec<ChannelName> = (0..CHANNELS).map(|index| channel(&format!("c{index}"))).collect();
    for name in &names {
        circle.watch(1, name).await;
    }
    let mut appended = Vec::new();
    for round in 0..ROUNDS {
        for (index, name) in names.iter().enumerate() {
            appended.push(
                circle.append(0, message(Targets::Channels(vec![name.clone()]))).await.positions.remove(0),
            );
            if index == round * 3 {
                bed.deafen().await;
            }
        }
    }
    // Nothing is appended any more, so no receiver finds a hole by the offsets: the last one of each channel
    // was told, or the channel was named.
    let heads: Vec<_> = appended[appended.len() - CHANNELS..].to_vec();
    until!("each channel is told to its end, or found to be behind", {
        let (heard, behind) = (circle.events[1].feed.heard(), circle.events[1].feed.behind_of());
        heads.iter().all(|(name, head)| {
            behind.contains(name)
                || heard
                    .iter()
                    .any(|entry| entry.message().channel == *name && entry.message().position == *head)
        })
    });
    // And from then on it hears again.
    for name in &names {
        circle.read(1, name, ReadFrom::Head).await;
    }
    let last = circle.append(0, to_channel("c0")).await;
    until!("it hears again", {
        circle.events[1].feed.heard().iter().any(|entry| entry.message().id == last.id)
            || circle.events[1].feed.behind_of().len() > CHANNELS
    });
}

pub(super) async fn what_one_node_deletes_is_gone_at_every_node(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let (names, own) = ([channel("a"), channel("b"), user("alice").channel()], user("alice").channel());
    let mut last = Vec::new();
    for name in &names {
        circle.watch(1, name).await;
    }
    // The node that does not delete is the one that remembers the logs and the user.
    for _ in 0..3 {
        last.clear();
        for append in [to_channel("a"), to_channel("b"), to_users(&["alice"])] {
            last.push(circle.append(1, append).await.positions.remove(0).1.offset);
        }
    }
    let delete = async |name: &ChannelName| {
        assert_eq!(circle.nodes[0].engine.delete(name).await, Ok(true), "{name}");
    };
    delete(&names[0]).await;
    delete(&own).await;
    bed.deafen().await;
    delete(&names[1]).await;
    for name in &names {
        until!("a node that watches is told, though a wake-up was lost", {
            let feed = &circle.events[1].feed;
            feed.retracted_of().contains(name) || feed.behind_of().contains(name)
        });
    }
    for (name, last) in names.iter().zip(&last) {
        let page = circle.read(1, name, ReadFrom::After(0)).await;
        assert!(page.entries.is_empty() && page.tail > last + 1, "{name}");
    }
    assert_eq!(circle.nodes[1].engine.user(&user("alice")).await, Ok(None));
    for (append, last) in [to_channel("a"), to_channel("b"), to_users(&["alice"])].into_iter().zip(&last) {
        let appended = circle.append(1, append).await;
        let (name, position) = &appended.positions[0];
        assert!(position.offset > last + 1, "{name}");
        assert_eq!(ids(&circle.read(0, name, ReadFrom::After(0)).await), std::slice::from_ref(&appended.id));
    }
    for at in 0..2 {
        let known = circle.nodes[at].engine.user(&user("alice")).await.expect("a healthy engine reads");
        assert!(known.is_some(), "who is pushed to is known again, at {at}");
    }
}

pub(super) async fn a_change_of_a_log_holds_at_every_node(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    for name in ["a", "b"] {
        circle.watch(1, &channel(name)).await;
    }
    for sequence in 0..6 {
        let send = async |at: usize| {
            let (change, _) = with_message(LogUpdate { producer: producer("p", 0, sequence), ..update("a") });
            circle.nodes[at].engine.update_log(change).await.expect("a healthy engine changes a log")
        };
        let at = usize::from(sequence % 2 == 1);
        let (first, again) = (send(at).await, send(1 - at).await);
        assert!(!first.repeated && again.repeated && again.message == first.message, "{sequence}");
    }
    let closed = circle.nodes[0].engine.update_log(close("a")).await;
    assert!(closed.expect("a healthy engine changes a log").closed);
    circle.events[1].feed.wait_for_behind(&channel("a")).await;
    assert!(circle.read(1, &channel("a"), ReadFrom::Head).await.closed);
    let refused = circle.nodes[1].engine.append(to_channel("a")).await;
    assert_eq!(refused, Err(EngineError::Refused(LogRefusal::Closed)));
    let until = LogConfig::new(None, Some(Lifetime::Until(NOON.plus_seconds(5)))).expect("it has no type");
    let create = LogUpdate { configure: Configure::Create(until), ..update("b") };
    circle.nodes[0].engine.update_log(create).await.expect("a healthy engine changes a log");
    for node in circle.nodes.iter().rev() {
        node.engine.sweep(NOON.plus_seconds(5)).await.expect("a healthy engine sweeps");
    }
    circle.events[1].feed.wait_for_behind(&channel("b")).await;
    assert_eq!(circle.nodes[1].engine.log_status(&channel("b")).await, Ok(None));
}

pub(super) async fn an_end_that_was_not_told_is_found(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    circle.append(0, to_channel("a")).await;
    circle.watch(1, &channel("a")).await;
    bed.deafen().await;
    circle.nodes[0].engine.update_log(close("a")).await.expect("a healthy engine changes a log");
    circle.events[1].feed.wait_for_behind(&channel("a")).await;
    let feed = &circle.events[1].feed;
    let told_of = || feed.behind_of().len() + feed.retracted_of().len();
    let told = told_of();
    // A deletion of a closed log is further still.
    bed.deafen().await;
    assert!(circle.nodes[0].engine.delete(&channel("a")).await.expect("a healthy engine deletes"));
    until!("the deletion is found", told_of() > told);
    assert!(!circle.read(1, &channel("a"), ReadFrom::Head).await.closed);
}

pub(super) async fn what_one_node_cancels_is_cancelled_at_every_node(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let own = user("alice").channel();
    for (at, node) in circle.nodes.iter().enumerate() {
        node.engine.watch(&own);
        circle.read(at, &own, ReadFrom::Head).await;
    }
    for round in 0..4_usize {
        let push = circle.append(round % 2, to_users(&["alice", "bob"])).await;
        let by = &circle.nodes[(round / 2) % 2].engine;
        assert_eq!(by.cancel(&push.id, NOON).await, Ok(Some(2)), "round {round}");
        for (at, events) in circle.events.iter().enumerate() {
            events.feed.wait_for_retracted(&own, round + 1).await;
            let page = circle.read(at, &own, ReadFrom::After(0)).await;
            let expires = page.entries.last().and_then(|entry| entry.message().expires);
            assert_eq!(expires, Some(CANCELLED), "round {round} at {at}");
            let receipts = circle.nodes[at].engine.receipts(&push.id, None, 10, NOON).await;
            let receipts = receipts.expect("a healthy engine reads receipts").expect("it is a push");
            assert!(receipts.iter().all(|receipt| receipt.state == ReceiptState::Cancelled), "round {round}");
        }
        // A node that remembers the log appends behind it.
        let behind = circle.append(round % 2, to_users(&["alice"])).await;
        assert_eq!(behind.positions[0].1.offset, push.positions[0].1.offset + 1);
    }
}

pub(super) async fn a_user_without_a_log_who_is_deleted_is_known_again_by_a_push_at_another_node(
    bed: &dyn ClusterBed,
) {
    let circle = Circle::open(bed, 2).await;
    let own = user("alice").channel();
    let [deletes, pushes] = [0, 1].map(|at| &circle.nodes[at].engine);
    for round in 0..2 {
        pushes.seen(&user("alice"), NOON).await.expect("a healthy engine sees");
        assert_eq!(deletes.delete(&own).await, Ok(true), "round {round}");
        assert_eq!(deletes.user(&user("alice")).await, Ok(None), "round {round}");
        assert_eq!(deletes.delete(&own).await, Ok(false), "round {round}");
        // The node that pushes may remember her.
        let push = circle.append(1, to_users(&["alice"])).await;
        for node in &circle.nodes {
            let known = node.engine.user(&user("alice")).await.expect("a healthy engine reads");
            assert_eq!(known.map(|record| record.first_seen), Some(NOON), "round {round}");
            let receipts = node.engine.receipts(&push.id, None, 10, NOON).await;
            assert_eq!(receipts.expect("a healthy engine reads").map(|receipts| receipts.len()), Some(1));
        }
        let all = circle.append(0, message(Targets::AllUsers)).await;
        assert_eq!(all.positions.len(), 1, "round {round}: she is one of all");
        assert_eq!(deletes.delete(&own).await, Ok(true), "round {round}: with a log");
    }
}
