//! What a Redis keeps in its memory:
//! `cargo run --release -p encke-engine --example redis_memory -- redis://127.0.0.1:6379/?prefix=memory`.
//!
//! Makes users, places, channels, messages, pushes and subscriptions, so many of each, and says by how much
//! the memory of the server has grown for each of them; for subscriptions also that of this process, which is
//! what a node keeps. For a server that nothing else uses.

use std::{env, error::Error, fs, sync::Arc, time::Duration};

use encke_engine::{
    Append, Cluster, Engine, EngineEvents, Key, PageLimit, ReadFrom, RetentionTable, Targets,
    redis::{RedisEngine, RedisOptions},
};
use encke_proto::{Body, ChannelName, JsonText, MessageId, SessionId, Time, UserId};
use serde_json::value::RawValue;
use tokio::time::sleep;

/// How many there are of each thing.
const COUNT: usize = 100_000;
/// How many are asked for at a time.
const UNDER_WAY: usize = 64;
/// How many messages more a channel gets, in the measure of messages.
const MORE: usize = 50;
/// How long the server is left alone before it is asked.
const REST: Duration = Duration::from_millis(500);

type Failure = Box<dyn Error + Send + Sync>;

struct Meter {
    admin: redis::aio::MultiplexedConnection,
    redis: f64,
    own: f64,
}

impl Meter {
    async fn used(&mut self) -> Result<f64, Failure> {
        sleep(REST).await;
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.admin).await?;
        let used = info
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"))
            .ok_or("Redis does not say what it uses")?;
        Ok(used.trim().parse()?)
    }

    /// Tells what has been used since it was last asked, for each of so many.
    async fn tell(&mut self, what: &str, count: usize) -> Result<(), Failure> {
        let (redis, own) = (self.used().await?, own());
        let each = |now: f64, before: f64| (now - before) / count as f64;
        println!(
            "{what}: {:.0} bytes of Redis each, {:.0} of the node",
            each(redis, self.redis),
            each(own, self.own)
        );
        (self.redis, self.own) = (redis, own);
        Ok(())
    }
}

/// What this process occupies, in bytes.
fn own() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

fn user(number: usize) -> Result<UserId, Failure> {
    Ok(UserId::new(&format!("user{number}"))?)
}

fn channel(number: usize) -> Result<ChannelName, Failure> {
    Ok(ChannelName::public(&format!("channel{number}"))?)
}

fn to_channel(number: usize) -> Result<Targets, Failure> {
    Ok(Targets::Channels(vec![channel(number)?]))
}

/// Does something for each number, several at a time.
async fn each<F: Future<Output = Result<(), Failure>> + Send + 'static>(
    count: usize,
    act: impl Fn(usize) -> F,
) -> Result<(), Failure> {
    for first in (0..count).step_by(UNDER_WAY) {
        let some: Vec<_> =
            (first..(first + UNDER_WAY).min(count)).map(|number| tokio::spawn(act(number))).collect();
        for one in some {
            one.await??;
        }
    }
    Ok(())
}

/// The time of all appends.
const NOW: Time = Time(1_763_800_000_000);

fn append(number: usize, targets: Targets) -> Result<Append, Failure> {
    let body: JsonText = RawValue::from_string(format!("\"{}\"", "x".repeat(98)))?.into();
    Ok(Append {
        id: MessageId::from_bits(number as u128),
        key: None,
        targets,
        body: Body::Data(body),
        from: None,
        time: NOW,
        expires: None,
        trace: None,
    })
}

async fn tell_users(engine: &Arc<RedisEngine>, meter: &mut Meter) -> Result<(), Failure> {
    each(COUNT, |number| {
        let engine = Arc::clone(engine);
        async move { Ok(engine.seen(&user(number)?, NOW).await?) }
    })
    .await?;
    meter.tell("a user who is known", COUNT).await?;

    each(COUNT, |number| {
        let engine = Arc::clone(engine);
        async move { Ok(engine.enter(&user(number)?, None).await.map(|_| ())?) }
    })
    .await?;
    meter.tell("a user who is online on one node", COUNT).await
}

async fn tell_messages(engine: &Arc<RedisEngine>, meter: &mut Meter) -> Result<(), Failure> {
    let few_channels = |number: usize| to_channel(number % (COUNT / MORE));
    append_each(engine, |number| append(1 + number, to_channel(number)?)).await?;
    meter.tell("a channel with one message", COUNT).await?;
    append_each(engine, move |number| append(1_000_000 + number, few_channels(number)?)).await?;
    meter.tell("a message more of 100 bytes", COUNT).await?;
    append_each(engine, |number| append(2_000_000 + number, Targets::Users(vec![user(number)?]))).await?;
    meter.tell("a user's first push of 100 bytes, with its receipt", COUNT).await?;
    append_each(engine, |number| {
        append(3_000_000 + number, Targets::Users(vec![user(number % (COUNT / MORE))?]))
    })
    .await?;
    meter.tell("a push more, with its receipt", COUNT).await?;
    append_each(engine, move |number| {
        let key = Some(Key::new(format!("api:{number:032}")));
        Ok(Append { key, ..append(4_000_000 + number, few_channels(number)?)? })
    })
    .await?;
    meter.tell("a message more with an idempotency key", COUNT).await
}

/// Makes an append of each number.
async fn append_each(
    engine: &Arc<RedisEngine>,
    append: impl Fn(usize) -> Result<Append, Failure>,
) -> Result<(), Failure> {
    each(COUNT, |number| {
        let (engine, append) = (Arc::clone(engine), append(number));
        async move { Ok(engine.append(append?).await.map(|_| ())?) }
    })
    .await
}

async fn tell_sessions(engine: &Arc<RedisEngine>, meter: &mut Meter) -> Result<(), Failure> {
    each(COUNT, |number| {
        let engine = Arc::clone(engine);
        async move {
            let channel = channel(number)?;
            engine.watch(&channel);
            // It is watched for sure when this is answered.
            let limit = PageLimit { messages: 1, bytes: 1 << 16 };
            Ok(engine.read(&channel, ReadFrom::Head, limit).await.map(|_| ())?)
        }
    })
    .await?;
    meter.tell("a channel that is watched by one node", COUNT).await?;

    for number in 0..COUNT {
        let users = [user(number)?];
        engine.mark_closed(&users[0], &[SessionId::from_bits(number as u128)], 60_000).await?;
    }
    meter.tell("a session that was closed on purpose, for the grace time", COUNT).await
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::args().nth(1).ok_or("which Redis? redis://HOST:PORT/?prefix=NAME")?;
    let admin = redis::Client::open(url.split('?').next().unwrap_or_default())?
        .get_multiplexed_async_connection()
        .await?;
    let events = EngineEvents { feed: Arc::new(()), messages: Arc::new(()) };
    let engine =
        RedisEngine::open(RedisOptions::parse(&url)?, events, RetentionTable::default(), "memory".to_owned())
            .await?;
    engine.beat().await?;
    let mut meter = Meter { admin, redis: 0.0, own: 0.0 };
    (meter.redis, meter.own) = (meter.used().await?, own());
    tell_users(&engine, &mut meter).await?;
    tell_messages(&engine, &mut meter).await?;
    tell_sessions(&engine, &mut meter).await?;
    engine.stop().await;
    Ok(())
}
