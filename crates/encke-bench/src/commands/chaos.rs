//! `encke-bench chaos`

use std::{
    fs, io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::chaos::{
    cluster::{self, run::Plan, store::Kind},
    evidence::{self, Note},
    faults::Counts,
    mutation::Mutation,
    run::run,
    setting::Setting,
    summary,
    verdict::Verdict,
};

/// Faults on a real server, and whether every promise was kept: nothing lost, doubled, out of order or
/// astray, and no user online who is not
///
/// Starts a server, publishes to it, and listens on all transports, most of it through a proxy that breaks
/// connections, while the server is killed, stopped, frozen, and robbed of its disk and its clock. What all
/// of them saw is compared at the end. If anything is wrong, the seed is told, and the history and the
/// server's log are kept.
///
/// Without options: 1,000,000 deliveries and 200 kills, which takes about 25 minutes. Full disks take root,
/// failing fsyncs strace, and jumping clocks libfaketime (Debian: apt-get install strace libfaketime); what
/// is missing is said and left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server's program
    #[arg(long, value_name = "FILE", default_value = "target/release/encke")]
    server_bin: PathBuf,
    /// Where the server keeps its logs; its `accepted` has to survive its process. With `redis` or `nats`
    /// there are several nodes, whose engine is started too
    #[arg(long, value_name = "ENGINE", default_value = "log")]
    engine: String,
    /// What goes through the proxies goes on under TLS, a record for each piece; one server alone has that
    #[arg(long)]
    tls: bool,
    /// With redis or nats: the engine's servers
    #[arg(long, value_enum, default_value = "one")]
    servers: Servers,
    /// With redis or nats: how many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// With redis or nats: how often every kind of fault is done; the counts above are for one server
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// With redis or nats: how often all nodes are restarted one after the other
    #[arg(long, default_value_t = 5)]
    rolls: usize,
    /// Where everything that is left to chance begins [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    counts: Counts,
    /// How many messages are delivered at least; when the faults are over before, kills go on
    #[arg(long, default_value_t = 1_000_000)]
    deliveries: u64,
    /// How many subscribers
    #[arg(long, default_value_t = 96)]
    clients: usize,
    /// How many channels
    #[arg(long, default_value_t = 12)]
    channels: usize,
    /// How many publishers
    #[arg(long, default_value_t = 9)]
    publishers: u64,
    /// Messages a second, of all publishers
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// About a minute and a half instead: a few faults of each kind, whatever the counts say
    #[arg(long)]
    short: bool,
    /// Have a subscriber report something wrongly, in a run with a few kills: it succeeds if that is found
    #[arg(long, value_enum)]
    mutation: Option<Mutation>,
    /// Where the history and the server's log are kept when anything is wrong
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    keep: PathBuf,
    /// Keep the history even if nothing is wrong
    #[arg(long)]
    keep_always: bool,
    /// Put the report into this file, in the place of the last one
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The servers of an engine that has any.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Servers {
    /// A single one.
    One,
    /// Redis: a master, its replica and a sentinel.
    Failover,
    /// Three masters of a Redis Cluster, or three NATS servers with three replicas.
    Cluster,
}

/// What a short run has where nothing else was asked for.
const SHORT: Counts = Counts { kills: 12, torn: 4, restarts: 2, freezes: 2, full: 1, syncs: 2, clocks: 1 };

/// What is done with a mutation: enough to have been through a restart.
const FOR_A_MUTATION: Counts =
    Counts { kills: 3, torn: 0, restarts: 0, freezes: 0, full: 0, syncs: 0, clocks: 0 };

/// Runs it.
///
/// # Errors
/// When it cannot be carried out, and when anything is wrong.
pub fn execute(args: &Args) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = args.seed.unwrap_or(now);
    let setting = Setting {
        seed,
        engine: args.engine.clone(),
        tls: args.tls,
        counts: match args.mutation {
            Some(_) => FOR_A_MUTATION,
            None if args.short => SHORT,
            None => args.counts.clone(),
        },
        deliveries: if args.short || args.mutation.is_some() { 0 } else { args.deliveries },
        clients: args.clients.max(1),
        channels: args.channels.max(1),
        publishers: args.publishers.max(1),
        rate: args.rate.max(0.1),
        mutation: args.mutation,
    };
    println!("seed {seed}");
    fs::create_dir_all(&args.keep)?;
    let (found, notes) = if let Some(kind) = several(args)? {
        if args.tls {
            return Err(io::Error::other("--tls is for one server"));
        }
        let short = args.short || args.mutation.is_some();
        let (rounds, rolls) = if short { (1, 1) } else { (args.rounds, args.rolls) };
        let plan = Plan { kind, nodes: args.nodes.max(2), rounds, rolls };
        // Programs that are started elsewhere find what they need by its full name.
        let program = args.server_bin.canonicalize()?;
        let outcome = until_told(cluster::run::run(&setting, &plan, &program, &args.keep))?;
        let report = cluster::summary::markdown(&setting, &plan, &outcome);
        println!("{report}");
        if let Some(path) = &args.report {
            cluster::summary::write(path, kind, &report)?;
        }
        (outcome.verdict, outcome.notes)
    } else {
        let log = args.keep.join(format!("server-{seed}.log"));
        let outcome = until_told(run(&setting, &args.server_bin, &log))?;
        let report = summary::markdown(&setting, &outcome);
        println!("{report}");
        if let Some(path) = &args.report {
            summary::write(path, &report)?;
        }
        (outcome.verdict, outcome.notes)
    };
    println!("{}", summary::line(&found));
    match args.mutation {
        Some(mutation) => caught(mutation, &found),
        None => verdict(args, seed, &found, &notes),
    }
}

