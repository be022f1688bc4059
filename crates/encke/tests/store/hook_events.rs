//! Events for the application, of a server that is killed while its endpoint takes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use encke_client::{Api, Client, Event, Listen, Listener, Page, Push, Target, Transport};
use serde_json::Value;

use crate::{
    hook_endpoint::{self, Endpoint, http},
    site::Site,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";
const WAIT: Duration = Duration::from_secs(30);

/// Settings of a server that tells this endpoint everything.
fn settings(endpoint: &Endpoint) -> String {
    let (address, secret) = (endpoint.address, hook_endpoint::SECRET);
    let events = [
        "connected",
        "disconnected",
        "subscribed",
        "channel_occupied",
        "channel_vacated",
        "push_delivered",
        "push_shown",
        "push_expired",
    ];
    format!(
        "token_secret = \"{SECRET}\"\nsession_grace_s = 1\n[hooks]\nurl = \"http://{address}/hooks\"\n\
         secret = \"{secret}\"\nallow_private = true\nevents = {events:?}\n"
    )
}

async fn open(url: &str, user: &str) -> Listener {
    let listen = Listen::new().transport(Transport::Sse).channels(["room"]);
    let mut listener = Client::new(url, &token(user)).unwrap().listen(listen);
    match listener.next().await.unwrap().unwrap() {
        Event::Open(_) => listener,
        other => panic!("{other:?}"),
    }
}

fn token(user: &str) -> String {
    let claims = encke::auth::Claims {
        user: encke_proto::UserId::new(user).unwrap(),
        expires_s: std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 600,
        issued_s: None,
        jti: None,
        channels: encke::auth::Grant::all(),
        publish: encke::auth::Grant::none(),
    };
    encke::auth::TokenKey::hs256(&encke::config::Secret::new(SECRET.to_owned())).sign(&claims).unwrap()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let ends = Instant::now() + WAIT;
    while !holds().await {
        assert!(Instant::now() < ends, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was told of a user or a channel, in its order, each event once.
fn told(endpoint: &Endpoint, of: &str) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let all = endpoint.got().into_iter().flat_map(|got| got.body["events"].as_array().unwrap().clone());
    let about = all.filter(|event| {
        let is_about = event["user"] == of || (event["user"].is_null() && event["channel"] == of);
        is_about && seen.insert(event["id"].to_string())
    });
    about.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// What came again, came as it was.
fn assert_repeats_are_alike(endpoint: &Endpoint) {
    let mut bodies: HashMap<String, Value> = HashMap::new();
    let mut events: HashMap<String, String> = HashMap::new();
    for got in endpoint.got() {
        for event in got.body["events"].as_array().unwrap() {
            let of = events.entry(event["id"].to_string()).or_insert_with(|| got.id.clone());
            assert_eq!(*of, got.id, "an event belongs to one request: {event}");
        }
        let body = bodies.entry(got.id).or_insert_with(|| got.body.clone());
        assert_eq!(*body, got.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_a_server_that_is_killed_while_the_endpoint_takes_nothing() {
    let takes = Arc::new(AtomicBool::new(false));
    let does = Arc::clone(&takes);
    let endpoint = Endpoint::new(move |_| match does.load(Ordering::SeqCst) {
        true => http("204 No Content", ""),
        false => http("503 Service Unavailable", ""),
    });
    let site = Site::new();
    std::fs::write(site.path("encke.toml"), settings(&endpoint)).unwrap();
    let server = site.serve(&["--config", "encke.toml"]);
    let (mut alice, _bob) = (open(&server.url, "alice").await, open(&server.url, "bob").await);
    let session = alice.handle();
    let api = Api::new(&server.url, KEY).unwrap();
    let pushed = api.push(&Push::data(Target::Users(vec!["alice".to_owned()]), &7).unwrap()).await.unwrap();
    alice.next().await.unwrap().unwrap();
    until("the push is delivered", async || {
        let receipts = api.receipts(&pushed.id, &Page::default()).await.unwrap();
        format!("{:?}", receipts.receipts).to_lowercase().contains("delivered")
    })
    .await;
    session.ack().await.unwrap();
    until("the endpoint was asked", async || !endpoint.got().is_empty()).await;
    drop(server);

    // Bob comes back to the server that is started again, Alice does not.
    let server = site.serve(&["--config", "encke.toml"]);
    drop(alice);
    let bob = open(&server.url, "bob").await;
    takes.store(true, Ordering::SeqCst);
    until("alice has left", async || told(&endpoint, "alice").contains(&"disconnected".to_owned())).await;
    assert_eq!(
        told(&endpoint, "alice"),
        ["connected", "subscribed", "push_delivered", "push_shown", "disconnected"]
    );
    assert_eq!(told(&endpoint, "bob"), ["connected", "subscribed", "subscribed"], "he has not left");
    assert_eq!(told(&endpoint, "room"), ["channel_occupied"]);
    drop(bob);
    until("the room is empty", async || told(&endpoint, "room").len() == 2).await;
    until("bob has left", async || told(&endpoint, "bob").len() == 4).await;
    assert_eq!(told(&endpoint, "bob").last().unwrap(), "disconnected");
    assert_eq!(told(&endpoint, "room"), ["channel_occupied", "channel_vacated"]);
    assert_repeats_are_alike(&endpoint);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_expired_while_the_server_was_killed_is_told_once_and_of_whom_it_has_not_reached() {
    let endpoint = Endpoint::new(|_| http("204 No Content", ""));
    let site = Site::new();
    std::fs::write(site.path("encke.toml"), settings(&endpoint)).unwrap();
    let server = site.serve(&["--config", "encke.toml"]);
    let mut alice = open(&server.url, "alice").await;
    let api = Api::new(&server.url, KEY).unwrap();
    let to = |users: &[&str]| Target::Users(users.iter().map(|user| (*user).to_owned()).collect());
    let push = |users: &[&str]| Push::data(to(users), &7).unwrap().ttl_s(1);
    let pushed = api.push(&push(&["alice", "carol"])).await.unwrap();
    let cancelled = api.push(&push(&["dave"])).await.unwrap();
    api.cancel(&cancelled.id).await.unwrap();
    let many = api.push_many(&[push(&["erin"]), push(&["erin"])]).await.unwrap();
    assert_eq!(many.len(), 2);
    alice.next().await.unwrap().unwrap();
    until("alice has it", async || told(&endpoint, "alice").contains(&"push_delivered".to_owned())).await;
    drop(server);

    let _server = site.serve(&["--config", "encke.toml"]);
    until("all are told of", async || told(&endpoint, "erin").len() == 2).await;
    assert_eq!(told(&endpoint, "erin"), ["push_expired", "push_expired"]);
    assert_eq!(told(&endpoint, "carol"), ["push_expired"]);
    assert!(!told(&endpoint, "alice").contains(&"push_expired".to_owned()));
    assert_eq!(told(&endpoint, "dave"), [""; 0], "it was called back");
    let all = endpoint.got().into_iter().flat_map(|got| got.body["events"].as_array().unwrap().clone());
    let of_carol = all.filter(|event| event["user"] == "carol").collect::<Vec<_>>();
    assert_eq!(of_carol[0]["push"], pushed.id.as_str());
    assert_repeats_are_alike(&endpoint);
}
