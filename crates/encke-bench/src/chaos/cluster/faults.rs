//! What is done to nodes, to their engine and to the network between, in an order that follows from the seed.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use encke_client::{Api, Page};
use encke_proto::ChannelName;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    nodes::{Nodes, says, start},
    probe::Probe,
    store::{Kind, Store},
};
use crate::{
    chaos::{
        evidence::{Evidence, Note},
        http::Asker,
        ledger,
        peer::Peer,
        server::Keys,
        settle::Settle,
    },
    choice::Choice,
};

/// Within which time a node that died has no users any more, as far as others are concerned.
pub const GHOST_MS: u64 = 2_000;
/// By how much that may be missed on a machine where everything runs at once.
const GHOST_MARGIN_MS: u64 = 4_000;
/// How long a node that is cut off may take to say so.
const CUT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an accepted message's answer may be on its way to its publisher.
const DOUBT_MS: u64 = 15_000;
/// How long before a failover what a master accepted may not have reached its replica.
const REPLICATION_MS: u64 = 1_000;
/// How many clients are on a node to see what becomes of them when it dies.
const PROBES: usize = 3;
/// The number under which the messages are sent that a node which is cut off should refuse.
const OWN_NUMBER: u64 = 1 << 20;
/// How often a publication is tried at a node that is cut off.
const TRIES: u32 = 3;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a node.
    KillNode,
    /// SIGTERM of a node, and the next one is started.
    RestartNode,
    /// SIGSTOP of a node, and SIGCONT some seconds later.
    FreezeNode,
    /// A node and the engine hear nothing of each other.
    Cut,
    /// The engine hears nothing of a node.
    CutUp,
    /// A node hears nothing of the engine.
    CutDown,
    /// kill -9 of a server of the engine, which is started again.
    KillEngine,
    /// kill -9 of all servers of the engine.
    KillAll,
    /// SIGSTOP of a server of the engine, the leader if there is one.
    FreezeEngine,
    /// Nodes that wait for wake-ups are cut off by the engine.
    KillSubscribers,
    /// kill -9 of the server that leads a stream.
    KillLeader,
    /// kill -9 of the master; its replica takes over.
    Failover,
    /// The same, with a replica that has heard nothing for a time.
    StaleFailover,
    /// The engine loses everything that it had.
    Wipe,
}

