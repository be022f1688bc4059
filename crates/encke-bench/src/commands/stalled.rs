//! `encke-bench stalled`

use std::{io, time::Duration};

use crate::{
    peers::{Peer, Place, Transport},
    procfs,
    run::{Load, Run},
    tally::Tally,
};

/// How many messages are published between two looks at the memory.
const BETWEEN_LOOKS: u32 = 10;
/// What a server has begun before a look at its memory, it has finished by then.
const SETTLES: Duration = Duration::from_secs(1);

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Stalled {
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Sse)]
    pub transport: Transport,
    /// How many read the head of their answer, and nothing behind it
    #[arg(long, default_value_t = 200)]
    pub receivers: u32,
    /// How many messages are published to them
    #[arg(long, default_value_t = 200)]
    pub messages: u32,
    /// Bytes of each
    #[arg(long, default_value_t = 50_000)]
    pub payload: usize,
    /// Messages a second
    #[arg(long, default_value_t = 50.0)]
    pub rate: f64,
    /// How long to rest before the last look at the memory, in seconds
    #[arg(long, default_value_t = 20.0)]
    pub rest: f64,
}

/// What receivers that take nothing cost, in bytes of the server's memory (PSS).
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// What as many messages cost in a channel with one receiver that takes them: the log, and what is kept
    /// to send.
    pub log: f64,
    /// The most that was held for each receiver beyond that.
    pub each: f64,
    /// What stays of that, of all receivers together, when they have gone.
    pub left: f64,
}

/// Measures a peer. What the kernel keeps for the sockets is not in it.
///
/// # Errors
/// When the server refuses a receiver or a message.
pub fn measure(peer: &dyn Peer, of: Stalled) -> io::Result<Cost> {
    let look = || procfs::pss_bytes(&peer.pids()) as f64;
    let mut run = Run::new(peer, of.transport, of.payload, 1, 1)?;
    // Those that take nothing are not counted as receivers.
    run.tally = Tally::new([0, 1, 0]);
    peer.prepare(&[Place::Channel(0)])?;
    run.gather(std::iter::once((Place::Channel(1), (1, 1))))?;
    let publish = |run: &mut Run<'_>, channel: u32, count: u32| {
        let time = Duration::from_secs_f64(f64::from(count) / of.rate);
        let load = Load { rate: of.rate, burst: 1, together: false, time };
        run.publish(load, |_| (channel, Place::Channel(channel), 0))?;
        run.drain()
    };
    // The most memory while so many messages are published.
    let most = |run: &mut Run<'_>, channel: u32| {
        let (mut most, mut left) = (0.0_f64, of.messages);
        while left > 0 {
            let count = left.min(BETWEEN_LOOKS);
            publish(run, channel, count)?;
            (most, left) = (most.max(look()), left - count);
        }
        Ok::<_, io::Error>(most)
    };
    publish(&mut run, 0, BETWEEN_LOOKS)?;
    run.rest(SETTLES)?;
    let before = look();
    let log = most(&mut run, 1)? - before;
    run.gather((0..of.receivers).map(|_| (Place::Channel(2), (2, 1))))?;
    for index in 1..run.subscribers.all.len() {
        run.subscribers.deafen(&mut run.net, index)?;
    }
    run.rest(SETTLES)?;
    let idle = look();
    let each = (most(&mut run, 2)? - idle - log) / f64::from(of.receivers.max(1));
    for index in 0..run.subscribers.all.len() {
        run.subscribers.disconnect(&mut run.net, index);
    }
    run.rest(Duration::from_secs_f64(of.rest))?;
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(format!("{}: {verdict}", peer.name())));
    }
    Ok(Cost { log, each, left: look() - before - 2.0 * log })
}

/// Prints what was measured.
pub fn print(name: &str, of: Stalled, cost: &Cost) {
    println!(
        "{name}: {} receivers by {} that take nothing, {} messages of {} bytes: {:.1} KB each beyond the log of {:.1} MB; {:.1} MB of it in all {} s after they have gone",
        of.receivers,
        of.transport.name(),
        of.messages,
        of.payload,
        cost.each / 1e3,
        cost.log / 1e6,
        cost.left / 1e6,
        of.rest
    );
}
