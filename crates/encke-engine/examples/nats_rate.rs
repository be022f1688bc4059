//! How many appends a second the NATS engine does, what they cost its servers, and what a watched channel
//! costs this process.
//!
//! `cargo run --release -p encke-engine --example nats_rate ADDRESS [PID]…`: servers that run already, and
//! their processes if they are on this machine. It leaves its streams behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use encke_engine::{
    Append, Engine, EngineEvents, Key, PageLimit, ReadFrom, RetentionTable, Targets,
    nats::{NatsEngine, NatsOptions},
};
use encke_proto::{Body, ChannelName, MessageId, Time, UserId};
use serde_json::value::RawValue;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long each rate is measured, in seconds.
const MEASURE_S: u64 = 5;
/// How many appends one caller does alone.
const ALONE: usize = 500;
/// How many channels are watched.
const WATCHED: usize = 10_000;
/// How many users are pushed to at once.
const USERS: usize = 10_000;

fn append(targets: Targets, key: Option<Key>, bits: u128) -> Result<Append, Failure> {
    let json = RawValue::from_string(format!("{{\"text\":\"{}\"}}", "x".repeat(88)))?;
    let (id, time) = (MessageId::from_bits(bits), Time(1_763_800_000_000));
    Ok(Append {
        id,
        key,
        targets,
        body: Body::Data(json.into()),
        from: None,
        time,
        expires: None,
        trace: None,
    })
}

/// The processor time of these processes, in seconds.
fn processor_s(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(words.get(11)?.parse::<f64>().ok()? + words.get(12)?.parse::<f64>().ok()?)
    };
    pids.iter().filter_map(of).sum::<f64>() / 100.0
}

/// The memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
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

/// How long one append takes when there is no other.
async fn alone(engine: &Arc<NatsEngine>) -> Result<(), Failure> {
    for what in ["one append", "one append with a key", "a push to one user"] {
        let mut times = Vec::new();
        for number in 0..ALONE {
            let key = (what == "one append with a key").then(|| Key::new(format!("api:alone-{number}")));
            let targets = match what {
                "a push to one user" => Targets::Users(vec![UserId::new(&format!("alone-{}", number % 10))?]),
                _ => Targets::Channels(vec![ChannelName::public("alone")?]),
            };
            let one = append(targets, key, (what.len() as u128) << 64 | number as u128)?;
            let asked = Instant::now();
            engine.append(one).await?;
            times.push(asked.elapsed());
        }
        print_times(&format!("1 caller, {what}"), times);
    }
    Ok(())
}

async fn rate(
    engine: &Arc<NatsEngine>,
    callers: usize,
    channels: usize,
    keyed: bool,
    pids: &[u32],
) -> Result<(), Failure> {
    let (begin, used, own) = (Instant::now(), processor_s(pids), processor_s(&[std::process::id()]));
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let engine = Arc::clone(engine);
        let channel = ChannelName::public(&format!("channel-{}", caller % channels))?;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while begin.elapsed() < Duration::from_secs(MEASURE_S) {
                let bits = begin.elapsed().as_nanos() << 32 | caller as u128;
                let key = keyed.then(|| Key::new(format!("api:{bits:x}")));
                let one = append(Targets::Channels(vec![channel.clone()]), key, bits)?;
                let asked = Instant::now();
                engine.append(one).await?;
                times.push(asked.elapsed());
            }
            Ok::<_, Failure>(times)
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let count = times.len() as f64;
    let (used, own) = (processor_s(pids) - used, processor_s(&[std::process::id()]) - own);
    println!(
        "{callers} callers, {channels} channels{}: {:.0} appends/s; {:.0} us of the servers' processors and {:.0} us of this process for each",
        if keyed { ", each with a key" } else { "" },
        count / begin.elapsed().as_secs_f64(),
        used / count * 1e6,
        own / count * 1e6
    );
    print_times("  one append", times);
    Ok(())
}

async fn users(engine: &Arc<NatsEngine>, pids: &[u32]) -> Result<(), Failure> {
    let users =
        (0..USERS).map(|number| UserId::new(&format!("user-{number:06}"))).collect::<Result<Vec<_>, _>>()?;
    for what in ["new", "known"] {
        let (begin, used) = (Instant::now(), processor_s(pids));
        engine
            .append(append(Targets::Users(users.clone()), None, begin.elapsed().as_nanos() | 7 << 100)?)
            .await?;
        let (took, used) = (begin.elapsed(), processor_s(pids) - used);
        println!(
            "a push to {USERS} {what} users: {:.2} s, {used:.2} s of the servers' processors",
            took.as_secs_f64()
        );
    }
    let begin = Instant::now();
    let reached = engine.append(append(Targets::AllUsers, None, 9 << 100)?).await?.positions.len();
    println!("a push to all of {reached} users: {:.2} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let page = engine.users(Some(&users[USERS / 2]), 100).await?;
    println!("a page of {} users of {reached}: {:.1} ms", page.len(), begin.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

async fn reading(engine: &Arc<NatsEngine>) -> Result<(), Failure> {
    let channel = ChannelName::public("channel-0")?;
    let head = engine.read(&channel, ReadFrom::Head, PageLimit { messages: 1, bytes: 1 }).await?.head;
    for back in [1, 10, 500] {
        let mut times = Vec::new();
        for _ in 0..200 {
            let asked = Instant::now();
            engine
                .read(
                    &channel,
                    ReadFrom::After(head.saturating_sub(back)),
                    PageLimit { messages: 100, bytes: 1 << 20 },
                )
                .await?;
            times.push(asked.elapsed());
        }
        print_times(&format!("a page from {back} messages before the end"), times);
    }
    Ok(())
}

async fn watching(engine: &Arc<NatsEngine>) -> Result<(), Failure> {
    let before = resident_kib();
    let names = (0..WATCHED)
        .map(|number| ChannelName::public(&format!("watched-{number}")))
        .collect::<Result<Vec<_>, _>>()?;
    for name in &names {
        engine.watch(name);
    }
    let last = &names[WATCHED - 1];
    engine.read(last, ReadFrom::Head, PageLimit { messages: 1, bytes: 1 }).await?;
    let bytes = resident_kib().saturating_sub(before) * 1024 / WATCHED as u64;
    println!("{WATCHED} watched channels: {bytes} bytes of this process for each");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("which servers?")?;
    let pids: Vec<u32> = arguments.map(|pid| pid.parse()).collect::<Result<_, _>>()?;
    let options =
        NatsOptions { prefix: format!("rate{}", std::process::id()), ..NatsOptions::parse(&address)? };
    let events = EngineEvents { feed: Arc::new(()), messages: Arc::new(()) };
    let engine = NatsEngine::open(options, events, RetentionTable::default(), "rate".to_owned()).await?;
    watching(&engine).await?;
    alone(&engine).await?;
    for (callers, channels, keyed) in
        [(16, 16, false), (64, 16, false), (64, 64, true), (1_024, 1_024, false), (1_024, 16, false)]
    {
        rate(&engine, callers, channels, keyed, &pids).await?;
    }
    reading(&engine).await?;
    users(&engine, &pids).await?;
    engine.stop().await;
    Ok(())
}
