//! Events for the application, of two servers on a real Redis or NATS that are killed in turn: nothing is
//! lost, and all of it comes in order.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../hook_endpoint/mod.rs"]
mod hook_endpoint;
#[path = "../../../encke-engine/tests/nats/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod nats;
mod node;
#[path = "../../../encke-engine/tests/ports/mod.rs"]
mod ports;
#[path = "../../../encke-engine/tests/redis_beds/server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod redis;
mod told;
mod visitor;

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use encke_client::{Push, ReceiptState, Target};

use self::{
    hook_endpoint::{Endpoint, Got, http},
    node::{GRACE_S, NODES, Nodes, WAIT, until},
    redis::RedisServer,
    told::{CONNECTION, OCCUPATION, Told},
    visitor::{Known, Visitor, room},
};

/// How often a node is killed in a story.
const KILLS: usize = 6;
/// How many pushes are delivered between two kills.
const PUSHES_BETWEEN: usize = 12;
/// How many users who are not there a push is for.
const ABSENT: usize = 2;

static REDIS: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start(&[]));

fn redis(prefix: &str) -> String {
    format!("redis://127.0.0.1:{}/?prefix={prefix}", REDIS.port)
}

/// A NATS server with its data in a directory.
fn nats() -> (nats::Server, tempfile::TempDir) {
    let (dir, port) = (tempfile::tempdir().unwrap(), ports::free_port());
    let store = dir.path().join("js");
    let conf = format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?} }}\n");
    std::fs::write(dir.path().join("conf"), conf).unwrap();
    let server = nats::Server::start(dir.path(), "alone", port);
    (server, dir)
}

/// The application: its endpoint, and what that has taken.
struct Application {
    endpoint: Endpoint,
    taken: Arc<Mutex<Vec<Got>>>,
}

impl Application {
    /// It takes what it gets after so long, but for each of these in so many, at which it fails.
    fn new(slow: Duration, fails_each: usize) -> Self {
        let (taken, count) = (Arc::<Mutex<Vec<Got>>>::default(), AtomicUsize::new(1));
        let takes = Arc::clone(&taken);
        let endpoint = Endpoint::new(move |got| {
            thread::sleep(slow);
            if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(fails_each) {
                return http("500 Internal Server Error", "");
            }
            takes.lock().unwrap().push(got.clone());
            http("204 No Content", "")
        });
        Self { endpoint, taken }
    }

    fn told(&self) -> Told {
        // What came again is compared with what was not taken, too.
        Told::of(&self.endpoint.got());
        Told::of(&self.taken.lock().unwrap())
    }
}

/// What goes on while nodes are killed.
struct Story {
    application: Application,
    nodes: Arc<Nodes>,
    ends: AtomicBool,
    delivered: AtomicUsize,
}

impl Story {
    fn new(engine: &str, application: Application) -> Arc<Self> {
        let nodes = Nodes::start(engine, &application.endpoint);
        Arc::new(Self { application, nodes, ends: AtomicBool::new(false), delivered: AtomicUsize::new(0) })
    }

    fn is_over(&self) -> bool {
        self.ends.load(Ordering::SeqCst)
    }

    /// A visit with so many pushes, and with more as long as it goes on.
    async fn visit(&self, known: &mut Known, pushes: usize, goes_on: impl Fn() -> bool) {
        let mut visitor = Visitor::come(&self.nodes, known);
        let mut count: usize = 0;
        while count < pushes || goes_on() {
            visitor.take_push().await;
            self.delivered.fetch_add(1, Ordering::SeqCst);
            count += 1;
            if count.is_multiple_of(2) {
                visitor.see().await;
            }
        }
        visitor.leave().await;
    }

    /// Users who come once, one after the other.
    async fn come_and_go(self: Arc<Self>, task: usize) -> Vec<Known> {
        let mut all = Vec::new();
        while !self.is_over() {
            let user = format!("guest-{task}-{}", all.len());
            let mut known = Known { user, ..Known::default() };
            self.visit(&mut known, 1 + all.len() % 3, || false).await;
            all.push(known);
        }
        all
    }

    /// A user who stays through all kills.
    async fn stay(self: Arc<Self>, task: usize) -> Vec<Known> {
        let mut known = Known { user: format!("resident-{task}"), ..Known::default() };
        self.visit(&mut known, 1, || !self.is_over()).await;
        vec![known]
    }

