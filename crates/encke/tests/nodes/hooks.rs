//! Events for the application, of several nodes: one tells each, and those of a node that dies are told by
//! another.

use std::collections::HashMap;

use encke::config::HookEvent;

use super::{
    cluster::TestCluster,
    hook_endpoint::{Endpoint, SECRET, http},
    *,
};

fn told(endpoint: &Endpoint, user: &str) -> Vec<String> {
    let all = endpoint.got().into_iter().flat_map(|got| got.body["events"].as_array().unwrap().clone());
    let of_user = all.filter(|event| event["user"] == user);
    of_user.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_tells_each_event_and_another_those_of_one_that_has_died() {
    let endpoint = Endpoint::new(|_| http("200 OK", ""));
    let url = format!("http://{}/", endpoint.address);
    let places = nodes_with(&TestCluster::new(), 0..2, |config| {
        config.session_grace_s = 1;
        config.hooks.url = Some(url.clone());
        config.hooks.secret = Some(Secret::new(SECRET.to_owned()));
        config.hooks.allow_private = true;
        config.hooks.events = vec![HookEvent::Connected, HookEvent::Disconnected];
    })
    .await;
    let (first, open) = places[0].open("alice", sse()).await;
    let (_bob, _) = places[0].open("bob", sse()).await;
    let (carol, _) = places[1].open("carol", sse()).await;
    for user in ["alice", "bob", "carol"] {
        until("they are told", async || told(&endpoint, user) == ["connected"]).await;
    }
    let delivers = async |node: &str| {
        places[1].api.hooks().await.unwrap().events.is_some_and(|told| told.node == node && told.lag == 0)
    };
    until("the node that delivers is told of", async || delivers("node-0").await).await;
    // Her session goes on at another node: she has not left.
    let (_moved, _) = places[1].open("alice", sse().session(&open.session)).await;
    drop(first);
    drop(carol);
    until("carol has left", async || told(&endpoint, "carol") == ["connected", "disconnected"]).await;
    assert_eq!(told(&endpoint, "alice"), ["connected"]);

    // The node that was first, and so the one that delivers, hears and says nothing any more.
    places[0].node.cut_off.store(true, Ordering::SeqCst);
    until("bob has left with it", async || told(&endpoint, "bob") == ["connected", "disconnected"]).await;
    assert_eq!(told(&endpoint, "alice"), ["connected"]);
    until("another delivers", async || delivers("node-1").await).await;
    let mut requests: HashMap<String, String> = HashMap::new();
    for got in endpoint.got() {
        for event in got.body["events"].as_array().unwrap() {
            let of = requests.entry(event["id"].to_string()).or_insert_with(|| got.id.clone());
            assert_eq!(*of, got.id, "an event belongs to one request: {event}");
        }
    }
}
