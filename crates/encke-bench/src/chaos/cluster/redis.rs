//! Redis servers: one, one with a replica and a sentinel, or three masters of a cluster.

use std::{collections::HashMap, fs, io, net::SocketAddr, path::Path, time::Duration};

use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};
use tokio::time::{Instant, sleep};

use super::{port_forward::PortForward, process::Process};
use crate::chaos::peer::Peer;

/// How long a server may take to load its data, and a set of servers to agree.
const TIMEOUT: Duration = Duration::from_secs(40);
/// How long a connection, and then an answer, may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How often it is asked.
const PERIOD: Duration = Duration::from_millis(50);
/// What the sentinel calls the master.
pub const MASTER: &str = "chaos";
/// The slots of a cluster.
const SLOTS: u32 = 16_384;

/// A server that is not started yet. It tells others that it is where its port forward is.
///
/// # Errors
/// When its directory cannot be made.
pub fn server(
    name: &str,
    address: SocketAddr,
    forward: PortForward,
    peer: Peer,
    home: &Path,
) -> io::Result<Process> {
    let (port, announced) = (address.port().to_string(), forward.address.port().to_string());
    let process = Process::new(name, address, forward, peer, Path::new("redis-server"), home)?;
    // The answer to a write is sent after its fsync, so that a killed server has lost nothing. Snapshots
    // would be a second truth.
    let config = format!(
        "port {port}\nbind 127.0.0.1\nappendonly yes\nappendfsync always\nsave \"\"\nrepl-diskless-sync-delay 0\nreplica-announce-ip 127.0.0.1\nreplica-announce-port {announced}\n"
    );
    fs::write(process.home().join("redis.conf"), config)?;
    Ok(process.with(["redis.conf"]))
}

/// More lines for the configuration of one that is not started yet.
///
/// # Errors
/// When it cannot be written.
pub fn configure(process: &Process, more: &str) -> io::Result<()> {
    let path = process.home().join("redis.conf");
    fs::write(&path, fs::read_to_string(&path)? + more)
}

/// A sentinel for the master behind this port forward, not started yet.
///
/// # Errors
/// When its directory cannot be made.
pub fn sentinel(
    address: SocketAddr,
    forward: PortForward,
    peer: Peer,
    master: SocketAddr,
    home: &Path,
) -> io::Result<Process> {
    let process = Process::new("sentinel", address, forward, peer, Path::new("redis-sentinel"), home)?;
    let (own, port) = (address.port(), master.port());
    let config = format!(
        "port {own}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {port} 1\nsentinel down-after-milliseconds {MASTER} 2000\nsentinel failover-timeout {MASTER} 5000\n"
    );
    fs::write(process.home().join("sentinel.conf"), config)?;
    Ok(process.with(["sentinel.conf"]))
}

/// Asks a server, on a connection of its own.
///
/// # Errors
/// When there is no answer in time, or an error, or one of another type.
pub async fn ask<T: FromRedisValue>(address: SocketAddr, words: &[&str]) -> io::Result<T> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_MAX))
        .set_response_timeout(Some(ANSWER_MAX));
    let asked = async {
        let client = Client::open(format!("redis://{address}/"))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    };
    asked.await.map_err(|error: ::redis::RedisError| io::Error::other(error))
}

/// Waits until a server has loaded its data.
///
/// # Errors
/// When it does not come about.
pub async fn up(process: &Process) -> io::Result<()> {
    wait(&format!("{} does not answer: {}", process.name, process.complaint()), async || {
        ask::<String>(process.address, &["PING"]).await.is_ok_and(|answer| answer == "PONG")
    })
    .await
}

