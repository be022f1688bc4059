//! How many durable appends a second the SQLite engine does, and how long one takes.
//!
//! `cargo run --release -p encke-engine --example append_rate [DIR]`; the store is made in a new directory
//! inside DIR (default: the current one).

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::{
    Append, Engine, EngineError, PageLimit, ReadFrom, RetentionTable, Targets, sqlite::SqliteEngine,
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time, UserId};
use serde_json::value::RawValue;

/// How long each rate is measured, in seconds.
const MEASURE_S: u64 = 5;
/// How many channels the concurrent callers append to.
const CHANNELS: usize = 16;
/// How many appends one caller does alone.
const ALONE: usize = 5000;
/// How many users a push to all reaches.
const USERS: usize = 100_000;

fn append(targets: Targets, bits: u128) -> Result<Append, Box<dyn std::error::Error + Send + Sync>> {
    let json = RawValue::from_string(format!("{{\"text\":\"{}\"}}", "x".repeat(88)))?;
    let (id, time) = (MessageId::from_bits(bits), Time(1_763_800_000_000));
    Ok(Append { id, key: None, targets, body: Body::Data(Arc::from(json)), from: None, time, expires: None })
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms ({} times)",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

/// What the disk itself takes for a durable write of the size that an append writes, to compare with.
fn yardstick(dir: &Path) -> std::io::Result<()> {
    for name in ["fsync", "fdatasync"] {
        let mut file = File::create(dir.join(name))?;
        let mut times = Vec::new();
        for _ in 0..ALONE / 5 {
            let asked = Instant::now();
            file.write_all(&[7; 16 * 1024])?;
            if name == "fsync" { file.sync_all() } else { file.sync_data() }?;
            times.push(asked.elapsed());
        }
        print_times(&format!("writing 16 KiB and {name} alone"), times);
    }
    Ok(())
}

async fn rate(
    engine: &Arc<SqliteEngine>,
    callers: usize,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let engine = Arc::clone(engine);
        let channel = ChannelName::public(&format!("channel-{}", caller % CHANNELS))?;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while begin.elapsed() < Duration::from_secs(MEASURE_S) {
                let bits = (callers as u128) << 96 | (caller as u128) << 64 | times.len() as u128;
                let one = append(Targets::Channels(vec![channel.clone()]), bits)?;
                let asked = Instant::now();
                engine.append(one).await?;
                times.push(asked.elapsed());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    println!("{callers} callers: {:.0} appends/s", times.len() as f64 / begin.elapsed().as_secs_f64());
    print_times("  one append", times);
    Ok(())
}

async fn alone(engine: &SqliteEngine) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut times = Vec::new();
    for number in 0..ALONE {
        let one = append(Targets::Channels(vec![ChannelName::public("alone")?]), number as u128)?;
        let asked = Instant::now();
        engine.append(one).await?;
        times.push(asked.elapsed());
    }
    print_times("1 caller, one append", times);
    Ok(())
}

async fn push_to_all(engine: &Arc<SqliteEngine>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let users =
        (0..USERS).map(|number| UserId::new(&format!("user-{number:06}"))).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    for some in users.chunks(10_000) {
        engine.append(append(Targets::Users(some.to_vec()), begin.elapsed().as_nanos() | 7 << 100)?).await?;
    }
    println!("pushes to 10,000 new users each, {USERS} in all: {:.2} s", begin.elapsed().as_secs_f64());
    for round in 0..3_u128 {
        let beside = Arc::clone(engine);
        let asked = Instant::now();
        let push = tokio::spawn({
            let engine = Arc::clone(engine);
            let one = append(Targets::AllUsers, 9 << 100 | round)?;
            async move { engine.append(one).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        let waiting = Instant::now();
        beside
            .append(append(Targets::Channels(vec![ChannelName::public("beside")?]), 8 << 100 | round)?)
            .await?;
        let waited = waiting.elapsed();
        let channel = users[USERS / 2].channel();
        let reading = Instant::now();
        engine.read(&channel, ReadFrom::After(0), PageLimit { messages: 10, bytes: 65536 }).await?;
        let read = reading.elapsed();
        let reached = push.await??.positions.len();
        let done = asked.elapsed();
        println!(
            "push to all of {reached} users: {done:.2?}; a publish begun meanwhile took {waited:.2?}, a read after it {read:.2?}"
        );
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let open = || -> Result<_, EngineError> {
        Ok(Arc::new(SqliteEngine::open(dir.path(), Arc::new(()), RetentionTable::default(), Epoch(1))?))
    };
    let engine = open()?;
    yardstick(dir.path())?;
    alone(&engine).await?;
    for callers in [64, 1024] {
        rate(&engine, callers).await?;
    }
    push_to_all(&engine).await?;
    engine.stop().await;
    Ok(())
}
