//! `encke-bench reopen`

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    blocking::Line,
    payload::Stamp,
    peers::{Encke, EnckeOptions, Peer, Place},
};

/// How many messages are published in one request, if they fit into one.
const TOGETHER_MAX: u32 = 100;
/// The bytes of their payloads in one request: less than a body may have, since each has a channel as well.
const TOGETHER_MAX_BYTES: usize = 48 * 1024;

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Reopen {
    /// How many messages are in the store when the server is killed
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: u32,
    /// Over how many channels they are spread; few enough that each keeps all of its messages
    #[arg(long, default_value_t = 10_000)]
    pub channels: u32,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
}

/// How long it takes to open a store again whose server was killed.
#[derive(Clone, Copy, Debug)]
pub struct Reopened {
    /// From the start of the process until it listens.
    pub took: Duration,
    /// The same with an empty store.
    pub empty: Duration,
    /// How long it took to fill it.
    pub filled: Duration,
}

/// Fills a server's store, kills the server, starts it again, and looks whether everything is there.
///
/// # Errors
/// When the server refuses a message, or has lost one.
pub fn measure(options: &EnckeOptions, of: Reopen) -> io::Result<Reopened> {
    if options.tls {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "this is measured without TLS"));
    }
    let mut encke = Encke::open(options)?;
    let empty = encke.crash(options)?;
    let began = Instant::now();
    let mut line = Line::open(encke.address(), None)?;
    let stamp = |number: u32| Stamp { lane: number % of.channels, number: number / of.channels, due_us: 0 };
    let together = u32::try_from(TOGETHER_MAX_BYTES / of.payload.max(1)).unwrap_or(u32::MAX);
    let together = together.clamp(1, TOGETHER_MAX);
    for first in (0..of.messages).step_by(together as usize) {
        let numbers = first..of.messages.min(first.saturating_add(together));
        let message = |number| (Place::Channel(number % of.channels), stamp(number).payload(of.payload));
        let messages: Vec<_> = numbers.map(message).collect();
        let mut request = Vec::new();
        encke.publish_together(&mut request, &messages);
        let (status, body) = line.ask(&request)?;
        if !(200..300).contains(&status) {
            return Err(io::Error::other(format!(
                "publishing was answered {status} {}",
                String::from_utf8_lossy(&body)
            )));
        }
    }
    let filled = began.elapsed();
    drop(line);
    let took = encke.crash(options)?;
    let mut line = Line::open(encke.address(), None)?;
    // The last message of the first and of the last channel: what was answered is there.
    for number in [of.messages - 1, (of.messages - 1) / of.channels * of.channels] {
        let (status, body) =
            line.ask(&encke.question(&format!("/api/channels/c{}/history", number % of.channels)))?;
        let (text, wanted) = (String::from_utf8_lossy(&body), stamp(number).payload(of.payload));
        if status != 200 || !text.contains(&wanted) {
            return Err(io::Error::other(format!(
                "message {number} is not there: {status}, {} bytes",
                body.len()
            )));
        }
    }
    Ok(Reopened { took, empty, filled })
}

/// Measures and prints.
///
/// # Errors
/// See [`measure`].
pub fn run(options: &EnckeOptions, of: Reopen) -> io::Result<()> {
    let Reopened { took, empty, filled } = measure(options, of)?;
    println!(
        "{} messages of {} bytes in {} channels, {}: killed, and listening again after {:.3} s (empty: {:.3} s); filled in {:.1} s",
        of.messages,
        of.payload,
        of.channels,
        options.engine,
        took.as_secs_f64(),
        empty.as_secs_f64(),
        filled.as_secs_f64()
    );
    Ok(())
}