impl Fault {
    /// All kinds, in the order of the report.
    pub const ALL: [(Self, &'static str); 14] = [
        (Self::KillNode, "kill -9 of a node"),
        (Self::RestartNode, "SIGTERM of a node, and restart"),
        (Self::FreezeNode, "SIGSTOP of a node, 1 to 10 s later SIGCONT"),
        (Self::Cut, "a node is cut off from the engine"),
        (Self::CutUp, "one way: the engine hears nothing of a node"),
        (Self::CutDown, "one way: a node hears nothing of the engine"),
        (Self::KillEngine, "kill -9 of a server of the engine, and restart"),
        (Self::KillAll, "kill -9 of all servers of the engine, and restart"),
        (Self::FreezeEngine, "SIGSTOP of a server of the engine, 1 to 6 s later SIGCONT"),
        (Self::KillSubscribers, "CLIENT KILL TYPE pubsub"),
        (Self::KillLeader, "kill -9 of the server that leads a stream, and restart"),
        (Self::Failover, "kill -9 of the master, failover"),
        (Self::StaleFailover, "the same to a replica that had been cut off (data is lost)"),
        (Self::Wipe, "FLUSHALL, or the stream of logs purged (data is lost)"),
    ];

    fn of(kind: Kind) -> Vec<Self> {
        let nodes = [
            Self::KillNode,
            Self::KillNode,
            Self::RestartNode,
            Self::FreezeNode,
            Self::Cut,
            Self::CutUp,
            Self::CutDown,
        ];
        let engine: &[Self] = match kind {
            Kind::Redis => &[Self::KillEngine, Self::FreezeEngine, Self::KillSubscribers, Self::Wipe],
            Kind::RedisFailover => {
                &[Self::FreezeEngine, Self::KillSubscribers, Self::Failover, Self::StaleFailover, Self::Wipe]
            }
            Kind::RedisCluster => {
                &[Self::KillEngine, Self::KillAll, Self::FreezeEngine, Self::KillSubscribers, Self::Wipe]
            }
            Kind::Nats => &[Self::KillEngine, Self::FreezeEngine, Self::Wipe],
            Kind::NatsCluster => &[Self::KillLeader, Self::KillAll, Self::FreezeEngine, Self::Wipe],
        };
        nodes.iter().chain(engine).copied().collect()
    }

    /// So many rounds of all that there are with this engine. The engine loses everything only in the first
    /// half, so that there is something to lose in the second.
    #[must_use]
    pub fn schedule(kind: Kind, rounds: usize, choice: &mut Choice) -> Vec<Self> {
        let mut schedule = Vec::new();
        for round in 0..rounds {
            let mut faults = Self::of(kind);
            faults.retain(|fault| *fault != Self::Wipe || round * 2 <= rounds.saturating_sub(1));
            for last in (1..faults.len()).rev() {
                faults.swap(last, choice.below(u32::try_from(last + 1).unwrap_or(1)) as usize);
            }
            // What comes before is not looked at in the end any more, so it comes early.
            if let Some(at) = faults.iter().position(|fault| *fault == Self::Wipe) {
                faults.swap(at, choice.below(3) as usize);
            }
            schedule.extend(faults);
        }
        schedule
    }
}

/// What faults are done to.
#[derive(Debug)]
pub struct Subjects<'a> {
    /// The nodes.
    pub nodes: &'a mut Nodes,
    /// Their connections to the engine.
    pub peers: &'a [Peer],
    /// The engine.
    pub store: &'a mut Store,
    /// The nodes' keys.
    pub keys: &'a Keys,
    /// For a look at the logs before the engine loses them.
    pub settle: &'a Settle<'a>,
    /// A channel for publications that are to be refused.
    pub channel: &'a ChannelName,
}

/// Does it, and counts what was done.
#[derive(Debug)]
pub struct Hand {
    evidence: Evidence,
    choice: Choice,
    run: u64,
    sent: u64,
    probes: u64,
    /// How often each was done.
    pub done: BTreeMap<Fault, usize>,
    /// How many times users of a dead node were looked at, and the longest that one was still online, in
    /// milliseconds.
    pub ghosts: (usize, u64),
    /// How many publications a node refused that was cut off, and the longest until it said that it is.
    pub refused: (usize, Duration),
    /// Connections for wake-ups that the engine ended.
    pub subscribers: i64,
}

impl Hand {
    /// Nothing was done yet.
    #[must_use]
    pub fn new(evidence: Evidence, choice: Choice, run: u64) -> Self {
        Self {
            evidence,
            choice,
            run,
            sent: 0,
            probes: 0,
            done: BTreeMap::new(),
            ghosts: (0, 0),
            refused: (0, Duration::ZERO),
            subscribers: 0,
        }
    }

    fn note(&self, what: String) {
        self.evidence.note(Note::Fault(what));
    }

    fn ms(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_millis(u64::from(least + self.choice.below(most - least)))
    }

    fn any(&mut self, count: usize) -> usize {
        self.choice.below(u32::try_from(count).unwrap_or(1)) as usize
    }