/// Which servers an engine of several nodes has; none for an engine of one.
fn several(args: &Args) -> io::Result<Option<Kind>> {
    Ok(Some(match (args.engine.as_str(), args.servers) {
        ("redis", Servers::One) => Kind::Redis,
        ("redis", Servers::Failover) => Kind::RedisFailover,
        ("redis", Servers::Cluster) => Kind::RedisCluster,
        ("nats", Servers::One) => Kind::Nats,
        ("nats", Servers::Cluster) => Kind::NatsCluster,
        ("nats", Servers::Failover) => return Err(io::Error::other("nats has one server or a cluster")),
        _ => return Ok(None),
    }))
}

/// Runs until it is done or is told to end. What was started and mounted goes when the run is dropped.
fn until_told<T>(run: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = run => outcome,
            told = told_to_end() => Err(told.err().unwrap_or_else(|| io::Error::other("it was told to end"))),
        }
    })
}

/// Returns when this program is told to end.
async fn told_to_end() -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// How many violations are told in words.
const TOLD_MAX: usize = 20;

fn verdict(args: &Args, seed: u64, found: &Verdict, notes: &[(u64, Note)]) -> io::Result<()> {
    let violations = &found.violations;
    let history = args.keep.join(format!("history-{seed}.txt"));
    if args.keep_always || !violations.is_empty() {
        evidence::keep(notes, &history)?;
    }
    if violations.is_empty() {
        return Ok(());
    }
    for violation in violations.iter().take(TOLD_MAX) {
        let ms = notes.get(violation.at).map_or(0, |(ms, _)| *ms);
        println!("{:?} at note {} ({ms} ms): {}", violation.kind, violation.at, violation.what);
    }
    Err(io::Error::other(format!(
        "{} violations with seed {seed}; the history is in {}, what was written by those under test beside it",
        violations.len(),
        history.display(),
    )))
}

fn caught(mutation: Mutation, found: &Verdict) -> io::Result<()> {
    let found = found.violations.iter().find(|violation| violation.kind == mutation.finds());
    let found = found.ok_or_else(|| io::Error::other(format!("the mutation {mutation:?} was not found")))?;
    println!("the mutation was found: {:?}: {}", found.kind, found.what);
    Ok(())
}
