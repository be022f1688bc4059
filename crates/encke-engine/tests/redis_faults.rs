//! What becomes of the logs when Redis crashes, forgets, goes back, freezes or hangs up.

mod redis_beds;

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use encke_engine::{Append, Engine, Key, PageLimit, ReadFrom, Targets};
use encke_proto::{MessageId, Position, UserId};
use redis_beds::{
    new_prefix,
    node::{NOON, Node, channel, eventually, message},
    server::{RedisServer, cluster_with, until},
};

fn safe() -> RedisServer {
    RedisServer::start(&["--appendfsync", "always"])
}

fn url(server: &RedisServer) -> String {
    format!("redis://127.0.0.1:{}/?prefix={}", server.port, new_prefix())
}

fn behind(at: Position, by: u64) -> Position {
    Position { offset: at.offset + by, ..at }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn after_a_crash_nothing_is_lost_and_every_position_is_carried_on() {
    let mut server = safe();
    let node = Node::open(&url(&server)).await;
    node.watch("a").await;
    node.watch("empty").await;
    let (before, untouched) = (node.all("empty").await, node.fill("b", 3).await);
    let keyed = Append { key: Some(Key::new("api:1")), ..message(vec![channel("a")]) };
    let first = node.engine.append(keyed.clone()).await.expect("a healthy engine appends");
    let last = node.fill("a", 30).await;
    server.kill();
    assert!(node.try_append("a").await.is_err(), "no server is there");
    assert!(node.engine.ready().await.is_err());
    server.begin();
    node.ready().await;
    let page = node.all("a").await;
    assert_ne!(page.epoch, last.epoch, "it is not known what a crash took");
    assert_eq!((page.entries.len(), page.head), (31, 31), "nothing, as it is fsynced");
    for at in [last, first.positions[0].1, Position { offset: 0, ..last }] {
        assert_eq!(page.lineage.carry(at, page.epoch), Some(Position { epoch: page.epoch, ..at }));
    }
    assert_eq!(page.lineage.carry(behind(last, 1), page.epoch), None, "what was never there");
    let again =
        node.engine.append(Append { id: MessageId::from_bits(1 << 90), ..keyed }).await.expect("it is back");
    assert!(again.repeated && again.id == first.id, "the key is known");
    // A channel that nothing was written to has lost nothing either.
    let empty = node.all("empty").await;
    assert_eq!(
        empty.lineage.carry(Position { epoch: before.epoch, offset: 0 }, empty.epoch),
        Some(Position { epoch: empty.epoch, offset: 0 })
    );
    eventually("who watches is told that the log is another one", async || node.behind("a") > 0).await;
    let next = node.append("a").await;
    assert_eq!((next.offset, next.epoch), (32, page.epoch), "offsets go on");
    eventually("who watches is told again", async || node.told("a") == Some(next)).await;
    // A second crash, before the other channel was touched: its positions of the first epoch are good still.
    server.kill();
    server.begin();
    node.ready().await;
    let page = node.all("b").await;
    assert_eq!(page.lineage.carry(untouched, page.epoch), Some(Position { epoch: page.epoch, ..untouched }));
    assert_eq!(node.all("a").await.lineage.forks().len(), 2, "both epochs before");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn after_everything_was_flushed_no_old_position_is_good() {
    let server = safe();
    let node = Node::open(&url(&server)).await;
    node.watch("a").await;
    let last = node.fill("a", 5).await;
    server.ask(&["FLUSHALL"]);
    eventually("who watches is told that the log is another one", async || node.behind("a") > 0).await;
    let page = node.all("a").await;
    assert_eq!((page.tail, page.head), (1, 0));
    for offset in [0, 1, 5] {
        assert_eq!(page.lineage.carry(Position { offset, ..last }, page.epoch), None, "{offset}");
    }
    assert_eq!(node.append("a").await, Position { epoch: page.epoch, offset: 1 });
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn after_old_data_came_back_what_was_behind_them_is_a_gap() {
    let mut server = safe();
    let node = Node::open(&url(&server)).await;
    let kept = node.fill("a", 10).await;
    let (data, aside) = (server.dir().join("appendonlydir"), server.dir().join("aside"));
    copy(&data, &aside).expect("the data can be copied");
    let lost = node.fill("a", 7).await;
    assert_eq!((lost.epoch, lost.offset), (kept.epoch, 17));
    server.kill();
    fs::remove_dir_all(&data).expect("the data can be removed");
    copy(&aside, &data).expect("the data can be copied back");
    server.begin();
    node.ready().await;
    // The first touch is an append, which gives an offset again that the old epoch gave to something else.
    let next = node.append("a").await;
    let page = node.all("a").await;
    assert_eq!((next.offset, page.head), (11, 11));
    assert_eq!(page.lineage.carry(kept, page.epoch), Some(Position { epoch: page.epoch, ..kept }));
    for by in 1..=7 {
        assert_eq!(
            page.lineage.carry(behind(kept, by), page.epoch),
            None,
            "lost, though there is something at {by} again"
        );
    }
}

/// Reads the channels that were found to be behind since they were looked at last.
async fn listen(reader: &Node, names: &[String], noticed: &mut [usize], read: &mut [Option<Position>]) {
    for (at, name) in names.iter().enumerate() {
        let behind = reader.behind(name);
        if behind != noticed[at] {
            noticed[at] = behind;
            let page = reader.all(name).await;
            read[at] = Some(Position { epoch: page.epoch, offset: page.head });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn who_hears_nothing_under_load_is_told_or_found() {
    const CHANNELS: usize = 20;
    const CUTS: usize = 40;
    let server = safe();
    let url = url(&server);
    let (writer, reader) = (Node::open(&url).await, Node::open(&url).await);
    let names: Vec<String> = (0..CHANNELS).map(|index| format!("c{index}")).collect();
    for name in &names {
        reader.watch(name).await;
    }
    // As a hub does: it knows what it was told, and reads when it is told that there is more.
    let (mut heads, mut noticed, mut read) = (Vec::new(), vec![0; CHANNELS], vec![None; CHANNELS]);
    for cut in 0..CUTS {
        heads.clear();
        for (index, name) in names.iter().enumerate() {
            heads.push(writer.append(name).await);
            if index == cut % CHANNELS {
                server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
        }
        listen(&reader, &names, &mut noticed, &mut read).await;
    }
    let end = Instant::now() + redis_beds::server::TIMEOUT;
    let knows = |at: usize, read: &[Option<Position>]| {
        reader.told(&names[at]) == Some(heads[at]) || read[at] == Some(heads[at])
    };
    while !(0..CHANNELS).all(|at| knows(at, &read)) {
        assert!(Instant::now() < end, "some channel's last message was neither told nor found");
        tokio::time::sleep(Duration::from_millis(20)).await;
        listen(&reader, &names, &mut noticed, &mut read).await;
    }
    for name in &names {
        let next = writer.append(name).await;
        eventually("it hears again", async || reader.told(name) == Some(next)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_redis_that_is_frozen_refuses_and_comes_back() {
    let server = safe();
    let node = Node::open(&url(&server)).await;
    node.watch("a").await;
    let last = node.append("a").await;
    server.freeze();
    let refused = tokio::time::timeout(redis_beds::server::TIMEOUT, async {
        node.try_append("a").await.is_err() && node.engine.ready().await.is_err()
    });
    assert!(refused.await.expect("the caller is answered"));
    server.thaw();
    node.ready().await;
    let next = node.append("a").await;
    // The one that was refused may have been taken all the same.
    assert!((1..=2).contains(&(next.offset - last.offset)), "{next:?}");
    eventually("who watches is told again", async || node.told("a") == Some(next) || node.behind("a") > 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_redis_that_answers_and_takes_no_writes_is_not_ready() {
    let server = safe();
    let node = Node::open(&url(&server)).await;
    node.append("a").await;
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    assert!(node.try_append("a").await.is_err() && node.engine.ready().await.is_err());
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    node.ready().await;
    node.append("a").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let server = safe();
    let node = Node::open(&url(&server)).await;
    node.append("a").await;
    server.ask(&["SCRIPT", "FLUSH"]);
    assert_eq!(node.append("a").await.offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_server_that_would_evict_logs_is_refused() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let options = encke_engine::redis::RedisOptions::parse(&url(&server)).expect("this is a URL");
    let events =
        encke_engine::EngineEvents { feed: std::sync::Arc::new(()), messages: std::sync::Arc::new(()) };
    let opened = encke_engine::redis::RedisEngine::open(
        options,
        events,
        encke_engine::RetentionTable::default(),
        "node".into(),
    )
    .await;
    assert!(opened.err().expect("it is refused").to_string().contains("noeviction"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn an_append_to_several_servers_is_finished_by_the_node_that_sweeps() {
    // Of public channels it is looked first whether all can be reached.
    const USERS: usize = 30;
    const ALL: PageLimit = PageLimit { messages: 1000, bytes: 1 << 20 };
    let mut servers = cluster_with(3, &["--cluster-require-full-coverage", "no"]);
    let url = format!(
        "redis://127.0.0.1:{},127.0.0.1:{}/?cluster=true&prefix={}",
        servers[0].port,
        servers[1].port,
        new_prefix()
    );
    let node = Node::open(&url).await;
    let user = |index: usize| UserId::new(&format!("u{}", index % USERS)).expect("this is an id");
    let rotated = |by: usize| Append {
        targets: Targets::Users((0..USERS).map(|index| user(index + by)).collect()),
        ..message(Vec::new())
    };
    node.engine.append(rotated(0)).await.expect("a healthy cluster takes it");
    servers[2].kill();
    let mut refused = Vec::new();
    for by in 0..USERS {
        let append = rotated(by);
        let id = append.id.clone();
        assert!(node.engine.append(append).await.is_err(), "a part of it cannot be reached");
        refused.push(id);
    }
    servers[2].begin();
    for server in &servers {
        until("the cluster is whole again", || {
            let info = server.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_slots_ok:16384") && info.contains("cluster_state:ok")
        });
    }
    node.ready().await;
    // Another node finishes what the first one had to leave.
    node.engine.stop().await;
    let other = Node::open(&url).await;
    let mut now = NOON;
    let mut whole = 0;
    let until_whole = Instant::now() + Duration::from_secs(60);
    loop {
        now = now.plus_seconds(5);
        let swept = other.engine.sweep(now).await;
        let mut logs: Vec<HashSet<MessageId>> = Vec::new();
        for index in 0..USERS {
            let page = other.engine.read(&user(index).channel(), ReadFrom::After(0), ALL).await;
            let page = page.expect("a healthy engine reads");
            let ids: Vec<MessageId> = page.entries.iter().map(|entry| entry.message().id.clone()).collect();
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "no message is there twice");
            logs.push(ids.into_iter().collect());
        }
        let in_some = refused.iter().filter(|id| logs.iter().any(|log| log.contains(*id))).count();
        let in_all = refused.iter().filter(|id| logs.iter().all(|log| log.contains(*id))).count();
        whole = whole.max(in_all);
        if swept.is_ok() && in_some == in_all && in_all > 0 {
            break;
        }
        assert!(Instant::now() < until_whole, "{in_some} are in some logs, {in_all} in all, {swept:?}");
    }
    assert!(whole < USERS, "those whose first target was on the dead server are in none");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn slots_that_move_under_load_lose_nothing() {
    const CHANNELS: usize = 40;
    let servers = cluster_with(3, &[]);
    let url = format!("redis://127.0.0.1:{}/?cluster=true&prefix={}", servers[0].port, new_prefix());
    let (writer, reader) = (Node::open(&url).await, Node::open(&url).await);
    let names: Vec<String> = (0..CHANNELS).map(|index| format!("c{index}")).collect();
    let mut begun = Vec::new();
    for name in &names {
        begun.push(writer.append(name).await);
        reader.watch(name).await;
    }
    // A third of all slots goes from the first server to the second, and then from the second to the third.
    let ids: Vec<String> = servers.iter().map(|server| server.ask(&["CLUSTER", "MYID"])).collect();
    let address = format!("127.0.0.1:{}", servers[0].port);
    let moving = std::thread::spawn(move || {
        for pair in ids.windows(2) {
            let moved = std::process::Command::new("redis-cli")
                .args([
                    "--cluster",
                    "reshard",
                    &address,
                    "--cluster-from",
                    &pair[0],
                    "--cluster-to",
                    &pair[1],
                ])
                .args(["--cluster-slots", "5461", "--cluster-yes", "--cluster-pipeline", "1"])
                .output()
                .expect("there is redis-cli");
            assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stderr));
        }
    });
    let mut accepted: Vec<Vec<MessageId>> = vec![Vec::new(); CHANNELS];
    let mut refused = 0;
    while !moving.is_finished() {
        for (name, accepted) in names.iter().zip(&mut accepted) {
            match writer.try_append(name).await {
                Ok(appended) => accepted.push(appended.id),
                Err(_) => refused += 1,
            }
        }
    }
    moving.join().expect("the slots moved");
    writer.ready().await;
    println!("{} were accepted, {refused} refused", accepted.iter().map(Vec::len).sum::<usize>());
    for ((name, accepted), begun) in names.iter().zip(&accepted).zip(begun) {
        let page = writer.all(name).await;
        let ids: Vec<MessageId> = page.entries.iter().map(|entry| entry.message().id.clone()).collect();
        let there: Vec<MessageId> = ids.iter().filter(|id| accepted.contains(id)).cloned().collect();
        assert_eq!(&there, accepted, "each once, in order");
        assert!(page.lineage.carry(begun, page.epoch).is_some(), "what moved is not lost");
        let next = writer.append(name).await;
        eventually("who watches is told by the new server", async || reader.told(name) == Some(next)).await;
    }
}
