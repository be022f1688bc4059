//! `encke-bench fanout`

use std::{
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    parts::{self, Parts, Used},
    peers::{Peer, Place, Transport},
    procfs::{self, Cpu, CpuUse},
    report,
    run::{Load, Run},
    tally::{Faults, Tally},
};

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Fanout {
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Sse)]
    pub transport: Transport,
    /// How many channels
    #[arg(long, default_value_t = 1)]
    pub channels: u32,
    /// How many subscribers in all, spread evenly over the channels
    #[arg(long, default_value_t = 10_000)]
    pub subscribers: u32,
    /// Messages a second in all, each at a fixed moment whatever the server does
    #[arg(long, default_value_t = 2.0)]
    pub rate: f64,
    /// How many messages are published at each moment, to the same channel
    #[arg(long, default_value_t = 1)]
    pub burst: u32,
    /// Publish these in one request, where the server has one for that
    #[arg(long)]
    pub together: bool,
    /// For how long, in seconds, after a fifth of it to warm up
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// Connections that publish
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// Requests under way at most on each of them
    #[arg(long, default_value_t = 1)]
    pub pipeline: usize,
}

/// What was measured.
#[derive(Debug)]
pub struct Delivered {
    /// Deliveries.
    pub count: u64,
    /// Messages.
    pub messages: u64,
    /// Processor time of the server for each delivery, in microseconds, idle time subtracted.
    pub cpu_us: f64,
    /// The same of the kernel's threads that do the network's work, for both sides.
    pub softirq_us: f64,
    /// Of it outside the kernel, in microseconds (sampled, hence a hint).
    pub user_us: f64,
    /// How much of a processor the server used, in percent.
    pub busy: f64,
    /// How much of a processor the generator used, in percent.
    pub own_busy: f64,
    /// How much of a processor all other processes used, in percent.
    pub others_busy: f64,
    /// How much the hypervisor took away, in percent.
    pub stolen: f64,
    /// How long each delivery took, in microseconds.
    pub each: Histogram<u64>,
    /// How long each message took to its last subscriber.
    pub last: Histogram<u64>,
    /// How long the publisher waited.
    pub answered: Histogram<u64>,
    /// Wrong deliveries.
    pub faults: Faults,
    /// What each part of the server used, when it has several, idle time subtracted.
    pub parts: Vec<Used>,
    /// How long it was measured, in seconds.
    pub seconds: f64,
}

/// Measures a peer.
///
/// # Errors
/// When anything was not delivered as it should have been.
pub fn measure(peer: &dyn Peer, fanout: Fanout) -> io::Result<Delivered> {
    let (channels, publishers) = (fanout.channels.max(1), fanout.publishers.max(1));
    let mut run = Run::new(peer, fanout.transport, fanout.payload, publishers as usize, fanout.pipeline)?;
    let followers = |channel: u32| (fanout.subscribers + channels - 1 - channel) / channels;
    run.tally = Tally::new((0..channels * publishers).map(|lane| followers(lane / publishers)));
    let places = (0..fanout.subscribers).map(|user| {
        let channel = user % channels;
        (Place::Channel(channel), (channel * publishers, publishers))
    });
    run.gather(places)?;
    let burst = u64::from(fanout.burst.max(1));
    let target = move |number: u64| {
        let moment =
            u32::try_from(number / burst % (u64::from(channels) * u64::from(publishers))).unwrap_or(0);
        let (channel, publisher) = (moment % channels, moment / channels % publishers);
        (channel * publishers + publisher, Place::Channel(channel), publisher as usize)
    };
    let load = Load {
        rate: fanout.rate,
        burst: fanout.burst,
        together: fanout.together,
        time: Duration::from_secs_f64(fanout.seconds),
    };
    measure_load(&mut run, load, target)
}

/// A server that is asked nothing and uses more of a processor than this does work of its own.
const OWN_WORK: f64 = 0.05;

/// What a server uses that is asked nothing, a second.
struct Idle {
    cpu_s: f64,
    parts: Vec<Used>,
}

fn idle(run: &mut Run<'_>) -> io::Result<Idle> {
    let peer = run.peer;
    run.rest(Duration::from_secs(1))?;
    let (before, parts, began) = (Cpu::of(&peer.pids()), Parts::now(peer), Instant::now());
    run.rest(Duration::from_secs(2))?;
    let cpu_s = Cpu::of(&peer.pids()).since(&before).total.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok(Idle { cpu_s, parts: parts.used() })
}

