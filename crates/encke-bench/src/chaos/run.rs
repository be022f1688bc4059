//! A run from its beginning to its end.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use encke_client::Api;
use encke_proto::{ChannelName, UserId};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    evidence::{Evidence, Note},
    faults::{Counts, Fault, Hand},
    lie::Lie,
    proxy::{Proxy, Side},
    publisher,
    server::Server,
    settle::Settle,
    subscriber::{self, Means, Shared},
    tide::{Stage, Tide},
    verdict::{Verdict, judge},
};
use crate::commands::latency::Choice;

/// How long the tokens are good, in seconds: longer than any jump of the clock.
const TOKEN_S: u64 = 30 * 86_400;
/// The longest that a run goes on for the sake of the count of deliveries.
const RUN_MAX: Duration = Duration::from_secs(3 * 3600);
/// How long publishers may take to finish; they give up by themselves before.
const PUBLISHERS_PATIENCE: Duration = Duration::from_secs(300);
/// How often it is said how far the run is.
const TELL: Duration = Duration::from_secs(10);

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where everything that is left to chance begins.
    pub seed: u64,
    /// The server's engine.
    pub engine: String,
    /// How many faults of each kind.
    pub counts: Counts,
    /// How many deliveries there are at least.
    pub deliveries: u64,
    /// How many subscribers.
    pub clients: usize,
    /// How many channels, publishers, and messages a second of all publishers.
    pub channels: usize,
    /// See `channels`.
    pub publishers: u64,
    /// See `channels`.
    pub rate: f64,
    /// What a subscriber lies about.
    pub lie: Option<Lie>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was found.
    pub verdict: Verdict,
    /// How often each fault was done, and what could not be.
    pub done: BTreeMap<Fault, usize>,
    /// See `done`.
    pub skipped: BTreeMap<Fault, String>,
    /// Calls that were made to fail.
    pub failed_syncs: usize,
    /// What the proxies did: the name of it, and how often.
    pub network: Vec<(&'static str, u64)>,
    /// How often the server was started, and the longest that it took.
    pub lives: u32,
    /// See `lives`.
    pub slowest_start: Duration,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// Everything that was written down.
    pub notes: Vec<(u64, Note)>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
    channels: Vec<&'a str>,
}

/// Runs it. What the server wrote is kept in `log` if anything is wrong.
///
/// # Errors
/// When the run itself cannot be carried out.
pub async fn run(setting: &Setting, program: &Path, log: &Path) -> io::Result<Outcome> {
    let mut choice = Choice(setting.seed);
    let mut server = Server::new(program, &setting.engine, &mut choice)?;
    server.start(None).await?;
    let evidence = Evidence::new();
    let tide = Tide::new();
    let mut seed = || u64::from(choice.below(u32::MAX)) << 32 | u64::from(choice.below(u32::MAX));
    let for_subscribers = Proxy::start(server.address, Side::Subscribers, seed(), tide.look()).await?;
    let for_publishers = Proxy::start(server.address, Side::Publishers, seed(), tide.look()).await?;
    let channels = names(setting.channels)?;
    let plans = subscribers(setting, &server, &for_subscribers, &channels, &mut Choice(seed()))?;
    let mut users: Vec<UserId> = plans.iter().map(|plan| plan.user.clone()).collect();
    // Somebody who never comes.
    users.push(UserId::new("nobody").map_err(io::Error::other)?);
    users.sort();
    users.dedup();
    let clients: Vec<_> = plans.into_iter().map(|plan| (plan, Shared::default())).collect();
    for (plan, shared) in &clients {
        let mut plan = plan.clone();
        if plan.lie == Some(Lie::Haunt) {
            plan.leaves = Stage::Never;
        }
        tokio::spawn(subscriber::listen(plan, shared.clone(), evidence.clone(), tide.look()));
    }
    let publishers: Vec<JoinHandle<()>> = (1..=setting.publishers)
        .map(|number| {
            let plan = publisher::Plan {
                number,
                through: if number % 3 == 0 { server.address } else { for_publishers.address },
                api_key: server.api_key.clone(),
                library: number % 2 == 0,
                channels: channels.clone(),
                users: users.clone(),
                pause: Duration::from_secs_f64(setting.publishers as f64 / setting.rate),
                run: setting.seed,
                seed: seed(),
            };
            tokio::spawn(publisher::publish(plan, evidence.clone(), tide.look()))
        })
        .collect();
    let mut hand = Hand::new(evidence.clone(), Choice(seed()));
    let mut weather = Choice(seed());
    if let Err(error) = storm(setting, &mut server, &mut hand, &mut weather, &evidence).await {
        evidence.note(Note::Broken(error.to_string()));
        server.kill().ok();
        server.start(None).await?;
    }
    tide.turn(Stage::Calm);
    println!("{:>5.0} s: calm; {} deliveries", evidence.elapsed_s(), evidence.deliveries());
    for publisher in publishers {
        if !matches!(timeout(PUBLISHERS_PATIENCE, publisher).await, Ok(Ok(()))) {
            evidence.note(Note::Stuck("a publisher does not come to its end".to_owned()));
        }
    }
    let api = Api::new(&format!("http://{}", server.address), &server.api_key).map_err(io::Error::other)?;
    let settle = Settle { evidence: &evidence, tide: &tide, clients: &clients, users: &users, channels: &channels, api: &api };
    if let Err(error) = settle.run(&mut server).await {
        evidence.note(Note::Broken(error.to_string()));
    }
    if let Err(error) = server.stop().await {
        evidence.note(Note::Broken(error.to_string()));
    }
    for panic in server.panics() {
        evidence.note(Note::Broken(format!("the server panicked: {panic}")));
    }
    let seconds = evidence.elapsed_s();
    let notes = evidence.take();
    let verdict = judge(&notes);
    if !verdict.violations.is_empty() {
        server.keep_log(log)?;
    }
    let network = network(&for_subscribers, &for_publishers);
    let Hand { done, skipped, failed_syncs, .. } = hand;
    let (lives, slowest_start) = (server.lives, server.slowest_start);
    Ok(Outcome { verdict, done, skipped, failed_syncs, network, lives, slowest_start, seconds, notes })
}

