//! The contract's tests of the feed on one node: each message once, in the order of the offsets, and nothing
//! for a repeated key. The feed between nodes is in `sharing.rs`.

use std::collections::HashMap;

use encke_proto::{ChannelName, Offset};

use super::{
    Bed,
    lab::{Lab, NOON, channel, message, to_channel, to_users, user},
};
use crate::{Append, Key, Targets};

pub(super) async fn the_feed_gets_every_message_once_and_in_order(bed: &dyn Bed) {
    const TASKS: usize = 64;
    const EACH: usize = 12;
    let names = ["a", "b", "c"].map(channel);
    let lab = Lab::open(bed).await;
    lab.watch(names.iter().cloned().chain([channel("last")])).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (engine, names) = (lab.engine.clone(), names.clone());
        tasks.push(tokio::spawn(async move {
            for turn in 0..EACH {
                let append = message(Targets::Channels(vec![names[(task + turn) % 3].clone()]));
                engine.append(append).await.expect("a healthy engine appends");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    lab.feed.wait_for(TASKS * EACH).await;
    // One more shows that nothing else comes.
    lab.append(to_channel("last")).await;
    let heard = lab.feed.wait_for(TASKS * EACH + 1).await;
    assert_eq!(heard.len(), TASKS * EACH + 1, "each once");
    let mut by_channel: HashMap<ChannelName, Vec<Offset>> = HashMap::new();
    for entry in &heard {
        by_channel.entry(entry.message().channel.clone()).or_default().push(entry.message().position.offset);
    }
    for name in &names {
        let page = lab.all(name).await;
        let told = by_channel.remove(name).expect("the feed heard of the channel");
        assert_eq!(told, (1..=page.head).collect::<Vec<_>>(), "in the order of the offsets");
        let in_feed = heard.iter().filter(|entry| entry.message().channel == *name);
        for (told, read) in in_feed.zip(&page.entries) {
            assert_eq!(told.event_json(), read.event_json(), "the feed and the log say the same");
        }
    }
}

pub(super) async fn the_feed_gets_every_target_of_an_append(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    let mut expected = Vec::new();
    lab.engine.seen(&user("carol"), NOON).await.expect("a healthy engine sees");
    let own = ["alice", "bob", "carol"].map(|name| user(name).channel());
    lab.watch([channel("a"), channel("b")].into_iter().chain(own)).await;
    for append in [
        message(Targets::Channels(vec![channel("a"), channel("b")])),
        to_users(&["alice", "bob"]),
        Append { expires: Some(NOON.plus_seconds(9)), ..message(Targets::AllUsers) },
    ] {
        let appended = lab.append(append).await;
        expected.extend(
            appended.positions.into_iter().map(|(name, position)| (appended.id.clone(), name, position)),
        );
    }
    let heard = lab.feed.wait_for(expected.len()).await;
    let mut heard: Vec<_> = heard
        .iter()
        .map(|entry| entry.message())
        .map(|told| (told.id.clone(), told.channel.clone(), told.position))
        .collect();
    let order = |one: &(_, ChannelName, encke_proto::Position)| (one.1.clone(), one.2.offset);
    heard.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(heard, expected);
}

pub(super) async fn the_feed_hears_nothing_of_a_repeat(bed: &dyn Bed) {
    let lab = Lab::open(bed).await;
    lab.watch([channel("a")]).await;
    for _ in 0..3 {
        lab.append(Append { key: Some(Key::new("api:1")), ..to_channel("a") }).await;
    }
    let last = lab.append(to_channel("a")).await;
    let heard = lab.feed.wait_for(2).await;
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].message().id, last.id);
}
