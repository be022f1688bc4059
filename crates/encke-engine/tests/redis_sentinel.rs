//! A master with a replica, and a sentinel that looks after them: what a failover takes is told, and nothing
//! else.

mod redis_beds;

use encke_proto::Position;
use redis_beds::{
    new_prefix,
    node::{Node, eventually},
    server::{RedisServer, until},
};

struct Trio {
    master: RedisServer,
    replica: RedisServer,
    sentinel: RedisServer,
}

impl Trio {
    fn start() -> Self {
        let master = RedisServer::start(&[]);
        let replica = RedisServer::start(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
        until("the replica follows", || {
            replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let sentinel = RedisServer::sentinel(master.port);
        until("the sentinel knows the replica", || {
            sentinel.ask(&["SENTINEL", "replicas", "main"]).contains(&replica.port.to_string())
        });
        Self { master, replica, sentinel }
    }

    /// Waits until the replica has what the master has. (`WAIT` would wait for what its own connection wrote,
    /// which is nothing.)
    fn replicated(&self) {
        let offset = |server: &RedisServer| {
            let info = server.ask(&["INFO", "replication"]);
            info.lines().find_map(|line| {
                line.strip_prefix("master_repl_offset:").map(|offset| offset.trim().to_owned())
            })
        };
        until("the replica has it", || {
            self.replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
                && offset(&self.master) == offset(&self.replica)
        });
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/?sentinel=main&prefix={}", self.sentinel.port, new_prefix())
    }
}

fn carried(at: Position, epoch: encke_proto::Epoch) -> Option<Position> {
    Some(Position { epoch, ..at })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_the_replica_had_is_carried_over_a_failover() {
    let mut trio = Trio::start();
    let node = Node::open(&trio.url()).await;
    node.watch("a").await;
    let last = node.fill("a", 50).await;
    trio.replicated();
    trio.master.kill();
    eventually("the other one takes over", async || node.try_append("b").await.is_ok()).await;
    let page = node.all("a").await;
    assert_ne!(page.epoch, last.epoch, "the new master cannot know what the old one had");
    assert_eq!((page.head, page.entries.len()), (50, 50));
    assert_eq!(page.lineage.carry(last, page.epoch), carried(last, page.epoch));
    let next = node.append("a").await;
    assert_eq!(next.offset, 51);
    eventually("who watches is told there", async || node.told("a") == Some(next) || node.behind("a") > 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_a_stale_replica_did_not_have_is_a_gap() {
    let mut trio = Trio::start();
    let node = Node::open(&trio.url()).await;
    node.watch("a").await;
    let kept = node.fill("a", 20).await;
    trio.replicated();
    trio.replica.freeze();
    let lost = node.fill("a", 5).await;
    trio.master.kill();
    trio.replica.thaw();
    eventually("the other one takes over", async || node.try_append("b").await.is_ok()).await;
    let page = node.all("a").await;
    // What waited in the replica's socket when it was thawed is not lost.
    assert!(page.head <= lost.offset && page.head >= kept.offset, "{}", page.head);
    assert_eq!(page.lineage.carry(kept, page.epoch), carried(kept, page.epoch));
    for offset in page.head + 1..=lost.offset {
        assert_eq!(
            page.lineage.carry(Position { offset, ..lost }, page.epoch),
            None,
            "{offset} was accepted and is gone"
        );
    }
    eventually("who watches is told that the log is another one", async || node.behind("a") > 0).await;
    node.append("a").await;
    let page = node.all("a").await;
    assert_eq!(
        page.lineage.carry(Position { offset: page.head, ..lost }, page.epoch),
        None,
        "another message has that offset now"
    );
}
