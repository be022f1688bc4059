//! `encke-bench hold`

use std::{io, time::Duration};

use crate::{
    parts::{self, Parts, Used},
    peers::{Peer, Place, Transport},
    procfs,
    run::{Load, Run},
    tally::Tally,
};

/// The connections that are there before the first look at the memory, so that what is made once is made.
const WARM_UP: u32 = 64;

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Hold {
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Sse)]
    pub transport: Transport,
    /// How many connections, beside 64 that are there before
    #[arg(long, default_value_t = 10_000)]
    pub connections: u32,
    /// How long to rest before each look at the memory, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub rest: f64,
    /// How many times as many connections come and go as are held; 0 ends after the messages
    #[arg(long, default_value_t = 2.0)]
    pub churn: f64,
    /// How many requests wait on each connection, over HTTP/2
    #[arg(long, default_value_t = 1)]
    pub streams: u32,
}

/// Bytes of the server's memory (PSS) for each idle connection.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The slope between 64 and a fifth of the connections.
    pub first: f64,
    /// The slope between a fifth and all of them.
    pub slope: f64,
    /// The slope from 64 to all, after all subscribers got three messages.
    pub after_messages: f64,
    /// The same after connections came and went.
    pub after_churn: f64,
    /// What is left after all have gone, for each that was there.
    pub left: f64,
    /// The whole memory, with the 64 and with all.
    pub whole: (u64, u64),
    /// Of the kernel's own memory for each connection, both ends together.
    pub kernel: f64,
    /// What each part of the server uses more than with the 64, when it has several.
    pub parts: Vec<Used>,
    /// What each part used while all of them waited and nothing happened.
    pub resting: Vec<Used>,
}

/// A run without connections yet.
fn run_of(peer: &dyn Peer, hold: Hold) -> io::Result<Run<'_>> {
    if hold.streams != 1 && !peer.tls().is_some_and(|tls| tls.http2) {
        return Err(io::Error::other("--streams needs --http2"));
    }
    let mut run = Run::new(peer, hold.transport, 100, 1, 1)?;
    run.tally = Tally::new([WARM_UP + hold.connections]);
    run.subscribers.beside = hold.streams.saturating_sub(1);
    Ok(run)
}

/// Measures a peer.
///
/// # Errors
/// When not all can be held, or a message gets lost.
pub fn measure(peer: &dyn Peer, hold: Hold) -> io::Result<Held> {
    let pids = peer.pids();
    if pids.is_empty() {
        return Err(io::Error::other("the server's process is not known"));
    }
    let rest = Duration::from_secs_f64(hold.rest);
    let mut run = run_of(peer, hold)?;
    let grow = |run: &mut Run<'_>, count: u32| {
        run.gather((0..count).map(|_| (Place::Channel(0), (0, 1))))?;
        run.rest(rest)?;
        Ok::<_, io::Error>((procfs::pss_bytes(&peer.pids()), procfs::kernel_slab_bytes()))
    };
    let fifth = hold.connections / 5;
    let (warm, kernel_before) = grow(&mut run, WARM_UP)?;
    let parts = Parts::now(peer);
    let (some, _) = grow(&mut run, fifth)?;
    let (all, kernel_after) = grow(&mut run, hold.connections - fifth)?;
    let slope = |from: u64, to: u64, count: u32| (to as f64 - from as f64) / f64::from(count);
    let mut held = Held {
        first: slope(warm, some, fifth),
        slope: slope(some, all, hold.connections - fifth),
        whole: (warm, all),
        kernel: slope(kernel_before, kernel_after, hold.connections),
        parts: parts.used(),
        ..Held::default()
    };
    let resting = Parts::now(peer);
    if !held.parts.is_empty() {
        run.rest(rest)?;
    }
    held.resting = resting.used();
    run.publish(Load { rate: 1.0, burst: 1, together: false, time: Duration::from_secs(3) }, |_| {
        (0, Place::Channel(0), 0)
    })?;
    run.drain()?;
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(verdict));
    }
    run.rest(rest)?;
    held.after_messages = slope(warm, procfs::pss_bytes(&peer.pids()), hold.connections);
    if hold.churn <= 0.0 {
        return Ok(held);
    }
    let (first, all) = (WARM_UP as usize, run.subscribers.all.len());
    run.subscribers.addresses = 8;
    let goes = (f64::from(hold.connections) * hold.churn) as usize;
    let batch = (all - first).clamp(1, 500);
    for start in (0..goes).step_by(batch) {
        for number in start..start + batch {
            let index = first + number % (all - first);
            run.subscribers.disconnect(&mut run.net, index);
            run.subscribers.all[index].resume.clear();
        }
        run.connect_all(first)?;
    }
    // Sessions outlive their connections by a grace time.
    run.rest(rest.max(Duration::from_secs(20)))?;
    held.after_churn = slope(warm, procfs::pss_bytes(&peer.pids()), hold.connections);
    for index in first..all {
        run.subscribers.disconnect(&mut run.net, index);
    }
    run.rest(rest.max(Duration::from_secs(20)))?;
    held.left = slope(warm, procfs::pss_bytes(&peer.pids()), hold.connections);
    match run.verdict() {
        None => Ok(held),
        Some(verdict) => Err(io::Error::other(verdict)),
    }
}

/// Prints what was measured.
pub fn print(name: &str, hold: Hold, held: &Held) {
    println!(
        "{name}: {} connections by {}, bytes of the server's memory (PSS) for each",
        hold.connections,
        hold.transport.name()
    );
    if hold.streams > 1 {
        println!("  each with {} requests that wait", hold.streams);
    }
    println!("  idle, from a fifth of them to all  {:>8.0}", held.slope);
    println!("  idle, from 64 to a fifth           {:>8.0}", held.first);
    println!("  after three messages               {:>8.0}", held.after_messages);
    if hold.churn > 0.0 {
        println!("  after {:.1} times as many came and went {:>5.0}", hold.churn, held.after_churn);
        println!("  left after all have gone           {:>8.0}", held.left);
    }
    println!(
        "  whole server: {} KiB with {WARM_UP}, {} KiB with all",
        held.whole.0 / 1024,
        held.whole.1 / 1024
    );
    if !held.parts.is_empty() {
        let tell = |used: &Used| {
            format!(
                "{:.0} KiB ({:.0} for each connection)",
                used.grown / 1024.0,
                used.grown / f64::from(hold.connections)
            )
        };
        println!("  grown by: {}", parts::line(&held.parts, tell));
        println!(
            "  of a processor, at rest: {}",
            parts::line(&held.resting, |used| format!("{:.2} %", used.busy * 100.0))
        );
    }
    println!("  the kernel's memory, both ends     {:>8.0}", held.kernel);
}
