//! The server API and the control requests, against a server that the test plays.

#![allow(clippy::unwrap_used)]

mod server;

use axum::http::{Method, StatusCode};
use encke_client::{
    Api, Client, CloseTarget, Error, Page, Publish, Push, ReceiptState, RevokeTarget, Target,
};
use server::Server;

fn api(server: &Server) -> Api {
    Api::new(&server.address, "key").unwrap()
}

const ACCEPTED: &str = r#"{"id":"p1","mode":"log","accepted":2,"online":["alice"],"offline":["bob"]}"#;

#[tokio::test]
async fn a_push_carries_an_idempotency_key_and_keeps_it_when_it_is_sent_again() {
    let mut server = Server::start().await;
    let push = Push::page(Target::Users(vec!["alice".into(), "bob".into()]), "https://x.example/").ttl_s(60);
    let api = api(&server);
    let (accepted, key) = tokio::join!(api.push(&push), async {
        let first = server.expect("/api/push").await;
        assert_eq!(
            (&first.method, &first.headers["authorization"]),
            (&Method::POST, &"Bearer key".parse().unwrap())
        );
        let key = first.json()["id"].clone();
        first.answer_as(StatusCode::SERVICE_UNAVAILABLE, &[], "");
        let second = server.expect("/api/push").await;
        assert_eq!(second.json()["id"], key);
        second.drop_connection();
        let third = server.expect("/api/push").await;
        assert_eq!(third.json()["id"], key);
        assert_eq!(third.json()["ttl_s"], 60);
        third.answer_as(StatusCode::ACCEPTED, &[], ACCEPTED);
        key
    });
    assert!(key.as_str().unwrap().len() >= 16);
    let accepted = accepted.unwrap();
    assert_eq!((accepted.accepted, accepted.mode.as_str(), accepted.offline.len()), (2, "log", 1));
}

