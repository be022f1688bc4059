//! Publishing while not everything works: a message comes once, and a server that asks for time is given it.

#![allow(clippy::unwrap_used)]

mod server;

use std::time::Duration;

use axum::http::StatusCode;
use encke_client::{Api, Client, Error, Publish, Push, Target};
use server::{Asked, Server};
use tokio::time::Instant;

/// The calls that make a message.
#[derive(Clone, Copy, Debug)]
enum Call {
    Push,
    Publish,
    ClientPublish,
}

impl Call {
    const ALL: [Self; 3] = [Self::Push, Self::Publish, Self::ClientPublish];

    fn path(self) -> &'static str {
        match self {
            Self::Push => "/api/push",
            Self::Publish => "/api/publish",
            Self::ClientPublish => "/v1/publish",
        }
    }

    async fn make(self, server: &str) -> Result<(), Error> {
        let api = Api::new(server, "key").unwrap();
        let publish = Publish::to("news", &1).unwrap();
        match self {
            Self::Push => api.push(&Push::data(Target::All, &1).unwrap()).await.map(drop),
            Self::Publish => api.publish(&publish).await.map(drop),
            Self::ClientPublish => Client::new(server, "token").unwrap().publish(&publish).await.map(drop),
        }
    }

    fn accept(self, asked: Asked) {
        let answer = match self {
            Self::Push => r#"{"id":"p","mode":"log","accepted":1,"online":[],"offline":[]}"#,
            Self::Publish | Self::ClientPublish => r#"{"id":"m","offset":1,"epoch":"e","mode":"log"}"#,
        };
        asked.answer_as(StatusCode::ACCEPTED, &[], answer);
    }
}

fn key(asked: &Asked) -> String {
    asked.json()["id"].as_str().expect("it has no idempotency key").to_owned()
}

#[tokio::test]
async fn whatever_makes_a_message_carries_a_key_of_its_own_and_keeps_it_when_it_is_sent_again() {
    let mut server = Server::start().await;
    let address = server.address.clone();
    let mut keys = Vec::new();
    for call in [Call::ALL, Call::ALL].concat() {
        let (done, key) = tokio::join!(call.make(&address), async {
            let first = server.expect(call.path()).await;
            let made = key(&first);
            first.answer_as(StatusCode::SERVICE_UNAVAILABLE, &[], "");
            let second = server.expect(call.path()).await;
            assert_eq!(key(&second), made, "{call:?}");
            // It may have been taken: the answer is lost on the way.
            second.drop_connection();
            let third = server.expect(call.path()).await;
            assert_eq!(key(&third), made, "{call:?}");
            call.accept(third);
            made
        });
        done.unwrap();
        assert!(key.len() >= 16 && !keys.contains(&key), "{call:?} {key}");
        keys.push(key);
    }
    server.expect_nothing();
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_given_it() {
    let mut server = Server::start().await;
    let address = server.address.clone();
    for call in Call::ALL {
        let (done, ()) = tokio::join!(call.make(&address), async {
            let first = server.expect(call.path()).await;
            let asked_for = Instant::now();
            first.answer_as(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "1")], "");
            let second = server.expect(call.path()).await;
            // By itself it would wait a tenth of that. A clock is never early, however loaded the machine is.
            assert!(asked_for.elapsed() >= Duration::from_secs(1), "{call:?} {:?}", asked_for.elapsed());
            call.accept(second);
        });
        done.unwrap();
    }
}
