//! `encke-bench latency`

use std::{
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    blocking::Line,
    peers::{Encke, EnckeOptions, Peer, Place, Transport, user_name},
    report,
    scene::{Load, Scene},
    subscribers::Stage,
    tally::Tally,
};

/// From a push being due to the last byte of the poll that brings it; and from a close to everything being freed
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: EnckeOptions,
    /// How many users wait
    #[arg(long, default_value_t = 1000)]
    users: u32,
    /// Pushes a second, each to one user, at fixed moments whatever the server does
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// For how long, in seconds, after a tenth of it to warm up
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// Connections that push
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Poll)]
    transport: Transport,
    /// How many of them are closed afterwards
    #[arg(long, default_value_t = 100)]
    closes: u32,
}

/// Measures it.
///
/// # Errors
/// When the server cannot be measured, or anything was not delivered as it should have been.
pub fn run(args: &Args) -> io::Result<()> {
    let peer = Encke::open(&args.server)?;
    let mut scene = Scene::new(&peer, args.transport, args.payload, args.publishers, 1)?;
    scene.tally = Tally::new((0..args.users).map(|_| 1));
    scene.gather((0..args.users).map(|user| (Place::User(user), (user, 1))))?;
    scene.rest(Duration::from_millis(500))?;
    println!(
        "{}: {} users wait by {}; {} pushes/s for {} s; load before: {}",
        peer.name(),
        args.users,
        args.transport.name(),
        args.rate,
        args.seconds,
        crate::procfs::load()
    );
    let mut choice = Choice(0x9e37_79b9_7f4a_7c15);
    let (users, publishers) = (args.users, scene.publishers.count());
    let mut target = move |_| {
        let user = choice.below(users);
        (user, Place::User(user), user as usize % publishers)
    };
    let load = |seconds: f64| Load { rate: args.rate, burst: 1, together: false, time: Duration::from_secs_f64(seconds) };
    scene.publish(load(args.seconds / 10.0), &mut target)?;
    scene.measure_from_now();
    let before = crate::procfs::Cpu::of(&peer.pids());
    let delivered = scene.tally.delivered;
    scene.publish(load(args.seconds), &mut target)?;
    scene.drain()?;
    let used = crate::procfs::Cpu::of(&peer.pids()).since(&before);
    println!("{}", report::percentiles_head());
    println!("{}", report::percentiles("POST due -> last byte", &scene.tally.each));
    println!("{}", report::percentiles("POST due -> its answer", &scene.publishers.answered));
    let count = scene.tally.delivered - delivered;
    println!(
        "server: {:.1} us CPU per push and delivery ({:.0} % of one core)",
        per(used.total, count),
        used.total.as_secs_f64() / args.seconds * 100.0
    );
    println!("{} pushed, {} delivered: {}", scene.tally.sent(), scene.tally.delivered, scene.tally.faults());
    if let Some(verdict) = scene.verdict() {
        return Err(io::Error::other(verdict));
    }
    if args.transport == Transport::Poll { closes(&peer, &mut scene, args.closes.min(args.users)) } else { Ok(()) }
}

/// Closes users one by one, and looks whether everything of them is gone when that is answered.
fn closes(peer: &Encke, scene: &mut Scene<'_>, count: u32) -> io::Result<()> {
    let mut line = Line::open(peer.address())?;
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other);
    let (mut answered, mut freed) = (histogram()?, histogram()?);
    let (mut listed, mut open) = (0, 0);
    for user in 0..count {
        let index = user as usize;
        let session = scene.subscribers.all[index].resume.split(['=', '&']).nth(1).unwrap_or("").to_owned();
        // The books would take the farewell for a fault.
        scene.rest(Duration::from_millis(2))?;
        let request = peer.control(user, "/v1/close", &format!("{{\"session\":\"{session}\"}}"));
        let began = Instant::now();
        let (status, body) = line.ask(&request)?;
        answered.saturating_record(micros(began));
        if status != 200 || !body.windows(6).any(|part| part == b":true}") {
            return Err(io::Error::other(format!("closing was answered {status} {}", String::from_utf8_lossy(&body))));
        }
        // What the kernel has by now is looked at, without waiting.
        scene.turn(Instant::now())?;
        if scene.subscribers.all[index].stage != Stage::Gone {
            open += 1;
        }
        freed.saturating_record(micros(began));
        let (_, body) = line.ask(&peer.question(&format!("/api/sessions?user={}", user_name(user))))?;
        if body.windows(session.len()).any(|part| part == session.as_bytes()) {
            listed += 1;
        }
    }
    println!("{}", report::percentiles("POST /v1/close -> answer", &answered));
    println!("{}", report::percentiles("the same -> held socket ended", &freed));
    println!("of {count} closed, {listed} were still listed and {open} still held a socket after the answer");
    if listed + open > 0 { Err(io::Error::other("not everything was freed")) } else { Ok(()) }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds of each.
#[must_use]
pub fn per(time: Duration, count: u64) -> f64 {
    if count == 0 { f64::NAN } else { time.as_secs_f64() * 1e6 / count as f64 }
}

/// Numbers that look random and are the same in every run (SplitMix64).
#[derive(Debug)]
pub struct Choice(pub u64);

impl Choice {
    /// The next one, below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        u32::try_from((u128::from(mixed) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}
