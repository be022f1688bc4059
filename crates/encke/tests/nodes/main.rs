//! Two nodes and more behave as one, whichever of them is asked.
#![allow(clippy::unwrap_used, missing_docs)]

mod bayeux;
mod cluster;
mod devices;
#[path = "../hook_endpoint/mod.rs"]
mod hook_endpoint;
mod hooks;
#[path = "../../../encke-engine/tests/ports/mod.rs"]
mod ports;
mod pusher;
mod revocation;
mod traces;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use encke::{
    clock::SystemClock,
    config::{Config, EngineUrl, Secret},
    wire::{Backing, Server, wire_on},
};
use encke_client::{
    Api, Client, CloseTarget, Event, Listen, Listener, Matching, Page, Publish, Push, Target, Transport,
};
use encke_engine::{Cluster, Engine};
use encke_proto::UserId;

use self::cluster::{TestCluster, TestNode};

/// How long a story waits for what must come.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Place {
    server: Server,
    node: Arc<TestNode>,
    api: Api,
    url: String,
}

/// So many nodes.
async fn nodes(count: usize) -> Vec<Place> {
    nodes_of(&TestCluster::new(), 0..count).await
}

/// Nodes with these numbers.
async fn nodes_of(cluster: &Arc<TestCluster>, numbers: std::ops::Range<usize>) -> Vec<Place> {
    nodes_with(cluster, numbers, |_| {}).await
}

