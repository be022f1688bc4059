//! `encke-bench targeted`

use std::{io, time::Duration};

use super::fanout::{Delivered, measure_load};
use crate::{
    choice::Choice,
    peers::{Peer, Place, Transport},
    run::{Load, Run},
    tally::Tally,
};

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Targeted {
    /// How they wait
    #[arg(long, value_enum, default_value_t = Transport::Sse)]
    pub transport: Transport,
    /// How many users wait
    #[arg(long, default_value_t = 1000)]
    pub users: u32,
    /// Messages a second, each to one user
    #[arg(long, default_value_t = 5000.0)]
    pub rate: f64,
    /// For how long, in seconds, after a fifth of it to warm up
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// Connections that publish
    #[arg(long, default_value_t = 16)]
    pub publishers: u32,
    /// Each poll is a connection of its own, to the next node; what that costs shows against --nodes 1
    #[arg(long)]
    pub wander: bool,
}

/// Measures a peer.
///
/// # Errors
/// When anything was not delivered as it should have been.
pub fn measure(peer: &dyn Peer, targeted: Targeted) -> io::Result<Delivered> {
    let publishers = targeted.publishers.max(1);
    let mut run = Run::new(peer, targeted.transport, targeted.payload, publishers as usize, 1)?;
    run.subscribers.wander = targeted.wander;
    run.tally = Tally::new((0..targeted.users).map(|_| 1));
    run.gather((0..targeted.users).map(|user| (Place::User(user), (user, 1))))?;
    let mut choice = Choice(1);
    let load = Load {
        rate: targeted.rate,
        burst: 1,
        together: false,
        time: Duration::from_secs_f64(targeted.seconds),
    };
    measure_load(&mut run, load, move |_| {
        let user = choice.below(targeted.users);
        (user, Place::User(user), (user % publishers) as usize)
    })
}
