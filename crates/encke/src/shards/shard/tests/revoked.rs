//! Connections whose token is revoked after it was looked at and before their session begins: on the way to
//! the shard where their user lives, and while the other nodes are asked.

use encke_proto::{ErrorCode, Revocation, SessionId, TokenId, TokenInfo};

use super::*;
use crate::{
    auth::RevocationRecord,
    shards::{Claim, Claiming, Peers, State},
};

/// Other nodes whose answers the test gives.
#[derive(Debug)]
struct Asked;

impl Peers for Asked {
    fn claim(self: Arc<Self>, _: UserId, _: Option<SessionId>, _: Option<String>) -> Claiming {
        Box::pin(std::future::pending())
    }

    fn came(&self, _: &UserId) {}

    fn went(&self, _: UserId) {}

    fn mark_closed(&self, _: UserId, _: SessionId) {}

    fn watch(&self, _: &ChannelName) {}

    fn unwatch(&self, _: &ChannelName) {}
}

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

/// What is taken back, the token of alice that it concerns, and how she is refused.
fn cases() -> [(Revocation, Option<TokenInfo>, ErrorCode); 5] {
    let token = Some(TokenInfo { issued_s: Some(9), id: Some(TokenId(7)) });
    [
        (Revocation::User { user: alice(), before_s: 10 }, token, ErrorCode::Revoked),
        (Revocation::Before { before_s: 10 }, token, ErrorCode::Revoked),
        (Revocation::Token { id: TokenId(7) }, token, ErrorCode::Revoked),
        (Revocation::Ban { user: alice() }, token, ErrorCode::Banned),
        // In a dialect that has no tokens.
        (Revocation::Ban { user: alice() }, None, ErrorCode::Banned),
    ]
}

impl World {
    fn revoke(&self, revocation: &Revocation) {
        let now = self.clock.now().wall;
        let until = now.plus_seconds(60);
        let record =
            RevocationRecord { revocation: revocation.clone(), until_ms: until.0, reason: String::new() };
        assert!(self.shard.parts.admit.auth.revocations().enter(&record, now, until));
    }

    /// A client of alice with this token, on its way to the shard.
    fn on_its_way(&mut self, token: Option<TokenInfo>) -> Receiver {
        let (body_sink, head, body) =
            body_sink(self.shard.parts.shards.body_sink_id(), self.mailbox.clone(), None);
        let admission = Admission { token, ..admission("alice", Start::Absent) };
        self.admit(Sink::Body(Box::new(body_sink)), admission);
        Receiver { body, head, text: String::new(), over: false }
    }

    /// The connection that waits for the other nodes.
    fn asks_others(&self) -> Key {
        let mut slots = self.shard.slots.iter();
        slots.find(|(_, slot)| matches!(slot.state, State::Claims { .. })).unwrap().0
    }

    fn is_refused(&mut self, mut client: Receiver, code: ErrorCode) {
        self.steps(4);
        assert_eq!(self.shard.hub.session_count(), 0, "{code}");
        let response = client.head.try_recv().unwrap();
        while client.take() {}
        assert_eq!(response.status().as_u16(), code.status());
        assert!(client.text.contains(&format!("\"{code}\"")), "{}", client.text);
    }
}

#[test]
fn on_the_way_to_its_shard() {
    for (revocation, token, code) in cases() {
        let mut world = World::new(|_| {});
        let client = world.on_its_way(token);
        world.revoke(&revocation);
        world.is_refused(client, code);
    }
}

#[test]
fn while_the_other_nodes_are_asked() {
    for (revocation, token, code) in cases() {
        let mut world = World::new(|_| {});
        world.shard.parts.peers = Some(Arc::new(Asked));
        let client = world.on_its_way(token);
        world.steps(4);
        let place = world.asks_others();
        world.revoke(&revocation);
        let admission = Box::new(Admission { token, ..admission("alice", Start::Absent) });
        let claim = Ok(Claim { carried: None, claiming: Box::new(()) });
        world.mailbox.post(ShardCommand::Claimed { place, admission, claim }).unwrap();
        world.is_refused(client, code);
    }
}
