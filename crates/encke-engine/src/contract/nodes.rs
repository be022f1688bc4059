//! What nodes promise each other: the sentences of [`crate::Cluster`].

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use encke_proto::{SessionId, UserId};

use super::{
    ClusterBed,
    circle::{Circle, until},
    lab::user,
};
use crate::{BEAT_MS, NODE_LIVES_MS, NODE_MESSAGE_MAX_BYTES, NodeId};

fn session(bits: u128) -> SessionId {
    SessionId::from_bits(bits)
}

pub(super) async fn every_node_that_beats_is_a_member(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 3).await;
    let mut lives = Vec::new();
    for at in 0..3 {
        let live = circle.beat(at).await;
        assert!(live.renewed, "the first life begins with the first beat");
        assert_eq!(
            live.nodes.iter().filter(|node| node.id == live.me).count(),
            1,
            "it is among the live nodes"
        );
        lives.push(live.me);
    }
    assert_eq!(lives.iter().collect::<HashSet<_>>().len(), 3, "no two have one life");
    for (at, incarnation) in lives.iter().enumerate() {
        let live = circle.beat(at).await;
        assert_eq!((live.me, live.renewed), (*incarnation, false), "it goes on living");
        let mut found: Vec<(NodeId, String)> =
            live.nodes.into_iter().map(|node| (node.id, node.name)).collect();
        found.sort();
        let mut expected: Vec<(NodeId, String)> =
            lives.iter().enumerate().map(|(at, incarnation)| (*incarnation, Circle::name(at))).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

pub(super) async fn a_node_that_is_silent_is_not_counted_for_long(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let (first, second) = (circle.beat(0).await.me, circle.beat(1).await.me);
    assert_ne!(first, second);
    // The first goes on, the second is silent. What is waited for is that it is gone; that it was counted
    // meanwhile is the sentence before.
    until!("the silent node is gone", {
        tokio::time::sleep(Duration::from_millis(BEAT_MS / 2)).await;
        let live = circle.beat(0).await;
        assert_eq!((live.me, live.renewed), (first, false), "who beats lives");
        live.nodes.iter().all(|node| node.id != second)
    });
    let live = circle.beat(1).await;
    assert!(live.renewed, "who was taken for dead is told");
    assert_ne!(live.me, second, "and begins another life");
    assert!(circle.beat(0).await.nodes.iter().any(|node| node.id == live.me));
}

pub(super) async fn who_resigned_does_not_live(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let gone = circle.beat(1).await.me;
    assert!(circle.beat(0).await.nodes.iter().any(|node| node.id == gone));
    circle.nodes[1].cluster.resign().await;
    assert!(circle.beat(0).await.nodes.iter().all(|node| node.id != gone), "at once");
}

pub(super) async fn after_a_loss_of_everything_all_begin_another_incarnation(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let before = [circle.beat(0).await.me, circle.beat(1).await.me];
    bed.forget_nodes().await;
    for (at, old) in before.into_iter().enumerate() {
        let live = circle.beat(at).await;
        assert!(live.renewed && live.me != old, "what was kept under the old life is gone");
    }
}

pub(super) async fn a_message_arrives_whole_at_its_node(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 3).await;
    let lives = [circle.beat(0).await.me, circle.beat(1).await.me, circle.beat(2).await.me];
    let bytes: Vec<u8> = (0..NODE_MESSAGE_MAX_BYTES).map(|at| (at % 256) as u8).collect();
    let messages =
        [Bytes::from_static(b"short"), Bytes::from_static(b"\0\r\n{}*"), Bytes::from(bytes), Bytes::new()];
    for message in &messages {
        circle.nodes[0].cluster.send(lives[1], message.clone()).await.expect("a healthy engine sends");
    }
    let received = circle.events[1].messages(messages.len()).await;
    assert_eq!(received, messages, "in order, as they were");
    let own = Bytes::from_static(b"to myself");
    circle.nodes[2].cluster.send(lives[2], own.clone()).await.expect("a healthy engine sends");
    assert_eq!(circle.events[2].messages(1).await, [own]);
    assert!(circle.events[0].messages(0).await.is_empty(), "no other node gets them");
    assert_eq!(circle.events[1].messages(0).await.len(), messages.len(), "each once");
}

pub(super) async fn a_message_for_another_incarnation_does_not_arrive(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    circle.beat(0).await;
    let old = circle.beat(1).await.me;
    circle.nodes[1].cluster.resign().await;
    let new = circle.beat(1).await;
    assert!(new.renewed && new.me != old);
    let (late, right) = (Bytes::from_static(b"late"), Bytes::from_static(b"right"));
    // Whether sending to a node that is dead is an error is left to the engine.
    drop(circle.nodes[0].cluster.send(old, late).await);
    circle.nodes[0].cluster.send(new.me, right.clone()).await.expect("a healthy engine sends");
    assert_eq!(circle.events[1].messages(1).await, [right]);
}

