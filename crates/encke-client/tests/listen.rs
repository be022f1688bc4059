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
    assert_eq!(asked.query, "channels=a%2Cb,news&form=short");
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
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1~a%212cb~0~news~8&form=short");
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
async fn who_looks_on_brings_no_channels_and_no_device() {
    let mut server = Server::start().await;
    let options = Listen::new().looking_at("alice").device("laptop").channels(["news"]);
    let mut events = sse(&server, options);
    let asked = server.expect("/api/users/alice/messages").await;
    assert_eq!(asked.query, "form=short");
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    stream.message("@alice", "e", 1);
    assert_eq!(events.message().await, ("@alice".into(), 1));
    drop(stream);
    events.lost().await;
    // What comes next is the stream again, and nothing before it.
    let asked = server.expect("/api/users/alice/messages").await;
    assert_eq!(asked.query, "cursor=1~e~%40alice~1&form=short");
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
        asked.query, "channels=news&form=short&hold_s=0",
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
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~2~news~7&form=short");
    asked.answer(&poll_answer("s1", "1~e~@alice~2~news~8", &[message("news", "e", 8)]));
    assert_eq!(events.message().await, ("news".into(), 8));
    let asked = server.expect("/v1/poll").await;
    asked.drop_connection();
    let lost = events.lost().await;
    assert!(matches!(lost.cause, Error::Unreachable(_)), "{lost:?}");
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~2~news~8&form=short&hold_s=0");
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
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1&channels=new&form=short");
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

#[tokio::test]
async fn messages_in_the_short_form_are_handed_over_whole_and_move_the_cursor() {
    const ID: &str = "ABnrnaitISNFZ4mrze8BI0";
    let line = |message: encke_client::Message| message.to_json_line();
    let pushed = format!(
        r#"{{"id":"{ID}","channel":"@alice","offset":1,"epoch":"e","time":"2026-06-12T03:22:47.890Z","type":"message","data":{{"a":1}}}}"#
    );
    let published = r#"{"channel":"news","offset":8,"epoch":"f","time":"1970-01-01T00:00:00.005Z","type":"page","url":"http://x/","from":"bob"}"#;
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    let stream = server.expect("/v1/sse").await.stream();
    stream.raw("event: opened\ndata: {\"event\":\"open\",\"session\":\"s1\",\"cursor\":\"1~e~@alice~0~news~7:f\",\"user\":\"alice\",\"epoch\":\"e\"}\n\n");
    stream.raw(&format!("data: [1,\"{ID}\",{{\"a\":1}}]\n\n"));
    stream.raw("data: [\"news\",8,5,\"http://x/\",1,\"bob\",\"f\"]\n\n");
    events.open().await;
    for expected in [pushed.as_str(), published] {
        match events.next().await {
            Some(Ok(Event::Message(message))) => assert_eq!(line(message), expected),
            other => panic!("not a message: {other:?}"),
        }
    }
    drop(stream);
    events.lost().await;
    assert_eq!(server.expect("/v1/sse").await.param("cursor").unwrap(), "1~f~%40alice~1%3Ae~news~8");

    let mut server = Server::start().await;
    let mut events = poll(&server, Listen::new());
    let first = r#"{"session":"s1","close_key":"k","cursor":"1~e~@alice~0","messages":[]}"#;
    server.expect("/v1/poll").await.answer(first);
    assert_eq!(events.open().await.session, "s1");
    let answer = format!(
        r#"{{"cursor":"1~e~@alice~1","user":"alice","epoch":"e","messages":[[1,"{ID}",{{"a":1}}]]}}"#
    );
    server.expect("/v1/poll").await.answer(&answer);
    assert!(
        matches!(events.next().await, Some(Ok(Event::Message(message))) if line(message.clone()) == pushed)
    );
    let asked = server.expect("/v1/poll").await;
    assert_eq!(
        (asked.param("session").unwrap(), asked.param("cursor").unwrap()),
        ("s1".into(), "1~e~%40alice~1".into())
    );

    let mut server = Server::start().await;
    let mut whole = poll(&server, Listen::new().whole());
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.param("form"), None);
    asked.answer(&poll_answer("s2", "1~e~@alice~1", &[message("@alice", "e", 1)]));
    whole.open().await;
}

/// A client whose application gives tokens with these names, one after the other, and then none.
fn with_tokens(server: &Server, tokens: &[&str]) -> Client {
    let tokens: Vec<String> = tokens.iter().rev().map(|token| (*token).to_owned()).collect();
    let tokens = std::sync::Arc::new(std::sync::Mutex::new(tokens));
    Client::new(&server.address, "token").unwrap().with_token_source(move || {
        let token = tokens.lock().unwrap().pop().ok_or("the application has none");
        async { Ok(token?) }
    })
}

