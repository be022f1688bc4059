//! The engine of a cluster's nodes: its servers, and what can be done to them.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{nats, port_forward::PortForward, process::Process, redis};
use crate::{
    chaos::{peer::Peer, server::free_port},
    choice::Choice,
    server::Scratch,
};

/// Which servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One Redis.
    Redis,
    /// A Redis, its replica, and a sentinel.
    RedisFailover,
    /// Three masters of a Redis Cluster.
    RedisCluster,
    /// One NATS server with JetStream.
    Nats,
    /// Three that keep everything three times.
    NatsCluster,
}

impl Kind {
    /// How many servers have data.
    #[must_use]
    pub fn servers(self) -> usize {
        match self {
            Self::Redis | Self::Nats => 1,
            Self::RedisFailover => 2,
            Self::RedisCluster | Self::NatsCluster => 3,
        }
    }

    /// What its report is found by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::RedisFailover => "redis failover",
            Self::RedisCluster => "redis cluster",
            Self::Nats => "nats",
            Self::NatsCluster => "nats cluster",
        }
    }

    /// In words, and what `accepted` means with it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Redis => "one Redis; `accepted` after an fsync (`appendonly yes`, `appendfsync always`)",
            Self::RedisFailover => {
                "a Redis master, its replica and a sentinel; `accepted` after an fsync of the master (`appendfsync always`), which replicates later, so that a failover may lose what was accepted"
            }
            Self::RedisCluster => {
                "a Redis Cluster of three masters; `accepted` after an fsync (`appendonly yes`, `appendfsync always`)"
            }
            Self::Nats => "one NATS server; `accepted` after an fsync (`sync_interval: always`)",
            Self::NatsCluster => {
                "three NATS servers, three replicas; `accepted` when most have it, fsynced (`sync_interval: always`)"
            }
        }
    }

    fn is_redis(self) -> bool {
        matches!(self, Self::Redis | Self::RedisFailover | Self::RedisCluster)
    }
}

/// The engine. Its servers end when it is dropped.
#[derive(Debug)]
pub struct Store {
    /// Which servers.
    pub kind: Kind,
    /// Those with data.
    pub servers: Vec<Process>,
    sentinel: Option<Process>,
    monitors: Vec<SocketAddr>,
    /// Where their files are.
    _scratch: Scratch,
}

