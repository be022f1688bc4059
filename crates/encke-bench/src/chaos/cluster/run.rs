//! A run against several nodes, from its beginning to its end.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, Instant},
};

use encke_client::Api;
use tokio::time::sleep;

use super::{
    faults::{Fault, Hand, Subjects},
    nodes::{Nodes, start},
    store::{Kind, Store},
};
use crate::{
    chaos::{
        crowd::{Crowd, ProxyAddresses},
        evidence::{Evidence, Note},
        peer::Peer,
        phase::{PhaseSender, Stage},
        proxy::{Proxy, Side, Upstream, network},
        server::{Keys, Server},
        setting::Setting,
        settle::Settle,
        verdict::{Verdict, judge},
    },
    choice::Choice,
};

/// How long clients may take to be connected before the nodes are restarted.
const CONNECTED: Duration = Duration::from_secs(60);
/// How long publishers go on after the last restart, so that clients that were away are handed something.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// How often it is said how far the run is.
const TELL: Duration = Duration::from_secs(10);

/// What a run has besides what every run has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The engine's servers.
    pub kind: Kind,
    /// How many nodes.
    pub nodes: usize,
    /// How often every kind of fault is done.
    pub rounds: usize,
    /// How often all nodes are restarted one after the other.
    pub rolls: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was found.
    pub verdict: Verdict,
    /// What was done.
    pub hand: Hand,
    /// What the proxies did: the name of it, and how often.
    pub network: Vec<(&'static str, u64)>,
    /// How often nodes were started, and the longest that one took.
    pub lives: u32,
    /// See `lives`.
    pub slowest_start: Duration,
    /// The longest that one took to stop.
    pub slowest_stop: Duration,
    /// How often all nodes were restarted one after the other.
    pub rolls: usize,
    /// Connections to the engine that were reset behind a cut.
    pub resets: u64,
    /// How many faults there were.
    pub faults: BTreeMap<Fault, usize>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// Everything that was written down.
    pub notes: Vec<(u64, Note)>,
}

/// Runs it. What nodes and servers wrote is kept in `keep` if anything is wrong.
///
/// # Errors
/// When the run itself cannot be carried out.
pub async fn run(setting: &Setting, plan: &Plan, program: &Path, keep: &Path) -> io::Result<Outcome> {
    let mut choice = Choice(setting.seed);
    let keys = Keys::new(&mut choice);
    let peers: Vec<Peer> = (0..plan.nodes).map(|_| Peer::new()).collect();
    let mut store = Store::start(plan.kind, &peers, &mut choice).await?;
    let mut nodes = Nodes::new(program, &store.url(), &keys, &peers, &mut choice)?;
    nodes.start().await?;
    let (evidence, phase) = (Evidence::new(), PhaseSender::new());
    evidence.note(Note::Lineages);
    let mut seed = || u64::from(choice.below(u32::MAX)) << 32 | u64::from(choice.below(u32::MAX));
    let upstream = Upstream::new(&nodes.addresses());
    let front = Proxy::start(upstream.clone(), Side::Front, seed(), phase.look()).await?;
    let for_subscribers = Proxy::start(upstream.clone(), Side::Subscribers, seed(), phase.look()).await?;
    let for_publishers = Proxy::start(upstream, Side::Publishers, seed(), phase.look()).await?;
    let (subscribers, publishers) = (for_subscribers.address, for_publishers.address);
    let addresses = ProxyAddresses { direct: front.address, subscribers, publishers };
    let mut crowd = Crowd::enter(setting, addresses, &keys, &evidence, &phase, &mut Choice(seed()))?;
    let api = Api::new(&format!("http://{}", front.address), &keys.api).map_err(io::Error::other)?;
    let mut hand = Hand::new(evidence.clone(), Choice(seed()), setting.seed);
    let (mut weather, mut rolls) = (Choice(seed()), 0);
    {
        let settle = Settle { evidence: &evidence, phase: &phase, crowd: &crowd, api: &api };
        let channel = &crowd.channels[0];
        let mut on = Subjects {
            nodes: &mut nodes,
            peers: &peers,
            store: &mut store,
            keys: &keys,
            settle: &settle,
            channel,
        };
        let stormed = storm(setting, plan, &mut on, &mut hand, &mut weather, &evidence).await;
        phase.turn(Stage::Breeze);
        let rolled = match stormed {
            Ok(()) => roll(plan, &mut nodes, &crowd, &evidence, &mut rolls).await,
            Err(error) => Err(error),
        };
        if let Err(error) = rolled {
            evidence.note(Note::Broken(error.to_string()));
            println!("{:>5.0} s: {error}", evidence.elapsed_s());
            revive(&peers, &mut store, &mut nodes).await?;
        }
    }
    phase.turn(Stage::Calm);
    println!("{:>5.0} s: calm; {} deliveries", evidence.elapsed_s(), evidence.deliveries());
    crowd.publishers_end(&evidence).await;
    let settle = Settle { evidence: &evidence, phase: &phase, crowd: &crowd, api: &api };
    settle_and_stop(&settle, &mut nodes, &evidence).await;
    let seconds = evidence.elapsed_s();
    let notes = evidence.take();
    let verdict = judge(&notes);
    if !verdict.violations.is_empty() {
        keep_logs(&nodes, &store, keep, setting.seed)?;
    }
    let network = network(&[&front, &for_subscribers, &for_publishers]);
    let slowest = |of: fn(&Server) -> Duration| nodes.list.iter().map(of).max().unwrap_or_default();
    Ok(Outcome {
        verdict,
        faults: hand.done.clone(),
        hand,
        network,
        lives: nodes.list.iter().map(|node| node.lives).sum(),
        slowest_start: slowest(|node| node.slowest_start),
        slowest_stop: slowest(|node| node.slowest_stop),
        rolls,
        resets: store.resets(),
        seconds,
        notes,
    })
}

