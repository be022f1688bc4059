//! `encke-bench churn`

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    peers::{Peer, Place, Transport},
    procfs,
    scene::Scene,
    subscribers::Stage,
    tally::Tally,
};

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
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
}

/// Measures a peer and prints what was measured.
///
/// # Errors
/// When a connection was refused or lost.
pub fn run(peer: &dyn Peer, churn: Churn) -> io::Result<()> {
    let rest = Duration::from_secs_f64(churn.rest);
    let mut scene = Scene::new(peer, churn.transport, 100, 1, 1)?;
    scene.tally = Tally::new([churn.connections]);
    scene.gather((0..churn.connections).map(|_| (Place::Channel(0), (0, 1))))?;
    // Ports of closed connections rest for a minute, so it takes as many addresses as there are 20,000 of them in that time.
    scene.subscribers.addresses = u8::try_from(churn.rate * 70 / 20_000 + 2).unwrap_or(u8::MAX);
    scene.rest(rest)?;
    let start = procfs::pss_bytes(&peer.pids());
    let (began, all) = (Instant::now(), churn.connections as usize);
    let total = u64::from(churn.rate) * u64::from(churn.seconds);
    let mut made = 0;
    while made < total {
        let due = (began.elapsed().as_secs_f64() * f64::from(churn.rate)) as u64;
        while made < due.min(total) {
            let index = usize::try_from(made).unwrap_or(0) % all;
            if scene.subscribers.all[index].stage == Stage::Asking {
                break;
            }
            scene.subscribers.disconnect(&mut scene.net, index);
            scene.subscribers.all[index].resume.clear();
            scene.subscribers.connect(&mut scene.net, peer, index);
            made += 1;
        }
        scene.turn(Instant::now() + Duration::from_millis(1))?;
    }
    let took = began.elapsed().as_secs_f64();
    let end = procfs::pss_bytes(&peer.pids());
    scene.rest(rest)?;
    let after = procfs::pss_bytes(&peer.pids());
    let drift = |now: u64| (now as f64 / start as f64 - 1.0) * 100.0;
    println!(
        "{}: {total} came and as many went in {took:.1} s ({:.0}/s), {} of {all} wait",
        peer.name(),
        total as f64 / took,
        scene.subscribers.waiting
    );
    println!("  memory (PSS) {} KiB, {:+.1} % at the end, {:+.1} % after a rest", start / 1024, drift(end), drift(after));
    println!("  errors: {:?}", scene.subscribers.errors);
    if scene.errors() > 0 { Err(io::Error::other("there were errors")) } else { Ok(()) }
}