impl Store {
    /// Starts all servers and waits until they can be used. The nodes' peers come first among those whose
    /// connections are known.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(kind: Kind, nodes: &[Peer], choice: &mut Choice) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let own: Vec<Peer> = (0..kind.servers()).map(|_| Peer::new()).collect();
        let watcher = Peer::new();
        let peers: Arc<[Peer]> = nodes.iter().chain(&own).chain([&watcher]).cloned().collect();
        let (mut servers, mut sentinel, mut monitors) = (Vec::new(), None, Vec::new());
        if kind.is_redis() {
            for (number, peer) in own.into_iter().enumerate() {
                let (name, address) = (format!("redis-{number}"), free_port(choice)?);
                let forward = PortForward::open(address, Arc::clone(&peers)).await?;
                servers.push(redis::server(&name, address, forward, peer, &scratch.path().join(&name))?);
            }
            if kind == Kind::RedisCluster {
                for server in &servers {
                    let (announced, bus) = (server.forward.address.port(), redis::bus(server.address.port()));
                    let more = format!(
                        "cluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\ncluster-announce-ip 127.0.0.1\ncluster-announce-port {announced}\ncluster-announce-bus-port {bus}\n"
                    );
                    redis::configure(server, &more)?;
                }
            }
            if kind == Kind::RedisFailover {
                let master = servers[0].forward.address;
                redis::configure(&servers[1], &format!("replicaof 127.0.0.1 {}\n", master.port()))?;
                let address = free_port(choice)?;
                let forward = PortForward::open(address, Arc::clone(&peers)).await?;
                sentinel = Some(redis::sentinel(
                    address,
                    forward,
                    watcher,
                    master,
                    &scratch.path().join("sentinel"),
                )?);
            }
        } else {
            (servers, monitors) = nats_servers(own, &peers, scratch.path(), choice).await?;
        }
        let mut store = Self { kind, servers, sentinel, monitors, _scratch: scratch };
        for server in &mut store.servers {
            server.start()?;
        }
        if kind == Kind::RedisCluster {
            for server in &store.servers {
                redis::up(server).await?;
            }
            redis::join(&store.servers).await?;
        }
        if let Some(sentinel) = &mut store.sentinel {
            redis::up(&store.servers[0]).await?;
            sentinel.start()?;
        }
        store.well().await?;
        Ok(store)
    }

    /// What nodes are told of it.
    #[must_use]
    pub fn url(&self) -> String {
        let forwards: Vec<String> =
            self.servers.iter().map(|server| server.forward.address.to_string()).collect();
        let forwards = forwards.join(",");
        match (self.kind, &self.sentinel) {
            (Kind::RedisFailover, Some(sentinel)) => {
                format!("redis://{}/?sentinel={}", sentinel.forward.address, redis::MASTER)
            }
            (Kind::RedisCluster, _) => format!("redis://{forwards}/?cluster=true"),
            (Kind::NatsCluster, _) => format!("nats://{forwards}/?replicas=3"),
            (Kind::Nats, _) => format!("nats://{forwards}"),
            _ => format!("redis://{forwards}/"),
        }
    }

    /// Waits until all servers are there and have what they should have.
    ///
    /// # Errors
    /// When it does not come about.
    pub async fn well(&self) -> io::Result<()> {
        for (number, server) in self.servers.iter().enumerate() {
            match self.monitors.get(number) {
                Some(monitor) => nats::healthy(server, *monitor).await?,
                None => redis::up(server).await?,
            }
        }
        match &self.sentinel {
            Some(sentinel) => redis::followed(sentinel, &self.servers).await,
            None if self.kind == Kind::RedisCluster => redis::agree(&self.servers).await,
            None => Ok(()),
        }
    }

    /// Starts what does not run and wakes what is stopped, whatever a fault has left behind.
    ///
    /// # Errors
    /// When one does not come back.
    pub async fn revive(&mut self) -> io::Result<()> {
        for server in &mut self.servers {
            if server.signal(Signal::CONT).is_err() {
                server.start()?;
            }
        }
        self.well().await
    }

    /// Which server matters most now: the master, the leader of a stream, or any of equals.
    ///
    /// # Errors
    /// When no sentinel says.
    pub async fn leader(&self, choice: &mut Choice) -> io::Result<usize> {
        let any = choice.below(u32::try_from(self.servers.len()).unwrap_or(1)) as usize;
        if let Some(sentinel) = &self.sentinel {
            return redis::master(sentinel, &self.servers).await;
        }
        if self.kind != Kind::NatsCluster {
            return Ok(any);
        }
        let leaders: Vec<String> =
            nats::streams(self.monitors[any]).await?.into_iter().filter_map(|(_, leader)| leader).collect();
        let leader = leaders.get(choice.below(u32::try_from(leaders.len()).unwrap_or(0).max(1)) as usize);
        Ok(self.servers.iter().position(|server| Some(&server.name) == leader).unwrap_or(any))
    }

    /// Kills one, leaves it away for a time, and starts it again.
    ///
    /// # Errors
    /// When it had ended before, or does not come back.
    pub async fn kill(&mut self, server: usize, away: Duration) -> io::Result<()> {
        self.servers[server].kill()?;
        sleep(away).await;
        self.servers[server].start()?;
        self.well().await
    }

    /// Kills all at once, and starts them again.
    ///
    /// # Errors
    /// When one had ended before, or does not come back.
    pub async fn kill_all(&mut self, away: Duration) -> io::Result<()> {
        for server in &mut self.servers {
            server.kill()?;
        }
        sleep(away).await;
        for server in &mut self.servers {
            server.start()?;
        }
        self.well().await
    }

    /// Stops one by a signal for a time.
    ///
    /// # Errors
    /// When it had ended before, or does not come back.
    pub async fn freeze(&self, server: usize, pause: Duration) -> io::Result<()> {
        self.servers[server].signal(Signal::STOP)?;
        sleep(pause).await;
        self.servers[server].signal(Signal::CONT)?;
        self.well().await
    }

    /// Kills the master for good, until the sentinel has another; then it is started again. Before that, its
    /// replica may hear nothing of it for a time, and then lacks what was accepted.
    ///
    /// # Errors
    /// When no failover comes about.
    pub async fn fail_over(&mut self, master: usize, stale: Duration) -> io::Result<()> {
        let Some(sentinel) = &self.sentinel else { return Err(io::Error::other("no server can take over")) };
        for (number, server) in self.servers.iter().enumerate() {
            if number != master && stale > Duration::ZERO {
                server.peer.cut(true, true);
            }
        }
        sleep(stale).await;
        self.servers[master].kill()?;
        let over = redis::fails_over(sentinel, &self.servers, master).await;
        for server in &self.servers {
            // What waited is of the master that is gone.
            server.peer.heal(true);
        }
        over?;
        self.servers[master].start()?;
        self.well().await
    }

    /// Ends all connections that wait for wake-ups. How many there were.
    ///
    /// # Errors
    /// When a server does not do so.
    pub async fn kill_subscribers(&self) -> io::Result<i64> {
        let mut count = 0;
        for server in &self.servers {
            count += redis::ask::<i64>(server.address, &["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
        }
        Ok(count)
    }

    /// Has the engine lose everything: all keys of Redis, or the messages of the stream that holds the logs.
    ///
    /// # Errors
    /// When a server does not do so.
    pub async fn wipe(&self, choice: &mut Choice) -> io::Result<String> {
        if self.kind.is_redis() {
            for (number, server) in self.servers.iter().enumerate() {
                if self.kind != Kind::RedisFailover || number == self.leader(choice).await? {
                    redis::ask::<()>(server.address, &["FLUSHALL"]).await?;
                }
            }
            return Ok("FLUSHALL".to_owned());
        }
        let streams = nats::streams(self.monitors[0]).await?;
        let log =
            streams.into_iter().map(|(name, _)| name).find(|name| name.to_ascii_lowercase().ends_with("log"));
        let log = log.ok_or_else(|| io::Error::other("there is no stream of logs"))?;
        nats::purge(self.servers[0].address, &log).await?;
        Ok(format!("the stream {log} is purged"))
    }

    /// How many connections were reset behind a cut.
    #[must_use]
    pub fn resets(&self) -> u64 {
        let forwards = self.servers.iter().chain(&self.sentinel).map(|server| &server.forward);
        forwards.map(|forward| forward.reset.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }

    /// The last that its servers wrote, for when something is wrong.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn keep_logs(&self, directory: &Path, seed: u64) -> io::Result<()> {
        for server in self.servers.iter().chain(&self.sentinel) {
            std::fs::copy(server.home().join("log"), directory.join(format!("{}-{seed}.log", server.name)))?;
        }
        Ok(())
    }
}

/// The NATS servers of these peers, not started yet, and where each is asked how it is.
async fn nats_servers(
    own: Vec<Peer>,
    peers: &Arc<[Peer]>,
    scratch: &Path,
    choice: &mut Choice,
) -> io::Result<(Vec<Process>, Vec<SocketAddr>)> {
    let program = nats::program()?;
    let mut all = Vec::new();
    for _ in 0..own.len() {
        all.push(nats::Ports {
            clients: free_port(choice)?,
            monitor: free_port(choice)?,
            routes: free_port(choice)?,
        });
    }
    let mut servers = Vec::new();
    for (number, (ports, peer)) in all.iter().zip(own).enumerate() {
        let name = format!("nats-{number}");
        let forward = PortForward::open(ports.clients, Arc::clone(peers)).await?;
        servers.push(nats::server(&name, *ports, &all, forward, peer, &program, &scratch.join(&name))?);
    }
    Ok((servers, all.iter().map(|ports| ports.monitor).collect()))
}
