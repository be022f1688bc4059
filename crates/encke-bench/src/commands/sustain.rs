//! `encke-bench sustain`

use std::{io, time::Duration};

use crate::{
    blocking::Line,
    choice::Choice,
    payload::Stamp,
    peers::{Peer, Place, Transport},
    procfs::Cpu,
    run::{Load, Run},
    tally::Tally,
};

/// The rate is doubled until it is too much, and then halved into so often between the last two.
const HALVINGS: u32 = 3;
/// No machine that this runs on does as many.
const RATE_MAX: f64 = 4_000_000.0;
/// When even the first rate is too much, it is halved down to this part of it.
const LEAST_SHARE: f64 = 1.0 / 64.0;

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Sustain {
    /// How many users are pushed to
    #[arg(long, default_value_t = 1000)]
    pub users: u32,
    /// They are offline; what counts is then the answer to the publisher, not the delivery
    #[arg(long)]
    pub offline: bool,
    /// Messages in one request, each to a user of its own
    #[arg(long, default_value_t = 1)]
    pub together: u32,
    /// Messages a second that are tried first
    #[arg(long, default_value_t = 2000.0)]
    pub from: f64,
    /// How long each rate is tried, in seconds, after a fifth of it to warm up
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// The 99th percentile that a sustained rate keeps, in milliseconds
    #[arg(long, default_value_t = 20.0)]
    pub p99_ms: f64,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// Connections that publish
    #[arg(long, default_value_t = 64)]
    pub publishers: u32,
}

/// The highest rate that was sustained.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sustained {
    /// Messages a second; 0 if no rate that was tried was sustained.
    pub rate: f64,
    /// The median and the 99th percentile at that rate, in milliseconds.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// Processor time of the server for each message, in microseconds.
    pub cpu_us: f64,
}

/// Looks for the highest rate that a peer sustains.
///
/// # Errors
/// Of kind [`io::ErrorKind::Unsupported`] when the server has no request with several messages; another when
/// anything was not delivered as it should have been.
pub fn measure(peer: &dyn Peer, of: Sustain) -> io::Result<Sustained> {
    if of.together > 1 {
        probe(peer, of)?;
    }
    let mut run = Run::new(peer, Transport::Sse, of.payload, of.publishers.max(1) as usize, 1)?;
    run.tally = Tally::new((0..of.users).map(|_| u32::from(!of.offline)));
    let places = (0..of.users).map(|user| (Place::User(user), (user, 1)));
    if of.offline {
        peer.prepare(&places.map(|(place, _)| place).collect::<Vec<_>>())?;
    } else {
        run.gather(places)?;
    }
    let mut choice = Choice(1);
    highest(of.from, of.p99_ms, |rate| attempt(&mut run, of, rate, &mut choice))
}

/// The highest rate whose 99th percentile is within the bound, as far as trying finds it.
fn highest(
    from: f64,
    p99_ms: f64,
    mut attempt: impl FnMut(f64) -> io::Result<Sustained>,
) -> io::Result<Sustained> {
    let (mut best, mut rate, mut too_much) = (Sustained::default(), from, None);
    let mut halvings = 0;
    while rate < RATE_MAX {
        let tried = attempt(rate)?;
        if tried.p99_ms <= p99_ms {
            best = tried;
        } else {
            too_much = Some(rate);
        }
        rate = match too_much {
            None => rate * 2.0,
            Some(_) if halvings == HALVINGS => break,
            Some(_) if best.rate == 0.0 && rate / 2.0 < from * LEAST_SHARE => break,
            Some(_) if best.rate == 0.0 => rate / 2.0,
            Some(too_much) => {
                halvings += 1;
                f64::midpoint(best.rate, too_much)
            }
        };
    }
    Ok(best)
}