    /// A user who comes again each time that the application knows that the user has left.
    async fn return_again(self: Arc<Self>) -> Vec<Known> {
        let mut known = Known { user: "returner".to_owned(), ..Known::default() };
        while !self.is_over() {
            self.visit(&mut known, 2, || false).await;
            let ends = Instant::now() + WAIT;
            while !self.has_left(&known.user, known.visits) {
                assert!(Instant::now() < ends, "the application is not told that {} has left", known.user);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        vec![known]
    }

    /// Whether the application was told that a user has left so often.
    fn has_left(&self, user: &str, visits: usize) -> bool {
        let told = self.application.told();
        let [connection, occupation] = [told.turns(user, CONNECTION), told.turns(&room(user), OCCUPATION)];
        connection.1 >= visits && connection.0 == connection.1 && occupation.0 == occupation.1
    }

    /// A push for users who never come, over before they could.
    async fn push_in_vain(&self, number: usize) -> (String, Vec<String>) {
        let users: Vec<String> = (0..ABSENT).map(|user| format!("absent-{number}-{user}")).collect();
        let push = Push::data(Target::Users(users.clone()), &7).unwrap().ttl_s(1);
        (self.nodes.push(&push.id(format!("vain-{number}"))).await, users)
    }

    /// Kills nodes in turn, that which tells as often as another, while users come and go. Gives what is sure
    /// of these, and of pushes that reached no user.
    async fn kill_in_turn(self: &Arc<Self>, kills: usize) -> (Vec<Known>, Vec<(String, Vec<String>)>) {
        let mut tasks = vec![tokio::spawn(Arc::clone(self).return_again())];
        tasks.extend((0..3).map(|task| tokio::spawn(Arc::clone(self).come_and_go(task))));
        tasks.extend((0..2).map(|task| tokio::spawn(Arc::clone(self).stay(task))));
        let mut vain = Vec::new();
        for kill in 0..kills {
            let before = self.delivered.load(Ordering::SeqCst);
            until("pushes are delivered", async || {
                self.delivered.load(Ordering::SeqCst) >= before + PUSHES_BETWEEN
            })
            .await;
            // It takes a while until the application knows of the last of them.
            if kill < kills / 2 {
                vain.push(self.push_in_vain(kill).await);
            }
            let node = if kill.is_multiple_of(2) { self.nodes.teller().await } else { kill / 2 % NODES };
            self.nodes.kill(node);
            self.nodes.start_again(node).await;
        }
        self.ends.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        (all, vain)
    }

    /// Waits until the application was told all that is sure, and that nothing else.
    async fn is_told(&self, all: &[Known], vain: &[(String, Vec<String>)]) {
        until("all have left", async || all.iter().all(|known| self.has_left(&known.user, 1))).await;
        let has_expired = |told: &Told, users: &[String]| {
            users.iter().all(|user| !told.about(user, &["push_expired"]).is_empty())
        };
        until("the application knows what has expired", async || {
            let told = self.application.told();
            vain.iter().all(|(_, users)| has_expired(&told, users))
        })
        .await;
        let told = self.application.told();
        for known in all {
            let Known { user, visits, delivered, shown, longest_absence } = known;
            assert_eq!(told.pushes(user, "push_delivered"), *delivered, "{user}");
            assert_eq!(told.pushes(user, "push_shown"), *shown, "{user}");
            assert!(told.about(user, &["subscribed"]).len() >= *visits, "{user}");
            let all = told
                .about(user, &["connected", "subscribed", "push_delivered", "push_shown", "disconnected"]);
            assert_eq!(
                (all[0].0.as_str(), all[all.len() - 1].0.as_str()),
                ("connected", "disconnected"),
                "{user}: {all:?}"
            );
            // Who was away for longer may have left.
            if *longest_absence < Duration::from_secs(GRACE_S) {
                let twice = (*visits, *visits);
                assert_eq!(told.turns(user, CONNECTION), twice, "{user}: {longest_absence:?}");
                assert_eq!(told.turns(&room(user), OCCUPATION), twice, "{user}: {longest_absence:?}");
            }
        }
        for (push, users) in vain {
            for user in users {
                assert_eq!(told.pushes(user, "push_expired"), std::slice::from_ref(push), "{user}");
            }
        }
    }
}

async fn nothing_is_lost_by_kills(engine: &str, application: Application, kills: usize) {
    let story = Story::new(engine, application);
    let (all, vain) = story.kill_in_turn(kills).await;
    story.is_told(&all, &vain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn on_redis_nothing_is_lost_and_all_comes_in_order_while_nodes_are_killed_in_turn() {
    nothing_is_lost_by_kills(&redis("plain"), Application::new(Duration::ZERO, usize::MAX), KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn on_redis_nothing_is_lost_when_the_application_is_slow_and_fails_now_and_then() {
    let slow = Application::new(Duration::from_millis(100), 5);
    nothing_is_lost_by_kills(&redis("slow"), slow, KILLS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn on_nats_nothing_is_lost_and_all_comes_in_order_while_nodes_are_killed_in_turn() {
    let (server, _dir) = nats();
    let engine = format!("nats://127.0.0.1:{}/", server.port);
    nothing_is_lost_by_kills(&engine, Application::new(Duration::from_millis(20), 7), KILLS).await;
}

/// A push expires while the node that would tell it is killed: the other tells it, and no node once more.
async fn another_node_tells_what_has_expired(engine: &str) {
    let story = Story::new(engine, Application::new(Duration::ZERO, usize::MAX));
    let teller = story.nodes.teller().await;
    let (push, users) = story.push_in_vain(0).await;
    let second = story.push_in_vain(1).await;
    // It is told 6 seconds after this at the earliest.
    story.nodes.kill(teller);
    until("it has expired", async || story.nodes.receipt(&push).await == Some(ReceiptState::Expired)).await;
    let vain = [(push, users), second];
    story.is_told(&[], &vain).await;
    // The one that is back, or the other, would tell it again behind this.
    story.nodes.start_again(teller).await;
    story.is_told(&[], &[story.push_in_vain(2).await]).await;
    story.is_told(&[], &vain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn on_redis_another_node_tells_what_has_expired_when_the_one_that_would_is_killed() {
    another_node_tells_what_has_expired(&redis("expired")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server"]
async fn on_nats_another_node_tells_what_has_expired_when_the_one_that_would_is_killed() {
    let (server, _dir) = nats();
    another_node_tells_what_has_expired(&format!("nats://127.0.0.1:{}/", server.port)).await;
}