pub(super) async fn a_user_is_where_it_was_entered(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let lives = [circle.beat(0).await.me, circle.beat(1).await.me];
    let users: Vec<UserId> = ["alice", "bob", "a b*>{}", "世界"].map(user).into();
    assert_eq!(circle.places(0, &users).await, vec![Vec::new(); 4]);
    for (at, name) in [(0, "alice"), (1, "alice"), (1, "a b*>{}"), (0, "世界")] {
        let entered =
            circle.nodes[at].cluster.enter(&user(name), None).await.expect("a healthy engine enters");
        let others: Vec<NodeId> = if (at, name) == (1, "alice") { vec![lives[0]] } else { Vec::new() };
        assert_eq!((entered.closed, entered.elsewhere), (false, others), "{name}");
    }
    let again = circle.nodes[0].cluster.enter(&user("alice"), None).await.expect("a healthy engine enters");
    assert_eq!(again.elsewhere, [lives[1]], "entering twice is being there once");
    let mut both = lives.to_vec();
    both.sort_unstable();
    for at in 0..2 {
        let expected = vec![both.clone(), vec![], vec![lives[1]], vec![lives[0]]];
        assert_eq!(
            circle.places(at, &users).await,
            expected,
            "asked at {at}, in the order in which it was asked"
        );
    }
    circle.nodes[1].cluster.leave(&users).await.expect("a healthy engine leaves");
    assert_eq!(
        circle.places(0, &users).await,
        vec![vec![lives[0]], vec![], vec![], vec![lives[0]]],
        "the other node's stay"
    );
}

pub(super) async fn places_follow_in_the_order_of_the_calls(bed: &dyn ClusterBed) {
    const ROUNDS: usize = 200;
    let circle = Circle::open(bed, 1).await;
    let me = circle.beat(0).await.me;
    let users: Vec<UserId> = (0..8).map(|index| user(&format!("u{index}"))).collect();
    let cluster = &circle.nodes[0].cluster;
    for last_enters in [true, false] {
        let mut calls = Vec::new();
        for round in 0..ROUNDS {
            for user in &users {
                let (cluster, user) = (Arc::clone(cluster), user.clone());
                let enters = (round + 1 == ROUNDS) == last_enters;
                let mut call = Box::pin(async move {
                    if enters {
                        cluster.enter(&user, None).await.map(drop)
                    } else {
                        cluster.leave(std::slice::from_ref(&user)).await
                    }
                });
                // Polled once, in this order; whatever becomes of it later.
                let first =
                    std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context))).await;
                match first {
                    std::task::Poll::Ready(done) => done.expect("a healthy engine does it"),
                    std::task::Poll::Pending => calls.push(tokio::spawn(call)),
                }
            }
        }
        for call in calls {
            call.await.expect("no task panics").expect("a healthy engine does it");
        }
        let expected = if last_enters { vec![vec![me]; users.len()] } else { vec![Vec::new(); users.len()] };
        assert_eq!(circle.places(0, &users).await, expected, "what was called last holds");
    }
}

pub(super) async fn who_lives_anew_is_not_entered(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    let (old, other) = (circle.beat(0).await.me, circle.beat(1).await.me);
    circle.nodes[0].cluster.enter(&user("alice"), None).await.expect("a healthy engine enters");
    circle.nodes[0].cluster.resign().await;
    let new = circle.beat(0).await.me;
    let places = circle.places(1, &[user("alice")]).await;
    assert!(!places[0].contains(&new) && !places[0].contains(&other), "no live node has the user");
    let entered = circle.nodes[0].cluster.enter(&user("alice"), None).await.expect("a healthy engine enters");
    // The dead incarnation may still be found; a caller knows by the list of live nodes that it is dead.
    assert!(entered.elsewhere.iter().all(|incarnation| *incarnation == old));
    assert!(circle.places(1, &[user("alice")]).await[0].contains(&new));
}

pub(super) async fn a_ticket_is_spent_once_by_the_first_caller(bed: &dyn ClusterBed) {
    let circle = Circle::open(bed, 2).await;
    for (at, ticket, is_first) in [(0, "one", true), (0, "one", false), (1, "one", false), (1, "other", true)]
    {
        let spent = circle.nodes[at].cluster.spend(ticket, 600_000).await.expect("a healthy engine spends");
        assert_eq!(spent, is_first, "{ticket} at {at}");
    }
    let mut tries = Vec::new();
    for at in 0..32 {
        let cluster = Arc::clone(&circle.nodes[at % 2].cluster);
        tries.push(tokio::spawn(async move {
            cluster.spend("same", 600_000).await.expect("a healthy engine spends")
        }));
    }
    let mut firsts = 0;
    for one in tries {
        firsts += usize::from(one.await.expect("no task panics"));
    }
    assert_eq!(firsts, 1, "of callers at the same time, too");
}

pub(super) async fn a_session_that_was_marked_closed_is_found_by_its_user_until_its_time_is_over(
    bed: &dyn ClusterBed,
) {
    let circle = Circle::open(bed, 2).await;
    for at in 0..2 {
        circle.beat(at).await;
    }
    let alice = user("alice");
    assert!(!circle.closed(0, &alice, Some(session(1))).await);
    circle.nodes[0]
        .cluster
        .mark_closed(&alice, &[session(1), session(2)], 600_000)
        .await
        .expect("a healthy engine takes the mark");
    for at in 0..2 {
        assert!(
            circle.closed(at, &alice, Some(session(1))).await
                && circle.closed(at, &alice, Some(session(2))).await,
            "at every node"
        );
        assert!(!circle.closed(at, &alice, Some(session(3))).await, "another session");
        assert!(!circle.closed(at, &alice, None).await, "a session that is new");
        assert!(!circle.closed(at, &user("bob"), Some(session(1))).await, "another user");
    }
    circle.nodes[1]
        .cluster
        .mark_closed(&alice, &[session(9)], 1)
        .await
        .expect("a healthy engine takes the mark");
    until!("the time of a tomb is over", !circle.closed(0, &alice, Some(session(9))).await);
}

const _: () = assert!(NODE_LIVES_MS < 30_000, "the suite waits for longer than a node may be silent");
