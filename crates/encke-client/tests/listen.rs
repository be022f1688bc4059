//! Listening, against a server that the test plays.

#![allow(clippy::unwrap_used)]

mod server;

use std::time::Duration;

use axum::http::StatusCode;
use encke_client::{Client, Error, Event, Listen, Transport};
use server::{Events, Server, message, poll_answer, skip};

fn sse(server: &Server, options: Listen) -> Events {
    Events::of(Client::new(&server.address, "token").unwrap().listen(options.transport(Transport::Sse)))
}

fn poll(server: &Server, options: Listen) -> Events {
    Events::of(Client::new(&server.address, "token").unwrap().listen(options.transport(Transport::Poll)))
}

#[tokio::test]
async fn a_stream_that_ends_is_taken_up_where_it_ended() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new().channels(["news", "a,b"]));
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.headers["authorization"], "Bearer token");
    assert_eq!(asked.query, "channels=a%2Cb,news");
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0~a!2cb~0~news~7");
    assert_eq!(events.open().await.session, "s1");
    stream.message("news", "e", 8);
    stream.message("@alice", "e", 1);
    assert_eq!(events.message().await, ("news".into(), 8));
    assert_eq!(events.message().await, ("@alice".into(), 1));
    drop(stream);
    let lost = events.lost().await;
    assert!(matches!(lost.cause, Error::Ended), "{lost:?}");
    assert_eq!(lost.retry_in, Duration::ZERO, "the first attempt is at once");
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1~a%212cb~0~news~8");
    // The server does not know the session any more, and repeats what it cannot know to have been handed
    // over.
    let stream = asked.stream();
    stream.open("s2", "1~e~@alice~1~a!2cb~0~news~7");
    stream.message("news", "e", 8);
    stream.message("news", "e", 9);
    assert_eq!(events.open().await.session, "s2");
    assert_eq!(events.message().await, ("news".into(), 9));
}

#[tokio::test]
async fn a_silent_stream_is_dead_after_two_and_a_half_heartbeats() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    skip(Duration::from_secs(40)).await;
    stream.raw(": beat\n");
    stream.message("@alice", "e", 1);
    events.message().await;
    skip(Duration::from_secs(49)).await;
    stream.message("@alice", "e", 2);
    events.message().await;
    skip(Duration::from_secs(51)).await;
    let lost = events.lost().await;
    assert!(matches!(lost.cause, Error::Silent(silence) if silence == Duration::from_secs(50)), "{lost:?}");
    assert_eq!(server.expect("/v1/sse").await.param("cursor").unwrap(), "1~e~%40alice~2");
}

#[tokio::test]
async fn who_is_taken_over_comes_back_once() {
    let mut server = Server::start().await;
    // An earlier request of one's own, slow on its way, may have done it.
    let mut events = poll(&server, Listen::new());
    server.expect("/v1/poll").await.answer(&poll_answer("s1", "1~e~@alice~0", &[]));
    events.open().await;
    server.expect("/v1/poll").await.refuse(409, "session_taken_over");
    assert!(matches!(events.lost().await.cause, Error::TakenOver));
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.param("session").unwrap(), "s1");
    // Twice in a row it is another client.
    asked.refuse(409, "session_taken_over");
    assert!(matches!(events.next().await, Some(Err(Error::TakenOver))));
    assert!(events.next().await.is_none());

    let mut events = sse(&server, Listen::new());
    let closed =
        "data: {\"event\":\"close\",\"code\":\"taken_over\",\"reason\":\"\",\"reconnect\":false}\n\n";
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    stream.raw(closed);
    events.open().await;
    assert!(matches!(events.lost().await.cause, Error::TakenOver));
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    stream.raw(closed);
    events.open().await;
    assert_eq!(events.close().await.code, "taken_over");
}

#[tokio::test]
async fn gaps_are_told_and_move_the_cursor() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0~news~7");
    events.open().await;
    stream.raw("event: gap\ndata: {\"event\":\"gap\",\"channel\":\"news\",\"from\":8,\"to\":12,\"reason\":\"trimmed\"}\n\n");
    let gap = events.next().await;
    assert!(matches!(gap, Some(Ok(Event::Gap(ref gap))) if gap.from == 8 && gap.to == Some(12)), "{gap:?}");
    drop(stream);
    events.lost().await;
    assert_eq!(server.expect("/v1/sse").await.param("cursor").unwrap(), "1~e~%40alice~0~news~12");
}

#[tokio::test]
async fn after_a_close_nothing_reconnects() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    stream.raw("event: close\nid: 1~e~@alice~0~closed\ndata: {\"event\":\"close\",\"code\":\"operator\",\"reason\":\"tidy\",\"reconnect\":false}\n\n");
    drop(stream);
    let close = events.close().await;
    assert_eq!((close.code.as_str(), close.reason.as_str()), ("operator", "tidy"));
    events.end().await;
    server.expect_nothing();
}