    /// Does one, and leaves nodes that are ready.
    ///
    /// # Errors
    /// When nodes or engine do not do what they should even so.
    pub async fn harm(&mut self, fault: Fault, on: &mut Subjects<'_>) -> io::Result<()> {
        match fault {
            Fault::KillNode => self.kill_node(on).await?,
            Fault::RestartNode => {
                let node = self.any(on.nodes.list.len());
                self.note(format!("SIGTERM of node {node}"));
                on.nodes.list[node].stop().await?;
                start(&mut on.nodes.list[node]).await?;
            }
            Fault::FreezeNode => {
                let (node, pause) = (self.any(on.nodes.list.len()), self.ms(1_000, 10_000));
                self.note(format!("SIGSTOP of node {node} for {pause:?}"));
                on.nodes.list[node].signal(Signal::STOP)?;
                sleep(pause).await;
                on.nodes.list[node].signal(Signal::CONT)?;
            }
            Fault::Cut => self.cut(on, true, true).await?,
            Fault::CutUp => self.cut(on, true, false).await?,
            Fault::CutDown => self.cut(on, false, true).await?,
            Fault::KillEngine | Fault::KillLeader => {
                let server = on.store.leader(&mut self.choice).await?;
                let away = if self.choice.below(2) == 0 { self.ms(0, 100) } else { self.ms(500, 4_000) };
                self.note(format!("kill -9 of {} for {away:?}", on.store.servers[server].name));
                on.store.kill(server, away).await?;
            }
            Fault::KillAll => {
                let away = self.ms(0, 2_000);
                self.note(format!("kill -9 of all servers of the engine for {away:?}"));
                on.store.kill_all(away).await?;
            }
            Fault::FreezeEngine => {
                let (server, pause) = (on.store.leader(&mut self.choice).await?, self.ms(1_000, 6_000));
                self.note(format!("SIGSTOP of {} for {pause:?}", on.store.servers[server].name));
                let before = self.ms_of_run();
                on.store.freeze(server, pause).await?;
                if on.store.kind == Kind::RedisFailover {
                    // The sentinel may have taken it for dead.
                    self.lost(before.saturating_sub(REPLICATION_MS));
                }
            }
            Fault::KillSubscribers => {
                let count = on.store.kill_subscribers().await?;
                self.note(format!("{count} subscribers were cut off"));
                self.subscribers += count;
            }
            Fault::Failover => self.fail_over(on, Duration::ZERO).await?,
            Fault::StaleFailover => {
                let stale = self.ms(500, 3_000);
                self.fail_over(on, stale).await?;
            }
            Fault::Wipe => {
                on.settle.logs().await?;
                // Whatever comes from here on may be of an empty log.
                self.lost(0);
                let how = on.store.wipe(&mut self.choice).await?;
                self.note(how);
            }
        }
        on.nodes.ready().await?;
        self.note("all nodes are ready".to_owned());
        *self.done.entry(fault).or_default() += 1;
        Ok(())
    }

    fn ms_of_run(&self) -> u64 {
        self.evidence.elapsed_ms()
    }

    /// The engine may have lost what was accepted since then.
    fn lost(&self, since_ms: u64) {
        let until_ms = self.ms_of_run() + DOUBT_MS;
        self.evidence.note(Note::Loss { since_ms, until_ms });
    }

    async fn fail_over(&mut self, on: &mut Subjects<'_>, stale: Duration) -> io::Result<()> {
        on.settle.logs().await?;
        let master = on.store.leader(&mut self.choice).await?;
        self.note(format!(
            "{} is killed, its replica has heard nothing for {stale:?}",
            on.store.servers[master].name
        ));
        self.lost(self.ms_of_run().saturating_sub(REPLICATION_MS));
        on.store.fail_over(master, stale).await?;
        // What the old master took while it died is in doubt as well.
        self.lost(self.ms_of_run().saturating_sub(DOUBT_MS));
        self.note("another master is there".to_owned());
        Ok(())
    }

    async fn kill_node(&mut self, on: &mut Subjects<'_>) -> io::Result<()> {
        let node = self.any(on.nodes.list.len());
        let address = on.nodes.list[node].address;
        let mut probes = Vec::new();
        if self.choice.below(2) == 0 {
            for _ in 0..PROBES {
                self.probes += 1;
                probes.push(Probe::open(address, format!("probe-{}", self.probes), on.keys).await?);
            }
        }
        self.note(format!("kill -9 of node {node}"));
        on.nodes.list[node].kill()?;
        if probes.is_empty() {
            let away = if self.choice.below(3) == 0 { self.ms(500, 3_000) } else { self.ms(0, 100) };
            sleep(away).await;
        } else {
            self.ghosts(on, node, &probes).await;
        }
        start(&mut on.nodes.list[node]).await
    }