/// Measures the server under a load, after its idle time was measured and a fifth of the load has warmed it
/// up. One that had work of its own then, as a JVM that compiles what its clients came by, is looked at again
/// when the load is over, and what it used less of counts as idle.
///
/// # Errors
/// When anything was not delivered as it should have been.
pub fn measure_load(
    run: &mut Run<'_>,
    load: Load,
    mut target: impl FnMut(u64) -> (u32, Place, usize),
) -> io::Result<Delivered> {
    let (peer, own) = (run.peer, [std::process::id()]);
    let idle_before = idle(run)?;
    run.publish(Load { time: load.time / 5, ..load }, &mut target)?;
    run.drain()?;
    run.measure_from_now();
    let (delivered, sent, began) = (run.tally.delivered, run.tally.sent(), Instant::now());
    let (before, own_before, parts_before) = (Cpu::of(&peer.pids()), Cpu::of(&own), Parts::now(peer));
    run.publish(load, &mut target)?;
    run.drain()?;
    let (used, own_used) = (Cpu::of(&peer.pids()).since(&before), Cpu::of(&own).since(&own_before));
    let mut parts = parts_before.used();
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(format!("{}: {verdict}", peer.name())));
    }
    let time = began.elapsed().as_secs_f64();
    let (delivered, sent) = (run.tally.delivered - delivered, run.tally.sent() - sent);
    let mut least = idle_before;
    if least.cpu_s > OWN_WORK {
        let after = idle(run)?;
        if after.cpu_s < least.cpu_s {
            least = after;
        }
    }
    for (part, idle) in parts.iter_mut().zip(&least.parts) {
        part.cpu_s = (part.cpu_s - idle.busy * time).max(0.0);
    }
    let delivered = sum_up(run, delivered, sent, used, own_used, least.cpu_s, time);
    Ok(Delivered { parts, ..delivered })
}

fn sum_up(
    run: &Run<'_>,
    count: u64,
    messages: u64,
    used: CpuUse,
    own: CpuUse,
    idle: f64,
    time: f64,
) -> Delivered {
    let each = |seconds: f64| seconds.max(0.0) * 1e6 / count.max(1) as f64;
    let cpu_us = each(used.total.as_secs_f64() - idle * time);
    Delivered {
        count,
        messages,
        cpu_us,
        softirq_us: each(used.softirq.as_secs_f64()),
        user_us: cpu_us * used.user_share,
        busy: used.total.as_secs_f64() / time * 100.0,
        own_busy: own.total.as_secs_f64() / time * 100.0,
        others_busy: (used.machine.as_secs_f64() - used.total.as_secs_f64() - own.total.as_secs_f64())
            .max(0.0)
            / time
            * 100.0,
        stolen: used.stolen_share * 100.0,
        each: run.tally.each.clone(),
        last: run.tally.last.clone(),
        answered: run.publishers.answered.clone(),
        faults: run.tally.faults(),
        parts: Vec::new(),
        seconds: time,
    }
}

/// Prints what was measured.
pub fn print(name: &str, of: &Delivered) {
    println!(
        "{name}: {} messages, {} deliveries: {}; load {}",
        of.messages,
        of.count,
        of.faults,
        procfs::load()
    );
    println!(
        "  server CPU {:.2} us per delivery (outside the kernel about {:.2}); {:.0} % of a processor, generator {:.0} %, others {:.0} %, softirq {:.2} us, stolen {:.1} %",
        of.cpu_us, of.user_us, of.busy, of.own_busy, of.others_busy, of.softirq_us, of.stolen
    );
    if !of.parts.is_empty() {
        let each = |used: &Used, count: u64| used.cpu_s * 1e6 / count.max(1) as f64;
        let tell = |used: &Used| {
            format!(
                "{:.1} ({:.1}; {:.0} %)",
                each(used, of.messages),
                each(used, of.count),
                used.busy * 100.0
            )
        };
        println!("  CPU in us per message (per delivery; of a processor): {}", parts::line(&of.parts, tell));
    }
    println!("  {}", report::percentiles_head());
    println!("  {}", report::percentiles("due -> each subscriber", &of.each));
    println!("  {}", report::percentiles("due -> last subscriber", &of.last));
    println!("  {}", report::percentiles("due -> publisher's answer", &of.answered));
}