/// Whether the server takes several messages in one request.
fn probe(peer: &dyn Peer, of: Sustain) -> io::Result<()> {
    let payload = Stamp { lane: 0, number: 0, due_us: 0 }.payload(of.payload);
    // These users are never there.
    let messages: Vec<_> = (0..2).map(|number| (Place::User(of.users + number), payload.clone())).collect();
    let mut request = Vec::new();
    let unsupported = |why: String| io::Error::new(io::ErrorKind::Unsupported, why);
    if !peer.publish_together(&mut request, &messages) {
        return Err(unsupported(format!("{} takes one message in a request", peer.name())));
    }
    let (status, body) = Line::open(peer.publish_at(0), peer.tls())?.ask(&request)?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&body);
    Err(unsupported(format!("{} answers several messages in a request with {status}: {body}", peer.name())))
}

fn attempt(run: &mut Run<'_>, of: Sustain, rate: f64, choice: &mut Choice) -> io::Result<Sustained> {
    let (burst, publishers) = (of.together.max(1), u64::from(of.publishers.max(1)));
    let load = |seconds: f64| Load {
        rate: rate / f64::from(burst),
        burst,
        together: burst > 1,
        time: Duration::from_secs_f64(seconds),
    };
    let mut target = |number: u64| {
        let user = choice.below(of.users);
        // Messages to one user go by one connection, which keeps their order; those in one request by any.
        let publisher =
            if of.offline { number / u64::from(burst) % publishers } else { u64::from(user) % publishers };
        (user, Place::User(user), usize::try_from(publisher).unwrap_or(0))
    };
    run.publish(load(of.seconds / 5.0), &mut target)?;
    run.drain()?;
    run.measure_from_now();
    let (before, sent) = (Cpu::of(&run.peer.pids()), run.tally.sent());
    run.publish(load(of.seconds), &mut target)?;
    run.drain()?;
    let used = Cpu::of(&run.peer.pids()).since(&before);
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(format!("{}: {verdict}", run.peer.name())));
    }
    let took = if of.offline { &run.publishers.answered } else { &run.tally.each };
    // A rate at which nothing was measured proves nothing.
    let ms = |quantile| {
        if took.is_empty() { f64::INFINITY } else { took.value_at_quantile(quantile) as f64 / 1000.0 }
    };
    let cpu_us = used.total.as_secs_f64() * 1e6 / (run.tally.sent() - sent).max(1) as f64;
    let tried = Sustained { rate, p50_ms: ms(0.5), p99_ms: ms(0.99), cpu_us };
    println!(
        "  {rate:.0} messages/s: p50 {:.2} ms, p99 {:.2} ms, server CPU {cpu_us:.1} us each",
        tried.p50_ms, tried.p99_ms
    );
    Ok(tried)
}

/// Prints what was measured.
pub fn print(name: &str, of: Sustain, best: &Sustained) {
    println!(
        "{name}: {:.0} messages/s in requests of {}, to users who are {}, with p50 {:.2} ms, p99 {:.2} ms (at most {} ms), server CPU {:.1} us each",
        best.rate,
        of.together,
        if of.offline { "offline" } else { "online" },
        best.p50_ms,
        best.p99_ms,
        of.p99_ms,
        best.cpu_us
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found_within_an_eighth() {
        for capacity in [40.0, 999.0, 1000.0, 2500.0, 1_000_000.0] {
            let mut tried = 0;
            let attempt = |rate: f64| {
                tried += 1;
                let p99_ms = if rate <= capacity { 19.0 } else { 21.0 };
                Ok(Sustained { rate, p99_ms, ..Sustained::default() })
            };
            let best = highest(1000.0, 20.0, attempt).unwrap();
            assert!(best.rate <= capacity && best.rate >= capacity * 0.88, "{} of {capacity}", best.rate);
            assert!(tried <= 16, "{tried} rates for {capacity}");
        }
        let none = highest(1000.0, 20.0, |rate| Ok(Sustained { rate, p99_ms: 21.0, ..Sustained::default() }))
            .unwrap();
        assert_eq!((none.rate, none.p99_ms), (0.0, 0.0), "no rate is sustained");
    }
}