/// All faults, one after the other, and then as long as it takes for the deliveries.
async fn storm(setting: &Setting, server: &mut Server, hand: &mut Hand, choice: &mut Choice, evidence: &Evidence) -> io::Result<()> {
    let schedule = setting.counts.schedule(choice);
    let (began, mut told) = (Instant::now(), Instant::now());
    for (number, fault) in schedule.iter().enumerate() {
        sleep(Duration::from_millis(u64::from(500 + choice.below(2_500)))).await;
        hand.harm(*fault, server).await?;
        if told.elapsed() > TELL {
            told = Instant::now();
            println!("{:>5.0} s: {} of {} faults, {} deliveries", evidence.elapsed_s(), number + 1, schedule.len(), evidence.deliveries());
        }
    }
    while evidence.deliveries() < setting.deliveries && began.elapsed() < RUN_MAX {
        sleep(Duration::from_millis(u64::from(500 + choice.below(2_500)))).await;
        hand.harm(Fault::Kill, server).await?;
    }
    // The last fault is not the last thing that happens.
    sleep(Duration::from_millis(500)).await;
    Ok(())
}

fn names(count: usize) -> io::Result<Vec<ChannelName>> {
    (0..count).map(|number| ChannelName::public(&format!("c{number}")).map_err(io::Error::other)).collect()
}

/// Who listens. A sixth is forgetful, and alone in being its user; of the others two or three are the same user. Most come through the proxy.
fn subscribers(
    setting: &Setting,
    server: &Server,
    proxy: &Proxy,
    channels: &[ChannelName],
    choice: &mut Choice,
) -> io::Result<Vec<subscriber::Plan>> {
    let by_library = [encke_client::Transport::Poll, encke_client::Transport::Sse, encke_client::Transport::Ndjson];
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) + TOKEN_S;
    let key = EncodingKey::from_secret(server.secret.as_bytes());
    (0..setting.clients)
        .map(|client| {
            let forgetful = client % 6 == 5;
            let user = if forgetful { format!("f{client}") } else { format!("u{}", client * 2 / 5) };
            let mut own: Vec<ChannelName> =
                (0..1 + choice.below(6)).map(|_| channels[choice.below(channels.len() as u32) as usize].clone()).collect();
            own.sort();
            own.dedup();
            let claims = Claims { sub: &user, exp, channels: own.iter().map(ChannelName::as_str).collect() };
            let token = jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)?;
            let means = if client % 8 < 3 { Means::Library(by_library[client % 8]) } else { Means::Raw };
            let direct = forgetful || choice.below(4) == 0;
            Ok(subscriber::Plan {
                client,
                user: UserId::new(&user).map_err(io::Error::other)?,
                channels: own,
                means,
                through: if direct { server.address } else { proxy.address },
                server: server.address,
                token,
                forgetful,
                lie: setting.lie.filter(|_| client == 0),
                leaves: if client % 2 == 0 { Stage::HalfGone } else { Stage::Over },
                seed: u64::from(choice.below(u32::MAX)),
            })
        })
        .collect()
}

fn network(subscribers: &Proxy, publishers: &Proxy) -> Vec<(&'static str, u64)> {
    let sum = |of: fn(&super::proxy::Count) -> &std::sync::atomic::AtomicU64| {
        of(&subscribers.count).load(Ordering::Relaxed) + of(&publishers.count).load(Ordering::Relaxed)
    };
    vec![
        ("connections through the proxies", sum(|count| &count.connections)),
        ("reset in the middle of a frame", sum(|count| &count.reset)),
        ("left half open", sum(|count| &count.holes)),
        ("slowed to one byte a second", sum(|count| &count.trickles)),
        ("late by up to 300 ms, with jitter", sum(|count| &count.late)),
        ("cut into slices of up to 16 bytes", sum(|count| &count.slices)),
        ("requests that arrived a second time", sum(|count| &count.again)),
    ]
}