fn keep_logs(nodes: &Nodes, store: &Store, keep: &Path, seed: u64) -> io::Result<()> {
    for (number, node) in nodes.list.iter().enumerate() {
        node.keep_log(&keep.join(format!("node-{number}-{seed}.log")))?;
    }
    store.keep_logs(keep, seed)
}

/// Brings everything back after a fault that left it in an unknown state.
async fn revive(peers: &[Peer], store: &mut Store, nodes: &mut Nodes) -> io::Result<()> {
    peers.iter().for_each(|peer| peer.heal(true));
    store.revive().await?;
    for node in &mut nodes.list {
        // It may have ended by itself, which is told already.
        node.kill().ok();
        start(node).await?;
    }
    Ok(())
}

/// Waits until clients have what is missing, stops all nodes in order, and notes what was not done well.
async fn settle_and_stop(settle: &Settle<'_>, nodes: &mut Nodes, evidence: &Evidence) {
    if let Err(error) = settle.run(nodes).await {
        evidence.note(Note::Broken(error.to_string()));
    }
    for node in &mut nodes.list {
        if let Err(error) = node.stop().await {
            evidence.note(Note::Broken(error.to_string()));
        }
        for panic in node.panics() {
            evidence.note(Note::Broken(format!("a node panicked: {panic}")));
        }
    }
}

/// All faults, one after the other.
async fn storm(
    setting: &Setting,
    plan: &Plan,
    on: &mut Subjects<'_>,
    hand: &mut Hand,
    choice: &mut Choice,
    evidence: &Evidence,
) -> io::Result<()> {
    let schedule = match setting.mutation {
        Some(_) => vec![Fault::KillNode, Fault::RestartNode],
        None => Fault::schedule(plan.kind, plan.rounds, choice),
    };
    let mut told = Instant::now();
    for (number, fault) in schedule.iter().enumerate() {
        sleep(Duration::from_millis(u64::from(500 + choice.below(2_000)))).await;
        let wrong = |error: io::Error| io::Error::new(error.kind(), format!("{fault:?}: {error}"));
        hand.harm(*fault, on).await.map_err(wrong)?;
        if told.elapsed() > TELL {
            told = Instant::now();
            println!(
                "{:>5.0} s: {} of {} faults, {} deliveries",
                evidence.elapsed_s(),
                number + 1,
                schedule.len(),
                evidence.deliveries()
            );
        }
    }
    // The last fault is not the last thing that happens.
    sleep(Duration::from_millis(500)).await;
    Ok(())
}

/// Restarts all nodes, one after the other, while publishers publish over a good network and all subscribers
/// listen.
async fn roll(
    plan: &Plan,
    nodes: &mut Nodes,
    crowd: &Crowd,
    evidence: &Evidence,
    rolls: &mut usize,
) -> io::Result<()> {
    let began = Instant::now();
    while let Some((plan, _)) = crowd.clients.iter().find(|(_, shared)| !shared.state().connected) {
        if began.elapsed() > CONNECTED {
            evidence.note(Note::Stuck(format!("client {} does not come back in good weather", plan.client)));
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    evidence.note(Note::Rolling { begins: true });
    for _ in 0..plan.rolls {
        nodes.roll().await?;
        *rolls += 1;
    }
    sleep(AFTERWARDS).await;
    evidence.note(Note::Rolling { begins: false });
    println!("{:>5.0} s: all nodes were restarted {rolls} times", evidence.elapsed_s());
    Ok(())
}