#[tokio::test]
async fn a_key_of_the_callers_is_left_alone() {
    let mut server = Server::start().await;
    let publish = Publish::to("news", &1).unwrap().id("mine");
    let api = api(&server);
    let (published, ()) = tokio::join!(api.publish(&publish), async {
        let asked = server.expect("/api/publish").await;
        assert_eq!(asked.json()["id"], "mine");
        asked.answer_as(StatusCode::ACCEPTED, &[], r#"{"id":"mine","offset":9,"epoch":"e","mode":"memory"}"#);
    });
    assert_eq!(published.unwrap().positions[0].offset, 9);
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let mut server = Server::start().await;
    let api = api(&server);
    let (refused, ()) = tokio::join!(api.user("no/body"), async {
        server.expect("/api/users/no%2Fbody").await.refuse(404, "user_unknown")
    });
    assert!(
        matches!(refused, Err(Error::Refused { status: 404, ref code, .. }) if code == "user_unknown"),
        "{refused:?}"
    );
    server.expect_nothing();
}

#[tokio::test]
async fn a_key_that_was_used_for_another_request_is_told_and_not_sent_again() {
    let mut server = Server::start().await;
    let api = api(&server);
    let push = Push::data(Target::All, &1).unwrap().id("k");
    let publish = Publish::to("news", &1).unwrap().id("k");
    let (pushed, ()) =
        tokio::join!(api.push(&push), async { server.expect("/api/push").await.refuse(409, "key_reused") });
    let (published, ()) = tokio::join!(api.publish(&publish), async {
        server.expect("/api/publish").await.refuse(409, "key_reused")
    });
    for refused in [pushed.map(drop), published.map(drop)] {
        assert!(
            matches!(refused, Err(Error::Refused { status: 409, ref code, .. }) if code == "key_reused"),
            "{refused:?}"
        );
    }
    server.expect_nothing();
}

#[tokio::test]
async fn a_server_that_stays_unavailable_is_given_up() {
    let mut server = Server::start().await;
    let api = api(&server);
    let (failed, ()) = tokio::join!(api.user("alice"), async {
        for _ in 0..4 {
            server.expect("/api/users/alice").await.refuse(503, "overloaded");
        }
    });
    assert_eq!(failed.unwrap_err().code(), Some("overloaded"));
    server.expect_nothing();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free_address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let failed = Api::new(&free_address, "key").unwrap().user("alice").await;
    assert!(matches!(failed, Err(Error::Unreachable(ref why)) if why.contains("refused")), "{failed:?}");
}

#[tokio::test]
async fn lists_are_read_by_the_page() {
    let mut server = Server::start().await;
    let first = Page::default();
    let api = api(&server);
    let page = Page { limit: Some(2), after: Some("b&b".into()) };
    let (users, ()) = tokio::join!(api.users(Some(true), &page), async {
        let asked = server.expect("/api/users").await;
        assert_eq!(asked.query, "limit=2&after=b%26b&online=true");
        asked.answer(r#"{"users":[{"id":"c","online":true,"sessions":1,"first_seen":"x","last_seen":"y"}],"next":null}"#);
    });
    assert_eq!(users.unwrap().users[0].id, "c");
    let (sessions, ()) = tokio::join!(api.sessions(Some("c"), &first), async {
        let asked = server.expect("/api/sessions").await;
        assert_eq!(asked.query, "user=c");
        asked.answer(
            r#"{"sessions":[{"session":"s","user":"c","transport":"sse","node":"n","since":"t","lag":3,"channels":["@c"],"connected":true}],"next":"s"}"#,
        );
    });
    let sessions = sessions.unwrap();
    assert_eq!((sessions.sessions[0].lag, sessions.next.as_deref()), (3, Some("s")));
    let (channels, ()) = tokio::join!(api.channels(&first), async {
        server.expect("/api/channels").await.answer(
            r#"{"channels":[{"channel":"news","epoch":"e","tail":1,"head":9,"subscribers":2}],"next":null}"#,
        );
    });
    assert_eq!(channels.unwrap().channels[0].head, 9);
    let (presence, ()) = tokio::join!(api.presence("news", &first), async {
        server.expect("/api/channels/news/presence").await.answer(r#"{"users":[{"user":"c","sessions":1}]}"#);
    });
    assert_eq!(presence.unwrap().users[0].user, "c");
    let (history, ()) = tokio::join!(api.history("@c", Some("earliest"), Some(5)), async {
        let asked = server.expect("/api/channels/%40c/history").await;
        assert_eq!(asked.query, "limit=5&cursor=earliest");
        asked.answer(&format!(
            r#"{{"messages":[{{{}}}],"gaps":[],"cursor":"1~e~@c~1"}}"#,
            server::message("@c", "e", 1)
        ));
    });
    assert_eq!(history.unwrap().messages[0].offset, 1);
}

#[tokio::test]
async fn receipts_and_closing() {
    let mut server = Server::start().await;
    let first = Page::default();
    let api = api(&server);
    let (receipts, ()) = tokio::join!(api.receipts("p1", &first), async {
        server
            .expect("/api/push/p1")
            .await
            .answer(r#"{"id":"p1","receipts":[{"user":"alice","state":"shown","time":"t"}]}"#);
    });
    assert_eq!(receipts.unwrap().receipts[0].state, ReceiptState::Shown);
    let target = CloseTarget::User("alice".into());
    let (closed, ()) = tokio::join!(api.close(&target, Some("tidy"), false), async {
        let asked = server.expect("/api/close").await;
        assert_eq!(asked.body, r#"{"user":"alice","reason":"tidy","reconnect":false}"#);
        asked.answer(r#"{"closed":2}"#);
    });
    assert_eq!(closed.unwrap(), 2);
    let (banned, ()) = tokio::join!(api.ban(&target, None, 60), async {
        let asked = server.expect("/api/close").await;
        assert_eq!(asked.body, r#"{"user":"alice","reconnect":false,"ban_s":60}"#);
        asked.answer(r#"{"closed":1}"#);
    });
    assert_eq!(banned.unwrap(), 1);
}

#[tokio::test]
async fn what_is_revoked_is_asked_as_it_was_said() {
    let mut server = Server::start().await;
    let api = api(&server);
    let user =
        |before: Option<&str>| RevokeTarget::User { user: "alice".into(), before: before.map(str::to_owned) };
    for (target, body) in [
        (user(None), r#"{"user":"alice"}"#),
        (user(Some("T")), r#"{"user":"alice","before":"T"}"#),
        (RevokeTarget::Token("j".into()), r#"{"jti":"j"}"#),
        (RevokeTarget::Before("T".into()), r#"{"before":"T"}"#),
    ] {
        let (closed, ()) = tokio::join!(api.revoke(&target), async {
            let asked = server.expect("/api/revoke").await;
            assert_eq!(asked.body, body);
            asked.answer(r#"{"revoked":true,"closed":3}"#);
        });
        assert_eq!(closed.unwrap(), 3);
    }
}

#[tokio::test]
async fn a_login_by_id_gives_a_client_with_a_token() {
    let mut server = Server::start().await;
    let address = server.address.clone();
    let (login, ()) = tokio::join!(Client::login(&address, "alice"), async {
        let asked = server.expect("/v1/login").await;
        assert_eq!(asked.body, r#"{"user":"alice"}"#);
        assert!(!asked.headers.contains_key("authorization"));
        asked.answer(r#"{"token":"t1","user":"alice","expires":"2026-01-02T03:04:05Z"}"#);
    });
    let (client, login) = login.unwrap();
    assert_eq!(login.user, "alice");
    let publish = Publish::to("news", &"x").unwrap();
    let (published, ()) = tokio::join!(client.publish(&publish), async {
        let asked = server.expect("/v1/publish").await;
        assert_eq!(asked.headers["authorization"], "Bearer t1");
        asked.answer(r#"{"id":"m","offset":1,"epoch":"e","mode":"memory"}"#);
    });
    assert_eq!(published.unwrap().positions[0].channel, "news");
}

#[tokio::test]
async fn a_push_is_cancelled_and_the_users_are_counted() {
    let mut server = Server::start().await;
    let api = api(&server);
    let (cancelled, ()) = tokio::join!(api.cancel("p/1"), async {
        let asked = server.expect("/api/push/p%2F1").await;
        assert_eq!(asked.method, Method::DELETE);
        asked.answer(r#"{"cancelled":3}"#);
    });
    assert_eq!(cancelled.unwrap(), 3);
    let (unknown, ()) = tokio::join!(api.cancel("p2"), async {
        server.expect("/api/push/p2").await.refuse(404, "push_unknown")
    });
    assert_eq!(unknown.unwrap_err().code(), Some("push_unknown"));
}
