//! `encke-bench append`

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    path::Path,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use encke_engine::{Append, Engine, RetentionTable, Targets, log::LogEngine, memory::MemoryEngine};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time};
use serde_json::value::RawValue;

use crate::{payload::Stamp, server::Scratch};

/// What a run needs.
#[derive(Clone, Debug, clap::Args)]
pub struct AppendOptions {
    /// The store, opened in this process
    #[arg(long, value_enum, default_value_t = Store::Log)]
    pub store: Store,
    /// For how long, in seconds
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Bytes of each message
    #[arg(long, default_value_t = 100)]
    pub payload: usize,
    /// How many channels they go to, in turn
    #[arg(long, default_value_t = 1000)]
    pub channels: usize,
    /// How many appends wait at most, all of one thread: what the store may write at once
    #[arg(long, default_value_t = 1000)]
    pub in_flight: usize,
}

/// A store of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// Nothing is kept.
    Memory,
    /// The log store, each append on the disk before it is answered.
    Log,
}

/// How many appends were answered a second.
///
/// # Errors
/// When the store refuses one.
pub fn measure(of: &AppendOptions) -> io::Result<f64> {
    let scratch = Scratch::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = open(of.store, scratch.path())?;
        let rate = appends(&engine, of).await;
        engine.stop().await;
        rate
    })
}

fn open(store: Store, directory: &Path) -> io::Result<Arc<dyn Engine>> {
    let (feed, retention, epoch) = (Arc::new(()), RetentionTable::default(), Epoch(1));
    Ok(match store {
        Store::Memory => Arc::new(MemoryEngine::new(feed, retention, epoch)),
        Store::Log => Arc::new(LogEngine::open(directory, feed, retention, epoch).map_err(io::Error::other)?),
    })
}

/// Appends that wait for their answers, of one thread and in order. Each is a future alone: with a task for
/// each, what this side took was more than what the store did.
async fn appends(engine: &Arc<dyn Engine>, of: &AppendOptions) -> io::Result<f64> {
    let messages = messages(of)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let time = Time(u64::try_from(since.as_millis()).map_err(io::Error::other)?);
    let (began, lasts) = (Instant::now(), Duration::from_secs_f64(of.seconds));
    let (mut waiting, mut sent, mut answered) = (VecDeque::new(), 0_u32, 0_u64);
    loop {
        while waiting.len() < of.in_flight.max(1) && began.elapsed() < lasts {
            let (channel, body) = &messages[sent as usize % messages.len()];
            let append = Append {
                id: MessageId::from_bits(u128::from(sent)),
                key: None,
                targets: Targets::Channels(vec![channel.clone()]),
                body: body.clone(),
                from: None,
                time,
                expires: None,
                trace: None,
            };
            sent += 1;
            // The store has it from its first poll on.
            let mut append = engine.append(append);
            match poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await {
                Poll::Ready(done) => {
                    done.map_err(io::Error::other)?;
                    answered += 1;
                }
                Poll::Pending => waiting.push_back(append),
            }
        }
        if let Some(append) = waiting.pop_front() {
            append.await.map_err(io::Error::other)?;
            answered += 1;
        } else if began.elapsed() >= lasts {
            break;
        }
    }
    Ok(answered as f64 / began.elapsed().as_secs_f64())
}

/// A message for each channel, made before it is measured what becomes of them.
fn messages(of: &AppendOptions) -> io::Result<Vec<(ChannelName, Body)>> {
    let message = |number: usize| {
        let json = Stamp { lane: 0, number: number as u32, due_us: 0 }.payload(of.payload);
        let body = Body::Data(RawValue::from_string(json)?.into());
        Ok((ChannelName::public(&format!("c{number}")).map_err(io::Error::other)?, body))
    };
    (0..of.channels.max(1)).map(message).collect()
}

/// Measures and prints.
///
/// # Errors
/// When the store refuses.
pub fn run(of: &AppendOptions) -> io::Result<()> {
    let rate = measure(of)?;
    println!(
        "{rate:.0} appends of {} bytes a second, {:?}, {} of one thread at once",
        of.payload, of.store, of.in_flight
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_answers_what_was_appended() {
        for store in [Store::Memory, Store::Log] {
            let of = AppendOptions { store, seconds: 0.2, payload: 100, channels: 3, in_flight: 10 };
            assert!(measure(&of).unwrap() > 0.0, "{store:?}");
        }
    }
}