/// Makes a cluster of servers that run, and waits until all of them agree.
///
/// # Errors
/// When they do not.
pub async fn join(servers: &[Process]) -> io::Result<()> {
    let count = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    for (number, server) in servers.iter().enumerate() {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let (first, last) = (SLOTS * number / count, SLOTS * (number + 1) / count - 1);
        ask::<()>(server.address, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
            .await?;
        // Epochs that differ from the beginning need no agreement.
        ask::<()>(server.address, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await?;
    }
    for server in &servers[1..] {
        let port = server.address.port();
        ask::<()>(
            servers[0].address,
            &["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus(port).to_string()],
        )
        .await?;
    }
    agree(servers).await
}

/// The port of the bus between a cluster's servers.
#[must_use]
pub fn bus(port: u16) -> u16 {
    // Below those that the kernel gives away by itself.
    port - 10_000
}

/// Waits until all servers of a cluster say that it serves every slot.
///
/// # Errors
/// When it does not come about.
pub async fn agree(servers: &[Process]) -> io::Result<()> {
    let known = format!("cluster_known_nodes:{}\r", servers.len());
    for server in servers {
        wait("the cluster does not agree", async || {
            let info = ask::<String>(server.address, &["CLUSTER", "INFO"]).await;
            info.is_ok_and(|info| info.contains("cluster_state:ok") && info.contains(&known))
        })
        .await?;
    }
    Ok(())
}

/// Which of the servers the sentinel takes for the master, by the port forward that it tells of.
///
/// # Errors
/// When it does not know any of them.
pub async fn master(sentinel: &Process, servers: &[Process]) -> io::Result<usize> {
    let told: Option<(String, u16)> =
        ask(sentinel.address, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).await?;
    let Some((_, port)) = told else { return Err(io::Error::other("the sentinel knows no master")) };
    let of_it = |server: &Process| port == server.forward.address.port();
    servers
        .iter()
        .position(of_it)
        .ok_or_else(|| io::Error::other(format!("the sentinel tells of a stranger at port {port}")))
}

/// Waits until the sentinel has another master than this one.
///
/// # Errors
/// When it does not come about.
pub async fn fails_over(sentinel: &Process, servers: &[Process], from: usize) -> io::Result<()> {
    wait("the sentinel does not fail over", async || {
        let Ok(now) = master(sentinel, servers).await else { return false };
        now != from && role(&servers[now]).await.is_some_and(|role| role.contains("role:master"))
    })
    .await
}

/// Waits until the master that the sentinel tells of is one, and all others follow it and have everything.
///
/// # Errors
/// When it does not come about.
pub async fn followed(sentinel: &Process, servers: &[Process]) -> io::Result<()> {
    wait("the replica does not follow the master", async || {
        let Ok(master) = master(sentinel, servers).await else { return false };
        for (number, server) in servers.iter().enumerate() {
            let Some(role) = role(server).await else { return false };
            let right = if number == master {
                role.contains("role:master") && role.contains("state=online")
            } else {
                role.contains("role:slave") && role.contains("master_link_status:up")
            };
            if !right {
                return false;
            }
        }
        // Only a sentinel that knows the replica can promote it.
        ask::<()>(sentinel.address, &["SENTINEL", "CKQUORUM", MASTER]).await.is_ok()
            && knows_replica(sentinel).await
    })
    .await
}

async fn knows_replica(sentinel: &Process) -> bool {
    let replicas: io::Result<Vec<HashMap<String, String>>> =
        ask(sentinel.address, &["SENTINEL", "REPLICAS", MASTER]).await;
    replicas.is_ok_and(|replicas| {
        replicas.iter().any(|replica| replica.get("flags").is_some_and(|flags| flags == "slave"))
    })
}

async fn role(server: &Process) -> Option<String> {
    ask(server.address, &["INFO", "replication"]).await.ok()
}

/// Waits until it holds.
async fn wait(what: &str, holds: impl AsyncFn() -> bool) -> io::Result<()> {
    let began = Instant::now();
    while !holds().await {
        if began.elapsed() > TIMEOUT {
            return Err(io::Error::other(what.to_owned()));
        }
        sleep(PERIOD).await;
    }
    Ok(())
}
