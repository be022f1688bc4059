//! A token that is taken back at one node is good for nothing at any.

use encke::auth::{Claims, Grant, TokenKey};
use encke_client::{Error, RevokeTarget};

use super::*;

impl Place {
    /// A token that was issued so many seconds ago; it has this id.
    fn issued(&self, user: &str, age_s: u64, jti: &str) -> String {
        let now_s = self.server.app.now().wall.0 / 1000;
        let claims = Claims {
            user: UserId::new(user).unwrap(),
            expires_s: now_s + 600,
            issued_s: Some(now_s - age_s),
            jti: Some(jti.to_owned()),
            channels: Grant::all(),
            publish: Grant::all(),
        };
        TokenKey::hs256(&Secret::new("s".repeat(32))).sign(&claims).unwrap()
    }

    fn with(&self, token: &str) -> Client {
        Client::new(&self.url, token).unwrap()
    }

    /// The code with which a token is refused here; none when it is good.
    async fn refusal(&self, token: &str) -> Option<String> {
        match self.with(token).publish(&Publish::to("news", &1).unwrap()).await {
            Ok(_) => None,
            Err(Error::Refused { code, .. } | Error::Unauthorized { code, .. }) => Some(code),
            Err(other) => panic!("{other}"),
        }
    }
}

/// The code of the close with which a stream ends.
async fn ends(listener: &mut Listener) -> (String, bool) {
    match next(listener).await {
        Event::Close(close) => (close.code, close.reconnect),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_what_is_revoked_at_one_node_is_revoked_at_all() {
    let places = nodes(3).await;
    let targets =
        [RevokeTarget::User { user: "alice".into(), before: None }, RevokeTarget::Token("stolen".into())];
    for (target, user, jti) in [(&targets[0], "alice", "any"), (&targets[1], "bob", "stolen")] {
        let tokens: Vec<String> = places.iter().map(|place| place.issued(user, 1, jti)).collect();
        let mut held = Vec::new();
        for (place, token) in places.iter().zip(&tokens) {
            let mut listener = place.with(token).listen(sse());
            assert!(matches!(next(&mut listener).await, Event::Open(_)));
            held.push(listener);
        }
        assert_eq!(places[1].api.revoke(target).await.unwrap(), 3, "counted on all nodes");
        for listener in &mut held {
            assert_eq!(ends(listener).await, ("revoked".to_owned(), false));
        }
        for place in &places {
            // It holds as soon as it is answered.
            assert_eq!(place.refusal(&tokens[0]).await.as_deref(), Some("revoked"));
        }
    }
    for place in &places {
        assert_eq!(place.refusal(&place.issued("bob", 1, "other")).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_kept_away_from_all_nodes_and_let_in_again_at_all() {
    let places = nodes(2).await;
    let (mut held, _) = places[1].open("alice", sse()).await;
    let alice = CloseTarget::User("alice".into());
    assert_eq!(places[0].api.ban(&alice, Some("spam"), 600).await.unwrap(), 1);
    assert_eq!(ends(&mut held).await, ("banned".to_owned(), false));
    for place in &places {
        assert_eq!(place.refusal(&place.token("alice")).await.as_deref(), Some("banned"));
    }
    places[1].api.ban(&alice, None, 0).await.unwrap();
    for place in &places {
        assert_eq!(place.refusal(&place.token("alice")).await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_a_session_is_good_at_every_node_it_comes_to() {
    let places = nodes(2).await;
    let (first, open) = places[0].open("alice", sse()).await;
    drop(first);
    let (mut moved, again) = places[1].open("alice", sse().session(&open.session)).await;
    assert_eq!((&again.session, &again.close_key), (&open.session, &open.close_key));
    let body = serde_json::json!({"session": open.session, "close_key": open.close_key}).to_string();
    // By a beacon, at the other node.
    let url = format!("{}/v1/close", places[0].url);
    let request = reqwest::Client::new().post(url).header("content-type", "text/plain").body(body);
    let answer = request.send().await.unwrap().text().await.unwrap();
    assert_eq!(answer, r#"{"closed":true}"#);
    assert_eq!(ends(&mut moved).await, ("client".to_owned(), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_knows_what_was_revoked() {
    let cluster = TestCluster::new();
    let first = nodes_of(&cluster, 0..1).await;
    let banned = CloseTarget::User("carol".into());
    first[0].api.ban(&banned, None, 600).await.unwrap();
    first[0].api.ban(&CloseTarget::User("dave".into()), None, 600).await.unwrap();
    first[0].api.ban(&CloseTarget::User("dave".into()), None, 0).await.unwrap();
    let target = RevokeTarget::User { user: "alice".into(), before: None };
    first[0].api.revoke(&target).await.unwrap();
    let later = nodes_of(&cluster, 1..2).await;
    let code = async |user| later[0].refusal(&later[0].issued(user, 2, "any")).await;
    assert_eq!(code("alice").await.as_deref(), Some("revoked"));
    assert_eq!(code("carol").await.as_deref(), Some("banned"));
    assert_eq!(code("dave").await, None, "what was lifted stays so");
    assert_eq!(code("bob").await, None);
}