async fn expiring(events: &mut Events) -> u64 {
    match events.next().await {
        Some(Ok(Event::Expiring(told))) => told.in_s,
        other => panic!("not expiring: {other:?}"),
    }
}

#[tokio::test]
async fn a_session_goes_on_with_a_fresh_token_before_its_own_ends() {
    for transport in [Transport::Sse, Transport::Poll] {
        let mut server = Server::start().await;
        let client = with_tokens(&server, &["fresh"]);
        let mut events = Events::of(client.listen(Listen::new().transport(transport)));
        let mut stream = None;
        if transport == Transport::Sse {
            let opened = server.expect("/v1/sse").await.stream();
            opened.open("s1", "1~e~@alice~0");
            events.open().await;
            opened.raw("event: expiring\ndata: {\"event\":\"expiring\",\"in_s\":60}\n\n");
            stream = Some(opened);
        } else {
            server.expect("/v1/poll").await.answer(&poll_answer("s1", "1~e~@alice~0", &[]));
            events.open().await;
            let answer = poll_answer("s1", "1~e~@alice~0", &[]);
            let answer = answer.replace("\"close\":null", "\"close\":null,\"expiring\":{\"in_s\":60}");
            server.expect("/v1/poll").await.answer(&answer);
        }
        assert_eq!(expiring(&mut events).await, 60);
        let asked = loop {
            let asked = server.next().await;
            match asked.path.as_str() {
                "/v1/refresh" => break asked,
                // The next poll need not wait for it.
                "/v1/poll" => asked.answer(&poll_answer("s1", "1~e~@alice~0", &[])),
                other => panic!("{other}"),
            }
        };
        assert_eq!(asked.json()["session"], "s1");
        assert_eq!(asked.json()["token"], "fresh");
        asked.answer(r#"{"expires":"2026-01-02T03:04:05Z"}"#);
        drop(stream);
        // From then on everything brings it.
        loop {
            let asked = server.next().await;
            if asked.headers["authorization"] == "Bearer fresh" {
                break;
            }
            asked.answer(&poll_answer("s1", "1~e~@alice~0", &[]));
        }
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_before_the_next_connection() {
    let mut server = Server::start().await;
    let client = with_tokens(&server, &["second", "third"]);
    let mut events = Events::of(client.listen(Listen::new()));
    server.expect("/v1/sse").await.refuse(401, "token_expired");
    assert!(matches!(events.lost().await.cause, Error::Unauthorized { .. }));
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.headers["authorization"], "Bearer second");
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0");
    events.open().await;
    let close = r#"{"event":"close","code":"token_expired","reason":"","reconnect":true}"#;
    stream.raw(&format!("event: close\ndata: {close}\n\n"));
    assert!(events.close().await.reconnect);
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.headers["authorization"], "Bearer third");
    // One that was just made is refused: there is none better.
    asked.refuse(401, "unauthorized");
    assert!(matches!(events.error().await, Error::Unauthorized { .. }));
    events.end().await;
}

#[tokio::test]
async fn an_application_that_has_no_token_is_asked_again() {
    let mut server = Server::start().await;
    let client = with_tokens(&server, &[]);
    let mut events = Events::of(client.listen(Listen::new()));
    server.expect("/v1/sse").await.refuse(401, "token_expired");
    assert!(matches!(events.lost().await.cause, Error::Unauthorized { .. }));
    for _ in 0..2 {
        let cause = events.lost().await.cause;
        assert!(matches!(cause, Error::NoToken(_)), "{cause:?}");
        assert!(cause.to_string().contains("the application has none"), "{cause}");
    }
    server.expect_nothing();
}

#[tokio::test]
async fn without_a_source_a_refused_token_is_the_end() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new());
    server.expect("/v1/sse").await.refuse(401, "token_expired");
    assert!(matches!(events.error().await, Error::Unauthorized { .. }));
    events.end().await;
}

#[tokio::test]
async fn a_device_says_its_name_with_each_connection() {
    let mut server = Server::start().await;
    let mut events = sse(&server, Listen::new().device("my phone"));
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.query, "device=my%20phone&form=short");
    let stream = asked.stream();
    stream.open("s1", "1~e~@alice~0");
    assert_eq!(events.open().await.session, "s1");
    drop(stream);
    events.lost().await;
    let asked = server.expect("/v1/sse").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~0&device=my%20phone&form=short");
}