/// The same, each with a configuration that is changed by this.
async fn nodes_with(
    cluster: &Arc<TestCluster>,
    numbers: std::ops::Range<usize>,
    change: impl Fn(&mut Config),
) -> Vec<Place> {
    let count = numbers.end;
    let mut places = Vec::new();
    for number in numbers {
        let mut config = Config {
            dev: true,
            listen: "127.0.0.1:0".parse().unwrap(),
            engine: EngineUrl::local("memory"),
            api_key: Some(Secret::new("k".repeat(32))),
            token_secret: Some(Secret::new("s".repeat(32))),
            node: format!("node-{number}"),
            workers: 2,
            ..Config::default()
        };
        change(&mut config);
        let (cluster, mut node) = (Arc::clone(cluster), None);
        let name = config.node.clone();
        let open = async |events| {
            let moved = cluster.move_in(&name, events);
            node = Some(Arc::clone(&moved));
            Ok(Backing {
                engine: Arc::clone(&cluster.engine) as Arc<dyn Engine>,
                cluster: Some(moved as Arc<dyn Cluster>),
            })
        };
        let server = wire_on(Arc::new(config), Arc::new(SystemClock::new()), open).await.unwrap();
        let url = server.main.address.url();
        places.push(Place {
            server,
            node: node.unwrap(),
            api: Api::new(&url, &"k".repeat(32)).unwrap(),
            url,
        });
    }
    // Each has heard of all others before the story begins.
    for place in &places {
        until("all nodes are known", async || place.server.app.sessions.nodes().unwrap().count() == count)
            .await;
    }
    places
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

impl Place {
    fn token(&self, user: &str) -> String {
        let app = &self.server.app;
        app.auth.dev_token(UserId::new(user).unwrap(), app.now().wall).unwrap().0
    }

    fn client(&self, user: &str) -> Client {
        Client::new(&self.url, &self.token(user)).unwrap()
    }

    /// A stream that is open.
    async fn open(&self, user: &str, listen: Listen) -> (Listener, encke_client::Open) {
        let mut listener = self.client(user).listen(listen);
        match next(&mut listener).await {
            Event::Open(open) => (listener, open),
            other => panic!("{other:?}"),
        }
    }

    async fn online(&self) -> Vec<(String, u64)> {
        let users = self.api.users(Some(true), &Page::default()).await.unwrap().users;
        users.into_iter().map(|user| (user.id, user.sessions)).collect()
    }
}

async fn next(listener: &mut Listener) -> Event {
    tokio::time::timeout(TIMEOUT, listener.next())
        .await
        .expect("something comes")
        .expect("it goes on")
        .unwrap()
}

async fn message(listener: &mut Listener) -> String {
    loop {
        match next(listener).await {
            Event::Message(message) => return message.to_json_line(),
            Event::Open(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn sse() -> Listen {
    Listen::new().transport(Transport::Sse)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t17_what_a_new_token_does_not_grant_is_left_behind_when_a_session_moves() {
    let places = nodes(2).await;
    let (_held, open) = places[0].open("alice", sse().channels(["news", "secret"])).await;
    let claims = encke::auth::Claims {
        user: UserId::new("alice").unwrap(),
        expires_s: places[1].server.app.now().wall.0 / 1000 + 600,
        issued_s: None,
        jti: None,
        channels: encke::auth::Grant::of(vec!["news".into()]),
        publish: encke::auth::Grant::none(),
    };
    let token = encke::auth::TokenKey::hs256(&Secret::new("s".repeat(32))).sign(&claims).unwrap();
    let narrow = Client::new(&places[1].url, &token).unwrap();
    let mut listener = narrow.listen(sse().session(&open.session));
    match next(&mut listener).await {
        Event::Open(moved) => assert_eq!(moved.session, open.session),
        other => panic!("{other:?}"),
    }
    match next(&mut listener).await {
        Event::Unsubscribed(told) => {
            assert_eq!((told.channel.as_str(), told.reason.as_str()), ("secret", "not_granted"));
        }
        other => panic!("{other:?}"),
    }
    for channel in ["secret", "news"] {
        places[0].api.publish(&Publish::to(channel, &channel).unwrap()).await.unwrap();
    }
    assert!(message(&mut listener).await.contains("\"data\":\"news\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_all_nodes_are_found_and_each_is_counted_once() {
    let places = nodes(2).await;
    let mut held = Vec::new();
    for (place, user) in [(0, "alice"), (1, "alice"), (1, "malik"), (0, "bob"), (1, "carol")] {
        held.push(places[place].open(user, sse()).await.0);
    }
    let matching = Matching { contains: Some("al".into()), count: true, ..Matching::default() };
    for place in &places {
        for online in [None, Some(true)] {
            let found = async |page: &Page| {
                let users = place.api.users_matching(&matching, online, page).await.unwrap();
                let rows = users.users.into_iter().map(|user| (user.id, user.sessions)).collect::<Vec<_>>();
                (rows, users.next, users.total)
            };
            let (alice, malik) = (("alice".to_owned(), 2), ("malik".to_owned(), 1));
            let whole = (vec![alice.clone(), malik.clone()], None, Some(2));
            until("all are found", async || found(&Page::default()).await == whole).await;
            let mut page = Page { limit: Some(1), after: None };
            assert_eq!(found(&page).await, (vec![alice], Some("alice".into()), Some(2)));
            page.after = Some("alice".into());
            assert_eq!(found(&page).await, (vec![malik], None, Some(2)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_refreshed_by_way_of_any_node() {
    let places = nodes(2).await;
    let (mut held, open) = places[0].open("alice", sse().channels(["news", "secret"])).await;
    let now_s = places[1].server.app.now().wall.0 / 1000;
    let token = |user: &str, grants: &str| {
        let claims = encke::auth::Claims {
            user: UserId::new(user).unwrap(),
            expires_s: now_s + 600,
            issued_s: None,
            jti: None,
            channels: encke::auth::Grant::of(vec![grants.into()]),
            publish: encke::auth::Grant::none(),
        };
        encke::auth::TokenKey::hs256(&Secret::new("s".repeat(32))).sign(&claims).unwrap()
    };
    let refresh = async |token: &str| {
        let body = serde_json::json!({"session": open.session, "token": token}).to_string();
        let url = format!("{}/v1/refresh", places[1].url);
        let request = reqwest::Client::new().post(url).header("content-type", "application/json");
        request.body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(refresh(&token("bob", "*")).await, 404, "another user's");
    assert_eq!(refresh(&token("alice", "news")).await, 200);
    match next(&mut held).await {
        Event::Unsubscribed(told) => assert_eq!(told.channel, "secret"),
        other => panic!("{other:?}"),
    }
}

/// One user opens as many sessions at each node as one node would let.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_sessions_of_a_user_end_when_there_are_too_many_on_all_nodes_together() {
    let places = nodes_with(&TestCluster::new(), 0..3, |config| config.max_sessions_per_user = 3).await;
    let (mut first, _) = places[0].open("alice", sse()).await;
    let (_bob, _) = places[0].open("bob", sse()).await;
    let mut others = Vec::new();
    for place in [&places[1], &places[2], &places[1], &places[2], &places[2]] {
        others.push(place.open("alice", sse()).await.0);
        let at_most = async || places[0].online().await[0].1 <= 3;
        until("no more than three are left", at_most).await;
    }
    match next(&mut first).await {
        Event::Close(close) => {
            assert_eq!((close.code.as_str(), close.reconnect), ("too_many_sessions", false))
        }
        other => panic!("{other:?}"),
    }
    for mut oldest in others.drain(..2) {
        assert!(matches!(next(&mut oldest).await, Event::Close(_)));
    }
    let counted = vec![("alice".to_owned(), 3), ("bob".to_owned(), 1)];
    until("the newest stay", async || places[1].online().await == counted).await;
}

/// The bound changes while the nodes run, for all of them together too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_bound_for_the_sessions_of_a_user_holds_over_all_nodes() {
    let places = nodes_with(&TestCluster::new(), 0..2, |_| {}).await;
    let mut held = Vec::new();
    for number in 0..4 {
        held.push(places[number % 2].open("alice", sse()).await.0);
    }
    let four = vec![("alice".to_owned(), 4)];
    until("all of them are there", async || places[0].online().await == four).await;
    for place in &places {
        let app = &place.server.app;
        // More than each node has by itself.
        let config = Config { max_sessions_per_user: 3, ..Config::clone(&app.config) };
        app.reloads.take(config).await.unwrap();
    }
    held.push(places[0].open("alice", sse()).await.0);
    let three = vec![("alice".to_owned(), 3)];
    until("the oldest have ended", async || places[0].online().await == three).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_is_let_in_before_the_engine_is_there() {
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], ports::free_port()));
    let config = Config {
        listen: encke::config::ListenAddress::Tcp(listen),
        engine: EngineUrl::local("memory"),
        api_key: Some(Secret::new("k".repeat(32))),
        token_secret: Some(Secret::new("s".repeat(32))),
        ..Config::default()
    };
    let (cluster, mut refused) = (TestCluster::new(), None);
    let open = async |events| {
        refused = Some(
            std::net::TcpStream::connect(listen)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused),
        );
        let moved = cluster.move_in("node", events);
        Ok(Backing {
            engine: Arc::clone(&cluster.engine) as Arc<dyn Engine>,
            cluster: Some(moved as Arc<dyn Cluster>),
        })
    };
    let server = wire_on(Arc::new(config), Arc::new(SystemClock::new()), open).await.unwrap();
    assert_eq!(refused, Some(true), "another node may serve the clients that come");
    assert_eq!(server.main.address.tcp(), Some(listen));
    std::net::TcpStream::connect(listen).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_at_another_node_with_all_that_it_follows() {
    let nodes = nodes(2).await;
    let (mut first, open) = nodes[0].open("alice", sse().channels(["news"])).await;
    first.handle().subscribe(&["chat".to_owned()]).await.unwrap();
    nodes[1].api.publish(&Publish::to("news", &1).unwrap()).await.unwrap();
    assert!(message(&mut first).await.contains("\"data\":1"));
    let handle = first.handle();
    let (session, cursor) = (handle.session().unwrap(), handle.cursor().unwrap());
    drop(first);
    nodes[0].api.publish(&Publish::to("chat", &2).unwrap()).await.unwrap();
    let (mut second, again) = nodes[1].open("alice", sse().session(&session).cursor(&cursor)).await;
    assert_eq!(again.session, open.session, "it is the same session");
    assert!(message(&mut second).await.contains("\"data\":2"), "what was published in between");
    nodes[0].api.publish(&Publish::to("news", &3).unwrap()).await.unwrap();
    assert!(message(&mut second).await.contains("\"data\":3"), "and nothing twice");
    for place in &nodes {
        assert_eq!(place.online().await, [("alice".to_owned(), 1)]);
        let sessions = place.api.sessions(Some("alice"), &Page::default()).await.unwrap().sessions;
        assert_eq!((sessions.len(), sessions[0].node.as_deref()), (1, Some("node-1")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_whichever_of_several_nodes_had_it() {
    let nodes = nodes(3).await;
    // Whichever of the others is asked first, one user's first session is not there.
    for (user, order) in [("alice", [1, 2]), ("bob", [2, 1])] {
        let mut left = Vec::new();
        for place in order.map(|at| &nodes[at]) {
            let (listener, open) = place.open(user, sse().channels(["news"])).await;
            left.push((open.session, listener.handle().cursor().unwrap()));
        }
        let mut streams = Vec::new();
        for (session, cursor) in &left {
            let (listener, again) = nodes[0].open(user, sse().session(session).cursor(cursor)).await;
            assert_eq!(again.session, *session, "it is the same session");
            streams.push(listener);
        }
        nodes[2].api.publish(&Publish::to("news", &user).unwrap()).await.unwrap();
        for listener in &mut streams {
            assert!(message(listener).await.contains(user), "it follows what it followed");
        }
        let sessions = nodes[1].api.sessions(Some(user), &Page::default()).await.unwrap().sessions;
        let places: Vec<_> = sessions.iter().map(|session| session.node.as_deref()).collect();
        assert_eq!(places, [Some("node-0"), Some("node-0")], "and is nowhere else");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_other_nodes_is_asked_of_each_of_them() {
    let nodes = nodes(3).await;
    nodes[0].api.publish(&Publish::to("news", &0).unwrap()).await.unwrap();
    // One on each node: whichever is asked first, there is more to be found behind it.
    let mut streams = Vec::new();
    for place in &nodes {
        streams.push(place.open("alice", sse().channels(["news"])).await);
    }
    for (place, number) in nodes.iter().zip(1..) {
        assert_eq!(place.online().await, [("alice".to_owned(), 3)]);
        let sessions = place.api.sessions(Some("alice"), &Page::default()).await.unwrap().sessions;
        let mut names: Vec<_> = sessions.into_iter().filter_map(|session| session.node).collect();
        names.sort();
        assert_eq!(names, ["node-0", "node-1", "node-2"]);
        assert_eq!(place.api.user("alice").await.unwrap().sessions, 3);
        let present = place.api.presence("news", &Page::default()).await.unwrap().users;
        assert_eq!(present.iter().map(|user| user.sessions).collect::<Vec<_>>(), [3]);
        let channels = place.api.channels(&Page::default()).await.unwrap().channels;
        assert_eq!(
            channels.iter().find(|channel| channel.channel == "news").map(|channel| channel.subscribers),
            Some(3)
        );
        let (client, more) = (place.client("alice"), format!("more-{number}"));
        for (listener, open) in &mut streams {
            client.subscribe(&open.session, std::slice::from_ref(&more)).await.unwrap();
            place.api.publish(&Publish::to(&more, &number).unwrap()).await.unwrap();
            assert!(message(listener).await.contains(&format!("\"data\":{number}")));
            client.ack(&open.session, &listener.handle().cursor().unwrap()).await.unwrap();
            client.unsubscribe(&open.session, std::slice::from_ref(&more)).await.unwrap();
        }
    }
    assert_eq!(nodes[0].api.close(&CloseTarget::User("alice".into()), None, false).await.unwrap(), 3);
    for place in &nodes {
        assert_eq!(place.server.app.shards.counts().await.unwrap().sessions, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_ends_its_session_at_a_node_that_does_not_have_it_and_stays_away_from_all() {
    let nodes = nodes(3).await;
    let (mut listener, open) = nodes[0].open("alice", sse()).await;
    let cursor = listener.handle().cursor().unwrap();
    assert!(nodes[1].client("alice").close(&open.session, None).await.unwrap());
    assert_eq!(
        nodes[0].server.app.shards.counts().await.unwrap().sessions,
        0,
        "everything of it is freed when it is answered"
    );
    assert!(matches!(next(&mut listener).await, Event::Close(close) if !close.reconnect));
    for place in &nodes {
        let mut back = place.client("alice").listen(sse().session(&open.session).cursor(&cursor));
        let refused = tokio::time::timeout(TIMEOUT, back.next()).await.unwrap();
        assert!(
            matches!(
                &refused,
                Some(Ok(Event::Close(close))) if close.code == "session_closed" && !close.reconnect
            ),
            "{refused:?}"
        );
    }
    assert!(
        !nodes[2].client("alice").close(&open.session, None).await.unwrap(),
        "there is nothing to close any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_sessions_wherever_they_are() {
    let nodes = nodes(2).await;
    let mut streams = Vec::new();
    for place in &nodes {
        streams.push(place.open("bob", sse()).await.0);
    }
    let (mut alone, open) = nodes[1].open("carol", sse()).await;
    assert_eq!(nodes[0].online().await, [("bob".to_owned(), 2), ("carol".to_owned(), 1)]);
    assert_eq!(nodes[0].api.close(&CloseTarget::User("bob".into()), Some("enough"), false).await.unwrap(), 2);
    assert_eq!(nodes[0].api.close(&CloseTarget::Session(open.session), None, false).await.unwrap(), 1);
    for stream in streams.iter_mut().chain([&mut alone]) {
        assert!(matches!(next(stream).await, Event::Close(_)));
    }
    assert!(nodes[1].online().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_at_one_node_finds_who_is_at_another() {
    let nodes = nodes(2).await;
    let (mut alice, _) = nodes[1].open("alice", sse()).await;
    let push = Push::page(Target::Users(vec!["alice".into(), "bob".into()]), "https://example.com/");
    let accepted = nodes[0].api.push(&push).await.unwrap();
    assert_eq!((accepted.online, accepted.offline), (vec!["alice".to_owned()], vec!["bob".to_owned()]));
    assert!(message(&mut alice).await.contains("https://example.com/"));
    let to_online = nodes[0].api.push(&Push::data(Target::Online, &7).unwrap()).await.unwrap();
    assert_eq!(to_online.accepted, 1);
    assert!(message(&mut alice).await.contains("\"data\":7"));
    // Shown to the person, as told to the node that does not have the session.
    let handle = alice.handle();
    nodes[0].client("alice").ack(&handle.session().unwrap(), &handle.cursor().unwrap()).await.unwrap();
    let receipts = nodes[1].api.receipts(&accepted.id, &Page::default()).await.unwrap().receipts;
    let states: Vec<_> =
        receipts.into_iter().map(|receipt| (receipt.user, format!("{:?}", receipt.state))).collect();
    assert_eq!(states, [("alice".to_owned(), "Shown".to_owned()), ("bob".to_owned(), "Queued".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_request_finds_its_session() {
    let nodes = nodes(2).await;
    let (mut alice, open) = nodes[0].open("alice", sse()).await;
    let elsewhere = nodes[1].client("alice");
    assert_eq!(elsewhere.subscribe(&open.session, &["news".to_owned()]).await.unwrap(), ["news"]);
    nodes[1].api.publish(&Publish::to("news", &1).unwrap()).await.unwrap();
    assert!(message(&mut alice).await.contains("\"data\":1"));
    let presence = nodes[1].api.presence("news", &Page::default()).await.unwrap().users;
    assert_eq!(
        presence.iter().map(|user| (user.user.as_str(), user.sessions)).collect::<Vec<_>>(),
        [("alice", 1)]
    );
    let channels = nodes[1].api.channels(&Page::default()).await.unwrap().channels;
    assert_eq!(channels[0].subscribers, 1);
    assert!(elsewhere.unsubscribe(&open.session, &["news".to_owned()]).await.unwrap().is_empty());
    let mallory = nodes[1].client("mallory").subscribe(&open.session, &["news".to_owned()]).await;
    assert!(matches!(&mallory, Err(error) if error.code() == Some("session_unknown")), "{mallory:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t15_who_is_on_a_node_that_died_is_offline_and_comes_back_with_it() {
    let nodes = nodes(2).await;
    let (_alice, _) = nodes[0].open("alice", sse()).await;
    assert_eq!(nodes[1].online().await.len(), 1);
    // It can neither say that it lives nor be reached.
    nodes[0].node.cut_off.store(true, Ordering::SeqCst);
    until("alice is offline for the other node", async || {
        nodes[1].server.app.sessions.nodes().unwrap().count() == 1
    })
    .await;
    assert!(nodes[1].online().await.is_empty());
    let accepted =
        nodes[1].api.push(&Push::data(Target::Users(vec!["alice".into()]), &1).unwrap()).await.unwrap();
    assert_eq!(accepted.offline, ["alice"]);
    let refused = nodes[0].client("bob").listen(sse()).next().await;
    assert!(
        matches!(&refused, Some(Ok(Event::Lost(_)) | Err(_))),
        "a node that is cut off takes no client in: {refused:?}"
    );
    nodes[0].node.cut_off.store(false, Ordering::SeqCst);
    until("alice is online again", async || {
        let push = Push::data(Target::Users(vec!["alice".into()]), &2).unwrap();
        nodes[1].api.push(&push).await.unwrap().online == ["alice"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_resigns_does_not_come_back_and_answers_until_all_have_heard() {
    let nodes = nodes(2).await;
    let (_alice, open) = nodes[0].open("alice", sse()).await;
    let (first, second) =
        (nodes[0].server.app.sessions.nodes().unwrap(), nodes[1].server.app.sessions.nodes().unwrap());
    first.resign().await;
    // The other node has not looked since, or it has: either way the session goes on there.
    let (_alice, again) = nodes[1].open("alice", sse().session(&open.session)).await;
    assert!(!again.session.is_empty());
    until("the other node has heard", async || second.count() == 1).await;
    // Nothing is to come, so there is no condition to wait for: two more beats would have brought it back.
    tokio::time::sleep(Duration::from_millis(3 * encke_engine::BEAT_MS)).await;
    assert_eq!(second.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_a_ticket_of_one_node_is_good_at_another_and_once() {
    let nodes = nodes(2).await;
    let http = |place: &Place, method: &str, target: &str, user: Option<&str>| {
        let (method, target) = (method.to_owned(), target.to_owned());
        let address = place.server.main.address.tcp().unwrap();
        let app = &place.server.app;
        let token =
            user.map(|user| app.auth.dev_token(UserId::new(user).unwrap(), app.now().wall).unwrap().0);
        async move {
            let authorization =
                token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            raw(address, &head).await
        }
    };
    let (status, given) = http(&nodes[0], "POST", "/v1/ticket", Some("alice")).await;
    assert_eq!(status, 200, "{given}");
    let ticket =
        serde_json::from_str::<serde_json::Value>(&given).unwrap()["ticket"].as_str().unwrap().to_owned();
    let target = format!("/v1/poll?hold_s=0&ticket={ticket}");
    let polls = futures_util::future::join_all(
        nodes.iter().chain(&nodes).map(|place| http(place, "GET", &target, None)),
    )
    .await;
    let mut statuses: Vec<u16> = polls.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401], "{polls:?}");
}

/// A request, and the status and body of its answer.
async fn raw(address: std::net::SocketAddr, head: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(TIMEOUT, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_cancels_is_not_delivered_at_another() {
    let places = nodes(2).await;
    let (mut held, _) = places[1].open("alice", sse()).await;
    let push = async |data: u64, to: &[&str]| {
        let users = to.iter().map(|user| (*user).to_owned()).collect();
        places[0].api.push(&Push::data(Target::Users(users), &data).unwrap()).await.unwrap().id
    };
    let first = push(1, &["alice", "bob"]).await;
    assert!(message(&mut held).await.contains("\"data\":1"));
    until("she has it", async || {
        let receipts = places[0].api.receipts(&first, &Page::default()).await.unwrap().receipts;
        receipts[0].state == encke_client::ReceiptState::Delivered
    })
    .await;
    assert_eq!(places[0].api.cancel(&first).await.unwrap(), 1, "bob has not");
    let second = push(2, &["bob"]).await;
    let (mut bob, _) = places[1].open("bob", sse()).await;
    assert!(message(&mut bob).await.contains("\"data\":2"), "the first was cancelled at the other node");
    assert_ne!(first, second);
    push(3, &["alice"]).await;
    assert!(message(&mut held).await.contains("\"data\":3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_tells_how_all_are_and_which_of_them_is_silent() {
    let nodes = nodes(3).await;
    let mut streams = Vec::new();
    for (place, user) in nodes.iter().zip(["alice", "bob", "carol"]) {
        streams.push(place.open(user, sse().channels(["news"])).await);
    }
    nodes[0].api.publish(&Publish::to("news", &1).unwrap()).await.unwrap();
    for (listener, _) in &mut streams {
        message(listener).await;
    }
    for place in &nodes {
        let all = place.api.nodes().await.unwrap();
        let names: Vec<_> = all.nodes.iter().map(|node| node.node.as_str()).collect();
        assert_eq!((names, all.silent.len()), (vec!["node-0", "node-1", "node-2"], 0));
        for (node, place) in all.nodes.iter().zip(&nodes) {
            assert_eq!((node.users, node.totals.deliveries), (1, 1), "{node:?}");
            assert_eq!(node.addresses, std::slice::from_ref(&place.url));
            assert_eq!(node.id.as_ref().map(String::len), Some(16));
        }
        let stats = place.api.stats().await.unwrap();
        assert_eq!((stats.nodes, stats.silent, stats.users, stats.totals.deliveries), (3, 0, 3, 3));
    }
    nodes[2].node.is_mute.store(true, Ordering::SeqCst);
    let all = nodes[0].api.nodes().await.unwrap();
    assert_eq!(all.nodes.iter().map(|node| node.node.as_str()).collect::<Vec<_>>(), ["node-0", "node-1"]);
    let silent: Vec<_> =
        all.silent.iter().map(|silent| (silent.node.as_str(), silent.error.as_str())).collect();
    assert_eq!(silent, [("node-2", "engine_unavailable")]);
}
