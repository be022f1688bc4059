//! `encke-bench latency`

use std::{
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    blocking::Line,
    choice::Choice,
    parts::{self, Parts},
    peers::{Encke, EnckeOptions, Peer, Place, Transport, user_name},
    report,
    run::{Load, Run},
    subscribers::Stage,
    tally::Tally,
};

/// From a push being due to the last byte of the poll that brings it; and from a close to everything being
/// freed
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
    let mut run = Run::new(&peer, args.transport, args.payload, args.publishers, 1)?;
    run.tally = Tally::new((0..args.users).map(|_| 1));
    run.gather((0..args.users).map(|user| (Place::User(user), (user, 1))))?;
    run.rest(Duration::from_millis(500))?;
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
    let (users, publishers) = (args.users, run.publishers.count());
    let mut target = move |_| {
        let user = choice.below(users);
        (user, Place::User(user), user as usize % publishers)
    };
    let load = |seconds: f64| Load {
        rate: args.rate,
        burst: 1,
        together: false,
        time: Duration::from_secs_f64(seconds),
    };
    run.publish(load(args.seconds / 10.0), &mut target)?;
    run.measure_from_now();
    let (before, parts_before) = (crate::procfs::Cpu::of(&peer.pids()), Parts::now(&peer));
    let delivered = run.tally.delivered;
    run.publish(load(args.seconds), &mut target)?;
    run.drain()?;
    let used = crate::procfs::Cpu::of(&peer.pids()).since(&before);
    let by_parts = parts_before.used();
    println!("{}", report::percentiles_head());
    println!("{}", report::percentiles("POST due -> last byte", &run.tally.each));
    println!("{}", report::percentiles("POST due -> its answer", &run.publishers.answered));
    let count = run.tally.delivered - delivered;
    println!(
        "server: {:.1} us CPU per push and delivery ({:.0} % of one core)",
        per(used.total, count),
        used.total.as_secs_f64() / args.seconds * 100.0
    );
    if !by_parts.is_empty() {
        let tell = |used: &parts::Used| format!("{:.1}", used.cpu_s * 1e6 / count.max(1) as f64);
        println!("CPU in us per push and delivery: {}", parts::line(&by_parts, tell));
    }
    println!("{} pushed, {} delivered: {}", run.tally.sent(), run.tally.delivered, run.tally.faults());
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(verdict));
    }
    if args.transport == Transport::Poll {
        closes(&peer, &mut run, args.closes.min(args.users))
    } else {
        Ok(())
    }
}

/// How a session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// By its client.
    Client,
    /// By an operator.
    Operator,
}

/// Closes users one by one, half of them by themselves and half by an operator, and looks whether everything
/// of them is gone when that is answered. Among several nodes, the one that is asked is not the one that has
/// the session.
fn closes(peer: &Encke, run: &mut Run<'_>, count: u32) -> io::Result<()> {
    let by = |user| if user % 4 < 2 { By::Client } else { By::Operator };
    let mut gone = Gone::default();
    for wanted in [By::Client, By::Operator] {
        let (mut answered, mut freed) = (histogram()?, histogram()?);
        for user in (0..count).filter(|user| by(*user) == wanted) {
            close(peer, run, user, wanted, [&mut answered, &mut freed], &mut gone)?;
        }
        let path = if wanted == By::Client { "/v1/close" } else { "/api/close" };
        println!("{}", report::percentiles(&format!("POST {path} -> answer"), &answered));
        println!("{}", report::percentiles("the same -> held socket ended", &freed));
    }
    let Gone { listed, open } = gone;
    println!("of {count} closed, {listed} were still listed and {open} still held a socket after the answer");
    if listed + open > 0 { Err(io::Error::other("not everything was freed")) } else { Ok(()) }
}

/// What was not gone when it should have been.
#[derive(Debug, Default)]
struct Gone {
    listed: u32,
    open: u32,
}

fn close(
    peer: &Encke,
    run: &mut Run<'_>,
    user: u32,
    by: By,
    [answered, freed]: [&mut Histogram<u64>; 2],
    gone: &mut Gone,
) -> io::Result<()> {
    let index = user as usize;
    let mut line = Line::open(peer.publish_at(index), peer.tls())?;
    let session = run.subscribers.all[index].resume.split(['=', '&']).nth(1).unwrap_or("").to_owned();
    // The tally would take the close for a fault.
    run.rest(Duration::from_millis(2))?;
    let body = format!("{{\"session\":\"{session}\"}}");
    let (request, sign) = match by {
        By::Client => (peer.control(user, "/v1/close", &body), b":true}"),
        By::Operator => (peer.api_request("/api/close", &body), b"ed\":1}"),
    };
    let began = Instant::now();
    let (status, body) = line.ask(&request)?;
    answered.saturating_record(micros(began));
    if status != 200 || !body.windows(6).any(|part| part == sign) {
        return Err(io::Error::other(format!(
            "closing was answered {status} {}",
            String::from_utf8_lossy(&body)
        )));
    }
    // What the kernel has by now is looked at, without waiting.
    run.turn(Instant::now())?;
    gone.open += u32::from(run.subscribers.all[index].stage != Stage::Gone);
    freed.saturating_record(micros(began));
    let (_, body) = line.ask(&peer.question(&format!("/api/sessions?user={}", user_name(user))))?;
    gone.listed += u32::from(body.windows(session.len()).any(|part| part == session.as_bytes()));
    Ok(())
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).map_err(io::Error::other)
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds of each.
#[must_use]
pub fn per(time: Duration, count: u64) -> f64 {
    if count == 0 { f64::NAN } else { time.as_secs_f64() * 1e6 / count as f64 }
}
