//! Connections that break in the midst of an answer: the server was reached, so nothing says that it was not.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use encke_client::{Api, Client, Error, Event, Listen, Push, Target, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each request by these bytes and resets its connection.
async fn start(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                let mut bytes = [0; 4_096];
                let read = stream.read(&mut bytes).await.unwrap();
                head.extend_from_slice(&bytes[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.set_zero_linger().unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_call_and_a_stream_of_pushes_tell_that_the_connection_broke() {
    let push = Push::data(Target::Users(vec!["alice".into()]), &1).unwrap();

    let short = "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    let api = Api::new(&start(short.to_owned()).await, "key").unwrap();
    let failed = api.push(&push).await.unwrap_err();
    assert!(matches!(failed, Error::Broken(_)) && failed.is_temporary(), "{failed:?}");

    let result = r#"{"id":"p","mode":"log","accepted":1,"online":[],"offline":["alice"]}"#;
    let chunk = format!("{:x}\r\n{result}\n\r\n", result.len() + 1);
    let head =
        "HTTP/1.1 202 Accepted\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    let api = Api::new(&start(format!("{head}{chunk}")).await, "key").unwrap();
    let (mut sender, mut results) = api.push_stream().await.unwrap().split();
    sender.send(&push).await.unwrap();
    // Whether the first result is read before the reset is known is a matter of timing.
    let failed = loop {
        match results.next_json().await.unwrap() {
            Ok(json) => assert_eq!(json, result),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, Error::Broken(_)) && failed.is_temporary(), "{failed:?}");
    assert!(results.next().await.is_none());
}

#[tokio::test]
async fn a_listener_tells_that_the_connection_broke_and_comes_back() {
    let answers = [
        (Transport::Sse, "text/event-stream", "30\r\n:"),
        (Transport::Ndjson, "application/x-ndjson", "30\r\n{"),
        (Transport::Poll, "application/json", "30\r\n{"),
    ];
    for (transport, kind, body) in answers {
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let client = Client::new(&start(answer).await, "token").unwrap();
        let mut listener = client.listen(Listen::new().transport(transport));
        for _ in 0..2 {
            let event = tokio::time::timeout(Duration::from_secs(20), listener.next()).await.unwrap();
            let Some(Ok(Event::Lost(lost))) = event else { panic!("{event:?}") };
            assert!(matches!(lost.cause, Error::Broken(_)), "{transport:?} {lost:?}");
        }
    }
}
