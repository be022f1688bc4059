//! Listening by WebSocket, against a server that the test plays.

#![allow(clippy::unwrap_used)]

mod server;

use std::time::Duration;

use encke_client::{Client, Error, Listen, Transport};
use encke_proto::codec::ws::{CloseFrame, CloseStatus, Received, frame};
use server::{Events, Server, poll_answer, skip};

fn ws(server: &Server, options: Listen) -> Events {
    Events::of(Client::new(&server.address, "token").unwrap().listen(options.transport(Transport::Ws)))
}

fn status(heard: Option<Received>) -> u16 {
    match heard {
        Some(Received::Close(Some(CloseFrame { status, .. }))) => status.number(),
        other => panic!("not a close: {other:?}"),
    }
}

#[tokio::test]
async fn a_socket_that_drops_is_taken_up_where_it_dropped() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new().channels(["news"]));
    let asked = server.expect("/v1/ws").await;
    assert_eq!(
        (asked.query.as_str(), &asked.headers["authorization"]),
        ("channels=news&form=short", &"Bearer token".parse().unwrap())
    );
    assert_eq!(
        (&asked.headers["upgrade"], &asked.headers["sec-websocket-version"]),
        (&"websocket".parse().unwrap(), &"13".parse().unwrap())
    );
    let first_key = asked.headers["sec-websocket-key"].clone();
    let mut socket = asked.socket().await;
    socket.open("s1", "1~e~@alice~0~news~7").await;
    assert_eq!(events.open().await.session, "s1");
    socket.message("news", "e", 8).await;
    socket.message("@alice", "e", 1).await;
    assert_eq!(events.message().await, ("news".into(), 8));
    assert_eq!(events.message().await, ("@alice".into(), 1));
    drop(socket);
    let lost = events.lost().await;
    assert_eq!(lost.retry_in, Duration::ZERO, "{lost:?}");
    let asked = server.expect("/v1/ws").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1~news~8&form=short");
    assert_ne!(asked.headers["sec-websocket-key"], first_key);
    let mut socket = asked.socket().await;
    socket.open("s2", "1~e~@alice~1~news~7").await;
    socket.message("news", "e", 8).await;
    socket.message("news", "e", 9).await;
    assert_eq!(events.open().await.session, "s2");
    assert_eq!(events.message().await, ("news".into(), 9));
}

#[tokio::test]
async fn another_transport_goes_on_by_the_same_cursor() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    socket.message("@alice", "e", 1).await;
    events.open().await;
    events.message().await;
    let (session, cursor) = (events.handle.session().unwrap(), events.handle.cursor().unwrap());
    drop(events);
    let listen = Listen::new().transport(Transport::Poll).session(session).cursor(cursor);
    let mut events = Events::of(Client::new(&server.address, "token").unwrap().listen(listen));
    let asked = server.expect("/v1/poll").await;
    assert_eq!(asked.query, "session=s1&cursor=1~e~%40alice~1&form=short&hold_s=0");
    asked.answer(&poll_answer("s1", "1~e~@alice~2", &[server::message("@alice", "e", 2)]));
    events.open().await;
    assert_eq!(events.message().await.1, 2);
}

#[tokio::test]
async fn pings_are_answered_and_break_the_silence() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    events.open().await;
    for payload in [&b""[..], b"are you there?"] {
        skip(Duration::from_secs(40)).await;
        socket.frame(frame::PING, payload).await;
        assert_eq!(socket.heard().await, Some(Received::Pong(payload.to_vec())));
    }
    skip(Duration::from_secs(51)).await;
    let lost = events.lost().await;
    assert!(matches!(lost.cause, Error::Silent(silence) if silence == Duration::from_secs(50)), "{lost:?}");
    server.expect("/v1/ws").await;
}

#[tokio::test]
async fn a_message_may_come_in_fragments_with_a_ping_between() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    let text = format!(r#"{{"event":"message",{}}}{:100}"#, server::message("@\u{e4}", "e", 1), "");
    let cut = text.find('\u{e4}').unwrap() + 1;
    let (begin, end) = text.as_bytes().split_at(cut);
    let small =
        |first: u8, payload: &[u8]| [&[first, u8::try_from(payload.len()).unwrap()], payload].concat();
    let bytes = [
        small(0x01, begin),
        small(0x89, b"x"),
        vec![0x80, 126, 0, u8::try_from(end.len()).unwrap()],
        end.to_vec(),
    ]
    .concat();
    assert!(end.len() > 125, "a length in two bytes");
    for byte in bytes {
        socket.raw(&[byte]).await;
    }
    events.open().await;
    assert_eq!(events.message().await, ("@\u{e4}".into(), 1));
    assert_eq!(socket.heard().await, Some(Received::Pong(b"x".to_vec())));
}

#[tokio::test]
async fn after_a_close_nothing_reconnects_and_the_server_is_answered() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    events.open().await;
    socket.close("operator", false, 4410).await;
    assert_eq!(events.close().await.code, "operator");
    events.end().await;
    assert!([1000, 4410].contains(&status(socket.heard().await)), "either says that it has heard");
    assert_eq!(socket.heard().await, None);
    server.expect_nothing();
}