#[tokio::test]
async fn a_close_that_wants_the_client_back_goes_on_with_a_new_session() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~3");
    events.open().await;
    stream.raw(
        "event: close\ndata: {\"event\":\"close\",\"code\":\"drain\",\"reason\":\"\",\"reconnect\":true}\n\n",
    );
    assert!(events.close().await.reconnect);
    let asked = server.expect("/v1/sse").await;
    assert_eq!((asked.param("session"), asked.param("cursor")), (None, Some("1~e~%40alice~3".into())));
}

#[tokio::test]
async fn a_server_that_stops_says_when_to_come_back() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~3");
    events.open().await;
    stream.raw("event: close\ndata: {\"event\":\"close\",\"code\":\"shutdown\",\"reason\":\"\",\"reconnect\":true,\"retry_ms\":20000}\n\n");
    assert_eq!(events.close().await.retry_ms, Some(20_000));
    skip(Duration::from_secs(19)).await;
    server.expect_nothing();
    skip(Duration::from_secs(7)).await;
    assert_eq!(server.expect("/v1/sse").await.param("cursor"), Some("1~e~%40alice~3".into()));
}

#[tokio::test]
async fn a_closed_session_is_not_asked_for_again() {
    let mut server = Server::start().await;
    for transport in [Transport::Poll, Transport::Sse] {
        let listen = Listen::new().session("s1").transport(transport);
        let mut events = Events::of(Client::new(&server.address, "token").unwrap().listen(listen));
        let path = if transport == Transport::Poll { "/v1/poll" } else { "/v1/sse" };
        server.expect(path).await.refuse(410, "session_closed");
        let close = events.close().await;
        assert_eq!((close.code.as_str(), close.reconnect), ("session_closed", false));
        events.end().await;
        server.expect_nothing();
    }
    // A stream that is asked for with the mark of a closed session is answered 204.
    let mut events = sse(&server, Listen::new());
    server.expect("/v1/sse").await.answer_as(StatusCode::NO_CONTENT, &[], "");
    assert_eq!(events.close().await.code, "session_closed");
    events.end().await;
}

#[tokio::test]
async fn what_the_server_refuses_for_good_ends_the_listener() {
    let mut server = Server::start().await;
    for (status, code) in
        [(401, "token_expired"), (403, "channel_forbidden"), (400, "bad_cursor"), (404, "not_found")]
    {
        for transport in [Transport::Poll, Transport::Sse] {
            let mut events = Events::of(
                Client::new(&server.address, "token").unwrap().listen(Listen::new().transport(transport)),
            );
            let path = if transport == Transport::Poll { "/v1/poll" } else { "/v1/sse" };
            server.expect(path).await.refuse(status, code);
            let error = events.error().await;
            assert_eq!(error.code(), Some(code), "{error:?}");
            events.end().await;
            server.expect_nothing();
        }
    }
}

#[tokio::test]
async fn an_overloaded_server_is_given_the_time_it_asks_for() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    server.expect("/v1/sse").await.answer_as(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "7")], "");
    let lost = events.lost().await;
    assert!(lost.retry_in >= Duration::from_secs(7) && lost.retry_in <= Duration::from_secs(8), "{lost:?}");
    skip(Duration::from_secs(9)).await;
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
}

#[tokio::test]
async fn pauses_grow_while_nothing_works() {
    let server = Server::start().await;
    let address = server.address.clone();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free_address = format!("http://{}", free.local_addr().unwrap());
    drop((free, server, address));
    let mut events = Events::of(Client::new(&free_address, "token").unwrap().listen(Listen::new()));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let lost = events.lost().await;
        assert!(matches!(lost.cause, Error::Unreachable(_)), "{lost:?}");
        pauses.push(lost.retry_in);
        if !lost.retry_in.is_zero() {
            skip(lost.retry_in + Duration::from_millis(5)).await;
        }
    }
    assert_eq!(pauses[0], Duration::ZERO);
    assert!(pauses[1] >= Duration::from_millis(250) && pauses[1] <= Duration::from_millis(500), "{pauses:?}");
    assert!(pauses[5] >= Duration::from_millis(2500) && pauses[5] <= Duration::from_secs(5), "{pauses:?}");
}

#[tokio::test]
async fn a_server_that_lets_in_and_throws_out_is_not_asked_without_end() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let mut pauses = Vec::new();
    for _ in 0..3 {
        let stream = server.expect("/v1/sse").await.stream();
        stream.open("s1", "1~e~@alice~0");
        events.open().await;
        drop(stream);
        pauses.push(events.lost().await.retry_in);
        skip(Duration::from_secs(2)).await;
    }
    assert!(pauses[0].is_zero() && !pauses[1].is_zero() && !pauses[2].is_zero(), "{pauses:?}");
}

