//! Places of devices, of a server that is stopped or killed and comes back.

use std::time::{Duration, Instant};

use encke_client::{Api, Client, Event, Listen, Message, Push, Target, Transport};

use crate::site::{Server, Site};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const WAIT: Duration = Duration::from_secs(30);

async fn push(server: &Server, n: u64) {
    let api = Api::new(&server.url, KEY).unwrap();
    api.push(&Push::data(Target::Users(vec!["alice".into()]), &n).unwrap()).await.unwrap();
}

/// What a device is given up to the push `last`, as its numbers.
async fn given(site: &Site, server: &Server, device: &str, last: u64) -> Vec<u64> {
    let token = site.done(&["token", "--user", "alice"]);
    let listen = Listen::new().transport(Transport::Sse).device(device);
    let mut listener = Client::new(&server.url, token.trim()).unwrap().listen(listen);
    let number =
        |message: Message| serde_json::from_str::<serde_json::Value>(&message.to_json_line()).unwrap();
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        match tokio::time::timeout(WAIT, listener.next()).await.unwrap().unwrap().unwrap() {
            Event::Message(message) => numbers.push(number(message)["data"].as_u64().unwrap()),
            Event::Open(_) => {}
            other => panic!("{other:?}"),
        }
    }
    numbers
}

/// How many messages are in the store, records of devices among them.
fn messages(site: &Site) -> u64 {
    let text = site.done(&["store", "check"]);
    let before = text.split(" messages").next().unwrap();
    before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn until_more_messages(site: &Site, than: u64) {
    let ends = Instant::now() + WAIT;
    while messages(site) <= than {
        assert!(Instant::now() < ends, "nothing more was written");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_goes_on_where_it_was_when_the_server_comes_back() {
    let site = Site::new();
    std::fs::create_dir_all(site.path("data")).unwrap();
    let mut server = site.serve(&[]);
    push(&server, 1).await;
    push(&server, 2).await;
    assert_eq!(given(&site, &server, "laptop", 2).await, [1, 2]);
    until_more_messages(&site, 2);
    // It is told to stop at once: what it knows is written before it ends.
    assert_eq!(given(&site, &server, "phone", 2).await, [1, 2]);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&server.child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(server.child.wait().unwrap().success());
    let server = site.serve(&[]);
    push(&server, 3).await;
    let written = messages(&site);
    assert_eq!(given(&site, &server, "phone", 3).await, [3]);
    until_more_messages(&site, written);
    drop(server);
    // It was killed.
    let server = site.serve(&[]);
    push(&server, 4).await;
    assert_eq!(given(&site, &server, "phone", 4).await, [4]);
    assert_eq!(given(&site, &server, "laptop", 4).await, [3, 4]);
    assert_eq!(given(&site, &server, "tablet", 4).await, [1, 2, 3, 4]);
}
