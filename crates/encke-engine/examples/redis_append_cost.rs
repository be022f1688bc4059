//! What an append costs a Redis:
//! `cargo run --release -p encke-engine --example redis_append_cost -- redis://127.0.0.1:6379/?prefix=cost`.
//!
//! Appends to one channel, pushes to one user of many, and publishes to a channel that is watched; for each
//! the appends a second, and what Redis itself says of its scripts and its processor. It clears the server's
//! statistics, so it is for a server that nothing else uses.

use std::{env, sync::Arc, time::Instant};

use encke_engine::{
    Append, Engine, EngineEvents, Key, RetentionTable, Targets,
    redis::{RedisEngine, RedisOptions},
};
use encke_proto::{Body, ChannelName, JsonText, MessageId, Time, UserId};
use serde_json::value::RawValue;

/// How many appends each line is of, and how many are under way.
const APPENDS: u64 = 50_000;
const UNDER_WAY: u64 = 64;
const USERS: u64 = 10_000;

/// Whom the append with this number is for.
type Whom = Box<dyn Fn(u64) -> Targets + Send + Sync>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the server says of itself: microseconds of its processor, and of its scripts how many and how long.
async fn figures(admin: &mut redis::aio::MultiplexedConnection) -> Result<(f64, f64, f64), Failure> {
    let info: String = redis::cmd("INFO").arg("cpu").arg("commandstats").query_async(admin).await?;
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let seconds = |name: &str| field(name).parse::<f64>().unwrap_or_default();
    let scripts = field("cmdstat_evalsha");
    let of = |name: &str| {
        scripts
            .split(',')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_default()
    };
    Ok(((seconds("used_cpu_user") + seconds("used_cpu_sys")) * 1e6, of("calls"), of("usec")))
}

/// Makes these appends, [`UNDER_WAY`] at a time.
async fn append_all(engine: &Arc<RedisEngine>, appends: &[Append]) -> Result<(), Failure> {
    let mut tasks = Vec::new();
    for some in appends.chunks(appends.len().div_ceil(usize::try_from(UNDER_WAY)?)) {
        let (engine, some) = (Arc::clone(engine), some.to_vec());
        tasks.push(tokio::spawn(async move {
            for append in some {
                engine.append(append).await?;
            }
            Ok::<(), encke_engine::EngineError>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::args().nth(1).ok_or("which Redis? redis://HOST:PORT/?prefix=NAME")?;
    let mut admin = redis::Client::open(url.split('?').next().unwrap_or_default())?
        .get_multiplexed_async_connection()
        .await?;
    let events = EngineEvents { feed: Arc::new(()), messages: Arc::new(()) };
    let engine =
        RedisEngine::open(RedisOptions::parse(&url)?, events, RetentionTable::default(), "cost".to_owned())
            .await?;
    let (plain, watched) = (ChannelName::public("plain")?, ChannelName::public("watched")?);
    let body: JsonText = RawValue::from_string(format!("\"{}\"", "x".repeat(98)))?.into();
    let users =
        (0..USERS).map(|index| UserId::new(&format!("user{index}"))).collect::<Result<Vec<_>, _>>()?;
    engine.watch(&watched);
    let to_one = |channel: ChannelName| move |_: u64| Targets::Channels(vec![channel.clone()]);
    let to_user = {
        let users = users.clone();
        move |index: u64| Targets::Users(vec![users[(index % USERS) as usize].clone()])
    };
    let to_ten = move |index: u64| {
        Targets::Users((0..10).map(|next| users[((index * 10 + next) % USERS) as usize].clone()).collect())
    };
    let lines: [(&str, u64, bool, Whom); 5] = [
        ("one channel", APPENDS, false, Box::new(to_one(plain.clone()))),
        ("one channel, with a key", APPENDS, true, Box::new(to_one(plain))),
        ("one channel, watched", APPENDS, false, Box::new(to_one(watched))),
        ("one user of 10,000", APPENDS, false, Box::new(to_user)),
        ("ten users", APPENDS / 10, false, Box::new(to_ten)),
    ];
    let mut next_id = 1_u128;
    for (what, appends, keyed, targets) in lines {
        let mut append = |index: u64| {
            next_id += 1;
            Append {
                id: MessageId::from_bits(next_id),
                key: keyed.then(|| Key::new(format!("api:{next_id}"))),
                targets: targets(index),
                body: Body::Data(body.clone()),
                from: None,
                time: Time(1_763_800_000_000),
                expires: None,
                trace: None,
            }
        };
        let made: Vec<Append> = (0..appends).map(&mut append).collect();
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut admin).await?;
        let before = figures(&mut admin).await?;
        let begun = Instant::now();
        append_all(&engine, &made).await?;
        let took = begun.elapsed().as_secs_f64();
        let after = figures(&mut admin).await?;
        let each = appends as f64;
        println!(
            "{what}: {:.0} appends/s; for each {:.1} us of Redis, {:.2} scripts of {:.1} us",
            each / took,
            (after.0 - before.0) / each,
            after.1 / each,
            after.2 / after.1.max(1.0),
        );
    }
    engine.stop().await;
    Ok(())
}
