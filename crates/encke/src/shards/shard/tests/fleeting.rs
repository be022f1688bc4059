//! Sessions that end with their connection, beside those of the same user that other nodes have to find here.

use std::sync::Mutex;

use encke_proto::{ErrorCode, SessionId};

use super::*;
use crate::shards::{Claiming, Peers, State};

/// Other nodes that never answer, and remember of whom they were told that they left.
#[derive(Debug, Default)]
struct Remembering(Mutex<Vec<UserId>>);

impl Peers for Remembering {
    fn claim(self: Arc<Self>, _: UserId, _: Option<SessionId>, _: Option<String>) -> Claiming {
        Box::pin(std::future::pending())
    }

    fn came(&self, _: &UserId) {}

    fn went(&self, user: UserId) {
        self.0.lock().unwrap().push(user);
    }

    fn mark_closed(&self, _: UserId, _: SessionId) {}

    fn watch(&self, _: &ChannelName) {}

    fn unwatch(&self, _: &ChannelName) {}
}

impl World {
    /// A client that follows `news`, whose session outlives its connection or does not.
    fn come_for(&mut self, user: &str, lasting: bool) -> Receiver {
        let (body_sink, head, body) =
            body_sink(self.shard.parts.shards.body_sink_id(), self.mailbox.clone(), None);
        self.admit(Sink::Body(Box::new(body_sink)), Admission { lasting, ..admission(user, Start::Absent) });
        Receiver { body, head, text: String::new(), over: false }
    }

    /// The connection that waits for the other nodes.
    fn claimant(&self) -> Option<Key> {
        let mut slots = self.shard.slots.iter();
        slots.find(|(_, slot)| matches!(slot.state, State::Claims { .. })).map(|(key, _)| key)
    }
}

#[test]
fn a_user_is_claimed_although_a_session_is_here_that_ends_with_its_connection() {
    let mut world = World::new(|_| {});
    world.shard.parts.peers = Some(Arc::new(Remembering::default()));
    let _first = world.come_for("alice", false);
    world.steps(4);
    assert_eq!((world.claimant(), world.step().held), (None, 1), "of such a session no other node is told");
    let _second = world.come_for("alice", true);
    world.steps(4);
    assert!(world.claimant().is_some(), "the other nodes do not find the user here yet");
}

#[test]
fn a_claim_that_fails_leaves_nothing_behind_although_such_a_session_is_here() {
    let mut world = World::new(|_| {});
    let peers = Arc::new(Remembering::default());
    world.shard.parts.peers = Some(peers.clone());
    let _first = world.come_for("alice", false);
    let _second = world.come_for("bob", true);
    world.steps(4);
    let place = world.claimant().unwrap();
    for user in ["alice", "bob"] {
        let admission = Box::new(admission(user, Start::Absent));
        world
            .mailbox
            .post(ShardCommand::Claimed { place, admission, claim: Err(ErrorCode::EngineUnavailable) })
            .unwrap();
    }
    world.steps(4);
    let went: Vec<String> = peers.0.lock().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(went, ["alice", "bob"]);
}
