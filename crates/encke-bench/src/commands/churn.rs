//! `encke-bench churn`

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    parts::{self, Parts, Used},
    peers::{Peer, Place, Transport},
    procfs::{self, Cpu},
    run::Run,
    subscribers::Stage,
    tally::Tally,
};

/// How long the server's idle time is measured.
const IDLE: Duration = Duration::from_secs(2);

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Churn {
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Sse)]
    pub transport: Transport,
    /// How many are held
    #[arg(long, default_value_t = 10_000)]
    pub connections: u32,
    /// How many come, and as many go, each second
    #[arg(long, default_value_t = 1000)]
    pub rate: u32,
    /// For how long, in seconds
    #[arg(long, default_value_t = 60)]
    pub seconds: u32,
    /// How long to rest before each look at the memory, in seconds; longer than the server keeps sessions
    #[arg(long, default_value_t = 20.0)]
    pub rest: f64,
    /// By how much the memory may have grown after that, in percent
    #[arg(long, default_value_t = 2.0)]
    pub drift_max: f64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Churned {
    /// How many came, and as many went.
    pub count: u64,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// How many waited at the end.
    pub waiting: usize,
    /// Processor time of the server for each that came and went, in microseconds, idle time subtracted.
    pub cpu_us: f64,
    /// How much of a processor all other processes used, and how much the hypervisor took away, in percent.
    pub others_busy: f64,
    /// See `others_busy`.
    pub stolen: f64,
    /// The server's memory (PSS) before, at the end, and after a rest, in bytes.
    pub pss: [u64; 3],
    /// What each part of the server used while they came and went, when it has several, idle time subtracted.
    pub parts: Vec<Used>,
}

impl Churned {
    /// By how much the memory has grown after a rest, in percent.
    #[must_use]
    pub fn drift(&self) -> f64 {
        drift(self.pss[2], self.pss[0])
    }
}

fn drift(now: u64, start: u64) -> f64 {
    (now as f64 / start as f64 - 1.0) * 100.0
}

/// Measures a peer.
///
/// # Errors
/// When a connection was refused or lost.
pub fn measure(peer: &dyn Peer, churn: Churn) -> io::Result<Churned> {
    let rest = Duration::from_secs_f64(churn.rest);
    let mut run = Run::new(peer, churn.transport, 100, 1, 1)?;
    run.tally = Tally::new([churn.connections]);
    run.gather((0..churn.connections).map(|_| (Place::Channel(0), (0, 1))))?;
    // Ports of closed connections rest for a minute, so it takes as many addresses as there are 20,000 of
    // them in that time.
    run.subscribers.addresses = u8::try_from(churn.rate * 70 / 20_000 + 2).unwrap_or(u8::MAX);
    run.rest(rest)?;
    let start = procfs::pss_bytes(&peer.pids());
    let own = [std::process::id()];
    let (before_idle, idle_parts) = (Cpu::of(&peer.pids()), Parts::now(peer));
    run.rest(IDLE)?;
    let idle = Cpu::of(&peer.pids()).since(&before_idle).total.as_secs_f64() / IDLE.as_secs_f64();
    let idle_parts = idle_parts.used();
    let (before, own_before, parts_before) = (Cpu::of(&peer.pids()), Cpu::of(&own), Parts::now(peer));
    let (began, all) = (Instant::now(), churn.connections as usize);
    let total = u64::from(churn.rate) * u64::from(churn.seconds);
    let mut made = 0;
    while made < total {
        let due = (began.elapsed().as_secs_f64() * f64::from(churn.rate)) as u64;
        while made < due.min(total) {
            let index = usize::try_from(made).unwrap_or(0) % all;
            if run.subscribers.all[index].stage == Stage::Asking {
                break;
            }
            run.subscribers.disconnect(&mut run.net, index);
            run.subscribers.all[index].resume.clear();
            run.subscribers.connect(&mut run.net, peer, index);
            made += 1;
        }
        run.turn(Instant::now() + Duration::from_millis(1))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let (used, own_used) = (Cpu::of(&peer.pids()).since(&before), Cpu::of(&own).since(&own_before));
    let mut parts = parts_before.used();
    for (part, idle) in parts.iter_mut().zip(&idle_parts) {
        part.cpu_s = (part.cpu_s - idle.busy * seconds).max(0.0);
    }
    let end = procfs::pss_bytes(&peer.pids());
    run.rest(rest)?;
    let after = procfs::pss_bytes(&peer.pids());
    if run.errors() > 0 || run.subscribers.waiting != all {
        return Err(io::Error::other(format!(
            "{} of {all} wait: {:?}",
            run.subscribers.waiting, run.subscribers.errors
        )));
    }
    let others = used.machine.as_secs_f64() - used.total.as_secs_f64() - own_used.total.as_secs_f64();
    Ok(Churned {
        count: total,
        seconds,
        waiting: run.subscribers.waiting,
        cpu_us: (used.total.as_secs_f64() - idle * seconds).max(0.0) * 1e6 / total.max(1) as f64,
        others_busy: others.max(0.0) / seconds * 100.0,
        stolen: used.stolen_share * 100.0,
        pss: [start, end, after],
        parts,
    })
}

/// Prints what was measured.
///
/// # Errors
/// When the memory has grown by more than it may.
pub fn print(name: &str, churn: Churn, of: &Churned) -> io::Result<()> {
    let [start, end, after] = of.pss;
    println!(
        "{name}: {} came and as many went in {:.1} s ({:.0}/s) by {}, {} wait, 0 errors; load {}",
        of.count,
        of.seconds,
        of.count as f64 / of.seconds,
        churn.transport.name(),
        of.waiting,
        procfs::load()
    );
    println!(
        "  server CPU {:.1} us for each; others {:.0} % of a processor, stolen {:.1} %",
        of.cpu_us, of.others_busy, of.stolen
    );
    if !of.parts.is_empty() {
        println!(
            "  CPU in us for each: {}",
            parts::line(&of.parts, |used| format!("{:.1}", used.cpu_s * 1e6 / of.count.max(1) as f64))
        );
    }
    println!(
        "  memory (PSS) {} KiB, {:+.1} % at the end, {:+.1} % after {} s of rest ({} KiB)",
        start / 1024,
        drift(end, start),
        of.drift(),
        churn.rest,
        after / 1024
    );
    if of.drift() <= churn.drift_max {
        Ok(())
    } else {
        Err(io::Error::other(format!("the memory has grown by {:.1} %", of.drift())))
    }
}
