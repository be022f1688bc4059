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
    /// What as many messages cost to which nobody listens: the log.
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
    // To none of the channels is anybody counted as a receiver: what arrives there is not looked at.
    run.tally = Tally::new([0; 3]);
    peer.prepare(&[0, 1, 2].map(Place::Channel))?;
    let publish = |run: &mut Run<'_>, channel: u32, count: u32| {
        let time = Duration::from_secs_f64(f64::from(count) / of.rate);
        let load = Load { rate: of.rate, burst: 1, together: false, time };
        run.publish(load, |_| (channel, Place::Channel(channel), 0))?;
        run.drain()
    };
    publish(&mut run, 0, BETWEEN_LOOKS)?;
    let before = look();
    publish(&mut run, 1, of.messages)?;
    let log = look() - before;
    run.gather((0..of.receivers).map(|_| (Place::Channel(2), (2, 1))))?;
    for index in 0..run.subscribers.all.len() {
        run.subscribers.deafen(&mut run.net, index)?;
    }
    run.rest(Duration::from_secs(1))?;
    let idle = look();
    let (mut most, mut left) = (idle, of.messages);
    while left > 0 {
        let count = left.min(BETWEEN_LOOKS);
        publish(&mut run, 2, count)?;
        (most, left) = (most.max(look()), left - count);
    }
    for index in 0..run.subscribers.all.len() {
        run.subscribers.disconnect(&mut run.net, index);
    }
    run.rest(Duration::from_secs_f64(of.rest))?;
    if let Some(verdict) = run.verdict() {
        return Err(io::Error::other(format!("{}: {verdict}", peer.name())));
    }
    let each = (most - idle - log) / f64::from(of.receivers.max(1));
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