#[tokio::test]
async fn a_close_that_wants_the_client_back_goes_on_with_a_new_session() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~3").await;
    events.open().await;
    socket.close("slow", true, 4408).await;
    assert!(events.close().await.reconnect);
    let asked = server.expect("/v1/ws").await;
    assert_eq!((asked.param("session"), asked.param("cursor")), (None, Some("1~e~%40alice~3".into())));
}

#[tokio::test]
async fn a_close_frame_alone_is_answered_with_its_status_and_is_a_loss() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    events.open().await;
    let mut out = Vec::new();
    CloseFrame::write(&mut out, CloseStatus::GOING_AWAY, "a proxy restarts");
    socket.raw(&out).await;
    assert_eq!(status(socket.heard().await), 1001);
    assert!(matches!(events.lost().await.cause, Error::Ended));
    assert_eq!(server.expect("/v1/ws").await.param("session").unwrap(), "s1");
}

#[tokio::test]
async fn what_the_server_refuses_ends_the_listener_before_the_change_and_after_it() {
    let mut server = Server::start().await;
    for (status, code) in [
        (401, "token_expired"),
        (403, "channel_forbidden"),
        (422, "too_many_channels"),
        (426, "upgrade_required"),
    ] {
        let mut events = ws(&server, Listen::new());
        server.expect("/v1/ws").await.refuse(status, code);
        let before = events.error().await;
        events.end().await;
        let mut events = ws(&server, Listen::new());
        let mut socket = server.expect("/v1/ws").await.socket().await;
        socket.close(code, false, 4000 + status).await;
        let after = events.error().await;
        events.end().await;
        assert_eq!((after.code(), after.to_string()), (Some(code), before.to_string()));
        server.expect_nothing();
    }
    let mut events = ws(&server, Listen::new().session("s1"));
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.close("session_closed", false, 4410).await;
    let close = events.close().await;
    assert_eq!((close.code.as_str(), close.reconnect), ("session_closed", false));
    events.end().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.close("engine_unavailable", true, 4503).await;
    assert!(matches!(events.lost().await.cause, Error::Unavailable { status: 503, .. }));
    server.expect("/v1/ws").await;
}

#[tokio::test]
async fn a_handshake_that_is_not_the_answer_to_this_one_is_refused() {
    let mut server = Server::start().await;
    let good = |asked: &server::Asked| {
        encke_proto::codec::ws::accept(asked.headers["sec-websocket-key"].to_str().unwrap())
    };
    for wrong in 0..5 {
        let mut events = ws(&server, Listen::new());
        let asked = server.expect("/v1/ws").await;
        let accept = if wrong == 0 { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned() } else { good(&asked) };
        let mut fields = vec![
            ("upgrade", if wrong == 1 { "h2c" } else { "websocket" }),
            ("connection", "Upgrade"),
            ("sec-websocket-accept", accept.as_str()),
        ];
        match wrong {
            2 => fields.push(("sec-websocket-extensions", "permessage-deflate")),
            3 => fields.push(("sec-websocket-protocol", "chat")),
            _ => {}
        }
        if wrong == 4 {
            asked.answer("not a change at all");
        } else {
            asked.socket_with(&fields).await;
        }
        assert!(matches!(events.error().await, Error::BadAnswer(_)), "{wrong}");
        events.end().await;
    }
}

#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_told_and_left() {
    let mut server = Server::start().await;
    for (bytes, expected) in [
        (&[0x81, 0x80, 0, 0, 0, 0][..], 1002),
        (&[0xc1, 0], 1002),
        (&[0x82, 1, b'x'], 1003),
        (&[0x81, 1, 0xff], 1007),
        (&[0x81, 127, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 1009),
    ] {
        let mut events = ws(&server, Listen::new());
        let mut socket = server.expect("/v1/ws").await.socket().await;
        socket.open("s1", "1~e~@alice~0").await;
        events.open().await;
        socket.raw(bytes).await;
        assert_eq!(status(socket.heard().await), expected, "{bytes:?}");
        assert!(matches!(events.lost().await.cause, Error::BadAnswer(_)), "{bytes:?}");
        drop(events);
        server.expect("/v1/ws").await;
    }
}

#[tokio::test]
async fn closing_through_the_handle_ends_the_listener() {
    let mut server = Server::start().await;
    let mut events = ws(&server, Listen::new());
    let mut socket = server.expect("/v1/ws").await.socket().await;
    socket.open("s1", "1~e~@alice~0").await;
    events.open().await;
    let handle = events.handle.clone();
    let (closed, ()) = tokio::join!(handle.close(Some("done")), async {
        let asked = server.expect("/v1/close").await;
        assert_eq!(asked.json()["session"], "s1");
        socket.close("client", false, 1000).await;
        asked.answer(r#"{"closed":true}"#);
    });
    assert!(closed.unwrap());
    assert_eq!(events.close().await.code, "client");
    events.end().await;
    assert_eq!(status(socket.heard().await), 1000);
}
