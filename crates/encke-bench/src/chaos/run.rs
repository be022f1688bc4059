//! A run from its beginning to its end.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use encke_client::Api;
use tokio::time::{Instant, sleep};

use super::{
    crowd::{Crowd, ProxyAddresses},
    evidence::{Evidence, Note},
    faults::{Fault, Hand},
    phase::{PhaseSender, Stage},
    proxy::{Proxy, Side, Upstream, network},
    server::Server,
    setting::Setting,
    settle::Settle,
    verdict::{Verdict, judge},
};
use crate::choice::Choice;

/// The longest that a run goes on for the sake of the count of deliveries.
const RUN_MAX: Duration = Duration::from_secs(3 * 3600);
/// How often it is said how far the run is.
const TELL: Duration = Duration::from_secs(10);

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

/// Runs it. What the server wrote is kept in `log` if anything is wrong.
///
/// # Errors
/// When the run itself cannot be carried out.
pub async fn run(setting: &Setting, program: &Path, log: &Path) -> io::Result<Outcome> {
    let mut choice = Choice(setting.seed);
    let mut server = Server::new(program, &setting.engine, &mut choice)?;
    let secured = if setting.tls { Some(server.secure(&mut choice)?) } else { None };
    server.start(None).await?;
    let upstream = || match &secured {
        Some((address, tls)) => Upstream::new(&[*address]).secured(tls.clone()),
        None => Upstream::new(&[server.address]),
    };
    let evidence = Evidence::new();
    let phase = PhaseSender::new();
    let mut seed = || u64::from(choice.below(u32::MAX)) << 32 | u64::from(choice.below(u32::MAX));
    let for_subscribers = Proxy::start(upstream(), Side::Subscribers, seed(), phase.look()).await?;
    let for_publishers = Proxy::start(upstream(), Side::Publishers, seed(), phase.look()).await?;
    let addresses = ProxyAddresses {
        direct: server.address,
        subscribers: for_subscribers.address,
        publishers: for_publishers.address,
    };
    let mut crowd = Crowd::enter(setting, addresses, &server.keys, &evidence, &phase, &mut Choice(seed()))?;
    let mut hand = Hand::new(evidence.clone(), Choice(seed()));
    let mut weather = Choice(seed());
    if let Err(error) = storm(setting, &mut server, &mut hand, &mut weather, &evidence).await {
        evidence.note(Note::Broken(error.to_string()));
        server.kill().ok();
        server.start(None).await?;
    }
    phase.turn(Stage::Calm);
    println!("{:>5.0} s: calm; {} deliveries", evidence.elapsed_s(), evidence.deliveries());
    crowd.publishers_end(&evidence).await;
    let api = Api::new(&format!("http://{}", server.address), &server.keys.api).map_err(io::Error::other)?;
    let settle = Settle { evidence: &evidence, phase: &phase, crowd: &crowd, api: &api };
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
    let network = network(&[&for_subscribers, &for_publishers]);
    let Hand { done, skipped, failed_syncs, .. } = hand;
    let (lives, slowest_start) = (server.lives, server.slowest_start);
    Ok(Outcome { verdict, done, skipped, failed_syncs, network, lives, slowest_start, seconds, notes })
}

/// All faults, one after the other, and then as long as it takes for the deliveries.
async fn storm(
    setting: &Setting,
    server: &mut Server,
    hand: &mut Hand,
    choice: &mut Choice,
    evidence: &Evidence,
) -> io::Result<()> {
    let schedule = setting.counts.schedule(choice);
    let (began, mut told) = (Instant::now(), Instant::now());
    for (number, fault) in schedule.iter().enumerate() {
        sleep(Duration::from_millis(u64::from(500 + choice.below(2_500)))).await;
        hand.harm(*fault, server).await?;
        if told.elapsed() > TELL {
            told = Instant::now();
            println!(
                "{:>5.0} s: {} of {} faults, {} deliveries",
                evidence.elapsed_s(),
                number + 1,
                schedule.len(),
                evidence.deliveries()
            );
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
