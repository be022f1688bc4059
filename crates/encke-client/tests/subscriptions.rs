//! Channels that come and go while not everything works, against a server that the test plays.

#![allow(clippy::unwrap_used)]

mod server;

use encke_client::{Client, Event, Listen, Transport};
use server::{Asked, Events, Server, Stream};

/// How often a request is made before it is given up.
const ATTEMPTS: usize = 4;

fn listen(server: &Server, channels: &[&str]) -> Events {
    let listen = Listen::new().transport(Transport::Sse).channels(channels.iter().copied());
    Events::of(Client::new(&server.address, "token").unwrap().listen(listen))
}

async fn opened(server: &mut Server, channels: &[&str]) -> (Events, Stream) {
    let mut events = listen(server, channels);
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    (events, stream)
}

fn names(channels: &[&str]) -> Vec<String> {
    channels.iter().map(|channel| (*channel).to_owned()).collect()
}

/// The connection is lost; what the next one is asked for.
async fn next(server: &mut Server, events: &mut Events, stream: Stream) -> Asked {
    drop(stream);
    events.lost().await;
    server.expect("/v1/sse").await
}

#[tokio::test]
async fn a_subscribe_that_fails_for_a_moment_is_told_and_the_next_connection_brings_the_channel_all_the_same()
{
    let mut server = Server::start().await;
    let (mut events, stream) = opened(&mut server, &[]).await;
    let (handle, news) = (events.handle.clone(), names(&["news"]));
    let (failed, ()) = tokio::join!(handle.subscribe(&news), async {
        for _ in 0..ATTEMPTS {
            server.expect("/v1/subscribe").await.refuse(503, "engine_unavailable");
        }
    });
    assert!(failed.unwrap_err().is_temporary());
    assert_eq!(next(&mut server, &mut events, stream).await.param("channels").as_deref(), Some("news"));
}

#[tokio::test]
async fn a_connection_that_is_made_meanwhile_brings_the_channel() {
    let mut server = Server::start().await;
    let (mut events, stream) = opened(&mut server, &[]).await;
    let (handle, news) = (events.handle.clone(), names(&["news"]));
    let (unknown, ()) = tokio::join!(handle.subscribe(&news), async {
        let asked = server.expect("/v1/subscribe").await;
        // The server has been started anew, and does not know the session any more.
        assert_eq!(next(&mut server, &mut events, stream).await.param("channels").as_deref(), Some("news"));
        asked.refuse(404, "session_unknown");
    });
    assert_eq!(unknown.unwrap_err().code(), Some("session_unknown"));
}

#[tokio::test]
async fn a_refusal_takes_away_what_it_was_about_and_nothing_that_was_there_before() {
    let mut server = Server::start().await;
    let (mut events, stream) = opened(&mut server, &["old"]).await;
    let (handle, both) = (events.handle.clone(), names(&["old", "secret"]));
    let (refused, ()) = tokio::join!(handle.subscribe(&both), async {
        server.expect("/v1/subscribe").await.refuse(403, "channel_forbidden")
    });
    assert_eq!(refused.unwrap_err().code(), Some("channel_forbidden"));
    assert_eq!(next(&mut server, &mut events, stream).await.param("channels").as_deref(), Some("old"));
}

#[tokio::test]
async fn an_unsubscribe_that_fails_for_a_moment_is_told_and_the_channel_does_not_come_back_all_the_same() {
    let mut server = Server::start().await;
    let (mut events, stream) = opened(&mut server, &["news"]).await;
    stream.message("news", "e", 1);
    events.message().await;
    let (handle, news) = (events.handle.clone(), names(&["news"]));
    let (failed, ()) = tokio::join!(handle.unsubscribe(&news), async {
        for _ in 0..ATTEMPTS {
            server.expect("/v1/unsubscribe").await.refuse(503, "engine_unavailable");
        }
    });
    assert!(failed.unwrap_err().is_temporary());
    // The server goes on to send it, with what it has to say of it.
    stream.message("news", "e", 2);
    stream.raw("event: gap\ndata: {\"event\":\"gap\",\"channel\":\"news\",\"from\":3,\"to\":9,\"reason\":\"slow\"}\n\n");
    stream.message("@alice", "e", 1);
    let event = events.next().await;
    assert!(
        matches!(event, Some(Ok(Event::Message(ref message))) if message.channel == "@alice"),
        "{event:?}"
    );
    assert_eq!(
        next(&mut server, &mut events, stream).await.query,
        "session=s1&cursor=1~e~%40alice~1&form=short"
    );
}

#[tokio::test]
async fn where_a_channel_began_is_kept_until_its_first_message() {
    let mut server = Server::start().await;
    let (mut events, stream) = opened(&mut server, &[]).await;
    stream.message("@alice", "e", 4);
    events.message().await;
    let (handle, news) = (events.handle.clone(), names(&["news"]));
    let (followed, ()) = tokio::join!(handle.subscribe(&news), async {
        server.expect("/v1/subscribe").await.answer(r#"{"channels":["news"],"cursor":"1~e~news~7"}"#);
    });
    assert_eq!(followed.unwrap(), ["news"]);
    // Should the session be lost now, what was published to the channel since is not.
    assert_eq!(
        next(&mut server, &mut events, stream).await.param("cursor").as_deref(),
        Some("1~e~%40alice~4~news~7")
    );
}

#[tokio::test]
async fn what_changes_while_a_connection_is_on_its_way_is_asked_for_when_it_is_open() {
    let mut server = Server::start().await;
    let mut events = listen(&server, &["old", "kept"]);
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.param("channels").as_deref(), Some("kept,old"));
    let handle = events.handle.clone();
    assert!(handle.subscribe(&names(&["news"])).await.unwrap().is_empty());
    assert!(handle.unsubscribe(&names(&["old"])).await.unwrap().is_empty());
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0~kept~3~old~3");
    events.open().await;
    let late = server.expect("/v1/subscribe").await;
    assert_eq!(
        (&late.json()["session"], &late.json()["channels"]),
        (&"s1".into(), &serde_json::json!(["news"]))
    );
    late.answer(r#"{"channels":["kept","news","old"],"cursor":"1~e~news~7"}"#);
    let late = server.expect("/v1/unsubscribe").await;
    assert_eq!(late.json()["channels"], serde_json::json!(["old"]));
    late.answer(r#"{"channels":["kept","news"],"cursor":"1~e~news~7"}"#);
    // Neither is asked for twice.
    let asked = next(&mut server, &mut events, stream).await;
    assert_eq!(
        (asked.param("channels"), asked.param("cursor").unwrap().as_str()),
        (None, "1~e~%40alice~0~kept~3~news~7")
    );
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0~kept~3~news~7");
    events.open().await;
    stream.message("news", "e", 8);
    assert_eq!(events.message().await, ("news".into(), 8));
    server.expect_nothing();
}