#[tokio::test]
async fn polls_bring_their_cursor_back() {
    let mut server = Server::start().await;
    let mut events = poll(&server, Listen::new().channels(["news"]));
    let asked = server.expect("/v1/poll").await;
    assert_eq!(
        asked.query, "channels=news&hold_s=0",
        "the first poll is not held, so that the session is known at once"
    );
    asked.answer(&poll_answer(
        "s1",
        "1~e~@alice~2~news~7",
        &[message("@alice", "e", 1), message("@alice", "e", 2)],
    ));
    assert_eq!(events.open().await.session, "s1");
    assert_eq!(events.message().await, ("@alice".into(), 1));
    assert_eq!(events.message().await, ("@alice".into(), 2));
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~2~news~7");
    asked.answer(&poll_answer("s1", "1~e~@alice~2~news~8", &[message("news", "e", 8)]));
    assert_eq!(events.message().await, ("news".into(), 8));
    let asked = server.expect("/v1/poll").await;
    asked.drop_connection();
    let lost = events.lost().await;
    assert!(matches!(lost.cause, Error::Unreachable(_)), "{lost:?}");
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~2~news~8&hold_s=0");
    asked.answer(&poll_answer("s1", "1~e~@alice~2~news~8", &[]));
    events.open().await;
    server
        .expect("/v1/poll")
        .await
        .answer(r#"{"session":"s1","cursor":"1~e~@alice~2~news~8","messages":[],"gaps":[],"close":{"code":"operator","reason":"","reconnect":false}}"#);
    assert_eq!(events.close().await.code, "operator");
    events.end().await;
}

#[tokio::test]
async fn a_poll_that_never_ends_is_given_up() {
    let mut server = Server::start().await;
    let mut events = poll(&server, Listen::new().hold_s(30));
    server.expect("/v1/poll").await.answer(&poll_answer("s1", "1~e~@alice~0", &[]));
    events.open().await;
    let held = server.expect("/v1/poll").await;
    assert_eq!(held.param("hold_s").unwrap(), "30");
    skip(Duration::from_secs(76)).await;
    assert!(matches!(events.lost().await.cause, Error::Silent(_)));
    server.expect("/v1/poll").await;
    drop(held);
}

#[tokio::test]
async fn channels_come_and_go_through_the_handle() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new().channels(["old"]));
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0~old~3");
    events.open().await;
    let handle = events.handle.clone();
    let (new, old) = (["new".to_owned()], ["old".to_owned()]);
    let (added, ()) = tokio::join!(handle.subscribe(&new), async {
        let asked = server.expect("/v1/subscribe").await;
        assert_eq!(asked.json()["session"], "s1");
        asked.answer(r#"{"channels":["@alice","new","old"]}"#);
    });
    assert_eq!(added.unwrap(), ["@alice", "new", "old"]);
    let (left, ()) = tokio::join!(handle.unsubscribe(&old), async {
        server.expect("/v1/unsubscribe").await.answer(r#"{"channels":["@alice","new"]}"#);
    });
    assert_eq!(left.unwrap(), ["@alice", "new"]);
    // A message of the channel that was left may still be under way.
    stream.message("old", "e", 4);
    stream.message("@alice", "e", 1);
    assert_eq!(events.message().await, ("@alice".into(), 1));
    drop(stream);
    events.lost().await;
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1&channels=new");
}

#[tokio::test]
async fn what_was_handed_over_can_be_acknowledged() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    stream.message("@alice", "e", 1);
    events.open().await;
    events.message().await;
    let handle = events.handle.clone();
    let (done, ()) = tokio::join!(handle.ack(), async {
        let asked = server.expect("/v1/ack").await;
        assert_eq!(asked.json()["cursor"], "1~e~@alice~1");
        asked.answer(r#"{"ok":true}"#);
    });
    done.unwrap();
}

#[tokio::test]
async fn closing_through_the_handle_ends_the_listener() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    let handle = events.handle.clone();
    let (closed, ()) = tokio::join!(handle.close(Some("done")), async {
        let asked = server.expect("/v1/close").await;
        assert_eq!((&asked.json()["session"], &asked.json()["reason"]), (&"s1".into(), &"done".into()));
        stream.raw("event: close\ndata: {\"event\":\"close\",\"code\":\"client\",\"reason\":\"done\",\"reconnect\":false}\n\n");
        asked.answer(r#"{"closed":true}"#);
    });
    assert!(closed.unwrap());
    assert_eq!(events.close().await.reason, "done");
    events.end().await;
    server.expect_nothing();
}

#[tokio::test]
async fn closing_a_session_that_the_server_has_forgotten_ends_the_listener_too() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    let handle = events.handle.clone();
    let (closed, ()) = tokio::join!(handle.close(None), async {
        server.expect("/v1/close").await.answer(r#"{"closed":false}"#)
    });
    assert!(!closed.unwrap());
    // Whether the connection ends or stays silent, the listener does not come back.
    drop(stream);
    assert_eq!(events.close().await.code, "client");
    events.end().await;
    server.expect_nothing();
}

#[tokio::test]
async fn a_foreign_answer_is_refused_at_first_and_borne_later() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    server.expect("/v1/sse").await.answer("<html>");
    assert!(matches!(events.error().await, Error::BadAnswer(_)));
    events.end().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    drop(stream);
    events.lost().await;
    server.expect("/v1/sse").await.answer("<html>");
    assert!(matches!(events.lost().await.cause, Error::BadAnswer(_)));
}