    /// Looks until no user who was on a dead node is online for any other.
    async fn ghosts(&mut self, on: &Subjects<'_>, dead: usize, probes: &[Probe]) {
        let began = Instant::now();
        for (number, node) in on.nodes.list.iter().enumerate().filter(|(number, _)| *number != dead) {
            loop {
                let listed = online(node.address, on.keys).await;
                let still =
                    listed.map(|users| probes.iter().filter(|probe| users.contains(&probe.user)).count());
                let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                match still {
                    Ok(0) => {
                        self.ghosts = (self.ghosts.0 + 1, self.ghosts.1.max(ms));
                        break;
                    }
                    still if ms > GHOST_MS + GHOST_MARGIN_MS => {
                        let what = format!(
                            "{ms} ms after node {dead} died, node {number} lists of its {PROBES} users: {still:?}"
                        );
                        self.evidence.note(Note::Ghost(what));
                        break;
                    }
                    _ => sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }

    /// A node that is cut off says so, refuses what it cannot do, keeps its clients, and is well again when
    /// the way is open.
    async fn cut(&mut self, on: &mut Subjects<'_>, up: bool, down: bool) -> io::Result<()> {
        let node = self.any(on.nodes.list.len());
        let address = on.nodes.list[node].address;
        self.probes += 1;
        let probe = Probe::open(address, format!("probe-{}", self.probes), on.keys).await?;
        self.note(format!("node {node} is cut off from the engine, up: {up}, down: {down}"));
        on.peers[node].cut(up, down);
        let told = says(address, 503, CUT_TIMEOUT).await;
        let refused = match &told {
            Ok(_) => self.refuses(address, on).await,
            Err(_) => Ok(()),
        };
        sleep(self.ms(0, 6_000)).await;
        let reset = self.choice.below(2) == 0;
        on.peers[node].heal(reset);
        self.note(format!("node {node} reaches the engine again, connections were reset: {reset}"));
        match told {
            Ok(after) => self.refused = (self.refused.0 + 1, self.refused.1.max(after)),
            Err(error) => self.evidence.note(Note::Broken(format!("cut off from the engine: {error}"))),
        }
        if let Err(error) = refused {
            self.evidence.note(Note::Broken(error.to_string()));
        }
        on.nodes.ready().await?;
        if probe.is_lost() {
            self.evidence.note(Note::Broken(format!(
                "a client of node {node} lost its connection because the node was cut off"
            )));
        }
        Ok(())
    }

    /// Publishes at a node that cannot reach the engine.
    async fn refuses(&mut self, node: std::net::SocketAddr, on: &Subjects<'_>) -> io::Result<()> {
        self.sent += 1;
        let id = OWN_NUMBER << 32 | self.sent;
        let (channel, data) = (on.channel, ledger::payload(id, 20));
        self.evidence.note(Note::Invoked { id, to: vec![channel.clone()] });
        let body = format!("{{\"channel\":\"{channel}\",\"data\":{data},\"id\":\"cut-{}-{id}\"}}", self.run);
        let mut asker = Asker::new(node, &on.keys.api);
        let mut last = String::new();
        for _ in 0..TRIES {
            match asker.post("/api/publish", &body).await {
                Ok((503, body)) if String::from_utf8_lossy(&body).contains("engine_unavailable") => {
                    self.evidence.note(Note::Unknown { id });
                    return Ok(());
                }
                answer => last = format!("{answer:?}"),
            }
        }
        Err(io::Error::other(format!(
            "a node that is cut off from the engine answers a publication with {last}"
        )))
    }
}

async fn online(node: std::net::SocketAddr, keys: &Keys) -> io::Result<Vec<String>> {
    let api = Api::new(&format!("http://{node}"), &keys.api).map_err(io::Error::other)?;
    let users =
        api.users(Some(true), &Page { limit: Some(1_000), after: None }).await.map_err(io::Error::other)?;
    Ok(users.users.into_iter().map(|user| user.id).collect())
}
