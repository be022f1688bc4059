//! What the log store does in a second: raw appends of 100 bytes from one thread, and the time to open it.
//!
//! `cargo run --release -p encke-engine --example log_rate [DIR]`; stores are made in new directories in DIR
//! (default: the current one). Each window has a store of its own: one that is full already also trims,
//! compacts and writes checkpoints of a million messages, which is not the window's doing.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::{Append, Engine, RetentionTable, Targets, log::LogEngine};
use encke_proto::{Body, ChannelName, Epoch, JsonText, MessageId, Time};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::value::RawValue;

/// How long the rate is measured, in seconds.
const MEASURE_S: u64 = 5;
/// How many appends the thread has under way, in turns.
const WINDOWS: [usize; 4] = [1, 64, 1024, 16_384];
/// How many channels they go to.
const CHANNELS: usize = 1000;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn open(directory: &std::path::Path) -> Result<LogEngine, Error> {
    Ok(LogEngine::open(directory, Arc::new(()), RetentionTable::default(), Epoch(1))?)
}

async fn rate(engine: &LogEngine, window: usize, channels: &[ChannelName]) -> Result<(), Error> {
    let json: JsonText = RawValue::from_string(format!("\"{}\"", "x".repeat(98)))?.into();
    let (begin, mut done) = (Instant::now(), 0_usize);
    let append = |number: usize| {
        let channel = channels[number % channels.len()].clone();
        let bits = (window as u128) << 64 | number as u128;
        let (id, time) = (MessageId::from_bits(bits), Time(1_763_800_000_000));
        let body = Body::Data(json.clone());
        engine.append(Append {
            id,
            key: None,
            targets: Targets::Channels(vec![channel]),
            body,
            from: None,
            time,
            expires: None,
            trace: None,
        })
    };
    let mut running: FuturesUnordered<_> = (0..window).map(append).collect();
    let mut number = window;
    while let Some(appended) = running.next().await {
        appended?;
        done += 1;
        if begin.elapsed() < Duration::from_secs(MEASURE_S) {
            running.push(append(number));
            number += 1;
        }
    }
    println!("{window} under way: {:.0} appends/s", done as f64 / begin.elapsed().as_secs_f64());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let names = (0..CHANNELS).map(|number| ChannelName::public(&format!("channel-{number}")));
    let channels = names.collect::<Result<Vec<_>, _>>()?;
    for window in WINDOWS {
        let directory = tempfile::tempdir_in(&parent)?;
        let engine = open(directory.path())?;
        rate(&engine, window, &channels).await?;
        engine.stop().await;
        drop(engine);
        let begin = Instant::now();
        let engine = open(directory.path())?;
        println!("  opened in {:.2?}", begin.elapsed());
        engine.stop().await;
    }
    Ok(())
}
