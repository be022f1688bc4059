//! `encke-bench flood`: what a client notices of others that flood its server.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    blocking::Line,
    flooder::{Flood, Flooder},
    http::Head,
    peers::{Encke, EnckeOptions, Peer},
};

/// How long a flood goes on before the client's requests count.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long the server rests between two floods.
const REST: Duration = Duration::from_millis(500);
/// The client's user; floods come from others.
const CLIENT: u32 = 0;

/// The latency of a client's polls while others flood the server (one worker), beside its latency while the
/// same flood goes to another server on the same machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: EnckeOptions,
    /// Which floods; all that the server's protocols allow unless some are named
    #[arg(long, value_enum, value_delimiter = ',')]
    kind: Vec<Flood>,
    /// From how many threads a flood comes
    #[arg(long, default_value_t = 2)]
    flooders: usize,
    /// How often each flood goes to the other server and to the client's, in turns
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each goes on, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Polls of the client a second, at fixed moments whatever the server does
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
}

/// Measures it.
///
/// # Errors
/// When a server cannot be started, or the client is refused or cut off.
pub fn run(args: &Args) -> io::Result<()> {
    let (here, elsewhere) = (Encke::open(&args.server)?, Encke::open(&args.server)?);
    let kinds: Vec<Flood> = match args.kind.as_slice() {
        [] => Flood::ALL.into_iter().filter(|kind| kind.needs_tls() == here.tls().is_some()).collect(),
        some => some.to_vec(),
    };
    println!("{}: {} polls a second beside floods; milliseconds", here.name(), args.rate);
    println!(
        "{:<16}{:>14}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "flood", "sent a second", "p50 else", "p50 here", "p99 else", "p99 here", "ratio"
    );
    for kind in kinds {
        if kind.needs_tls() && here.tls().is_none() {
            return Err(io::Error::other(format!("{} needs --tls", kind.name())));
        }
        let (mut without, mut with) = (histogram()?, histogram()?);
        let mut sent = 0;
        for _ in 0..args.rounds {
            beside(args, kind, &here, &elsewhere, &mut without)?;
            sent += beside(args, kind, &here, &here, &mut with)?;
        }
        let at = |of: &Histogram<u64>, quantile| of.value_at_quantile(quantile) as f64 / 1_000.0;
        let (calm, flooded) = (at(&without, 0.99), at(&with, 0.99));
        let a_second = sent as f64 / (args.seconds * f64::from(args.rounds));
        println!(
            "{:<16}{a_second:>14.0}{:>10.3}{:>10.3}{calm:>10.3}{flooded:>10.3}{:>10.2}",
            kind.name(),
            at(&without, 0.5),
            at(&with, 0.5),
            flooded / calm
        );
    }
    Ok(())
}

/// The client's polls at `here` while a server is flooded; how much the flood sent meanwhile.
fn beside(
    args: &Args,
    kind: Flood,
    here: &Encke,
    flooded: &Encke,
    latency: &mut Histogram<u64>,
) -> io::Result<u64> {
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let flooders: Vec<Flooder> =
        (0..args.flooders).map(|number| Flooder::new(kind, flooded, number as u32 + 1)).collect();
    let result = thread::scope(|scope| {
        for flooder in &flooders {
            let (over, sent) = (&over, &sent);
            scope.spawn(move || flooder.run(over, sent));
        }
        thread::sleep(WARM_UP);
        let before = sent.load(Ordering::Relaxed);
        let result = poll(args, here, latency);
        over.store(true, Ordering::Relaxed);
        result.map(|()| sent.load(Ordering::Relaxed) - before)
    });
    thread::sleep(REST);
    result
}

/// Polls at fixed moments, each counted from the moment when it was due.
fn poll(args: &Args, peer: &Encke, latency: &mut Histogram<u64>) -> io::Result<()> {
    let mut line = Line::open(peer.address(), peer.tls())?;
    let mut resume = String::new();
    let mut ask = || {
        let (status, body) = line.ask(&peer.poll_now(CLIENT, &resume))?;
        if status != 200 {
            return Err(io::Error::other(format!("the client's poll was answered {status}")));
        }
        peer.resume(&Head::default(), &body, &mut resume).map_err(io::Error::other)
    };
    // The connection is there before: how long a new one waits among a flood of new ones is another matter.
    ask()?;
    let interval = Duration::from_secs_f64(1.0 / args.rate);
    let begin = Instant::now();
    for number in 0..(args.seconds * args.rate) as u32 {
        let due = begin + interval * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        ask()?;
        latency.saturating_record(due.elapsed().as_micros() as u64);
    }
    Ok(())
}

/// Microseconds, up to a minute.
fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(60_000_000, 3).map_err(io::Error::other)
}
