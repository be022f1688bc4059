//! Publishers: each message has a key of its own, and is sent again under it until it is known to be
//! accepted.

use std::{net::SocketAddr, time::Duration};

use encke_client::{Api, Publish, Push, Target};
use encke_proto::{ChannelName, Position, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::{
    evidence::{Evidence, Id, Note},
    http::Asker,
    ledger,
    phase::{Look, Stage},
};
use crate::choice::Choice;

/// How long a message may take to be accepted once nothing is in the way.
const CALM_TIMEOUT: Duration = Duration::from_secs(90);

/// A publisher.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its number, from 1.
    pub number: u64,
    /// Where it connects to: the server, or the proxy in front of it.
    pub through: SocketAddr,
    /// The key of the server API.
    pub api_key: String,
    /// Whether it uses our client library.
    pub client: bool,
    /// Channels to publish to.
    pub channels: Vec<ChannelName>,
    /// Users to push to.
    pub users: Vec<UserId>,
    /// The pause between two messages, on average.
    pub pause: Duration,
    /// What keys of this run begin with.
    pub run: u64,
    /// Where its choices begin.
    pub seed: u64,
}

/// What is sent.
enum Publication {
    Publish(Vec<ChannelName>),
    Push(Vec<UserId>),
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    offset: Option<u64>,
    epoch: Option<String>,
    #[serde(default)]
    positions: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    channel: String,
    offset: u64,
    epoch: String,
}

enum Way {
    Raw(Asker),
    Library(Api),
}

/// What became of an attempt.
enum Outcome {
    /// Where it is; or, for a push, what its receipts are asked for by.
    Accepted(Vec<(ChannelName, Position)>, Option<String>),
    Unknown,
    Refused(String),
}

/// The idempotency key of a message.
fn key(run: u64, id: Id) -> String {
    format!("chaos-{run}-{id}")
}

/// Publishes until things calm down, and then finishes what it began.
pub async fn publish(plan: Plan, evidence: Evidence, look: Look) {
    let mut choice = Choice(plan.seed);
    let mut way = if plan.client {
        match Api::new(&format!("http://{}", plan.through), &plan.api_key) {
            Ok(api) => Way::Library(api),
            Err(error) => return evidence.note(Note::Broken(error.to_string())),
        }
    } else {
        Way::Raw(Asker::new(plan.through, &plan.api_key))
    };
    let mut number = 0;
    let mut due = Instant::now();
    while look.is_busy() {
        number += 1;
        let id = plan.number << 32 | number;
        let message = plan.message(&mut choice);
        evidence.note(Note::Invoked { id, to: message.channels() });
        let data = ledger::payload(id, choice.below(300) as usize);
        if !deliver(&plan, &mut way, &message, &data, id, &evidence, &look).await {
            return;
        }
        // At moments that do not depend on the server, but never in bursts to make up for its absence.
        let pause = plan.pause.mul_f64(f64::from(choice.below(2_000)) / 1_000.0);
        due = (due + pause).max(Instant::now() - plan.pause);
        let mut calm = look.clone();
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = calm.reached(Stage::Calm) => {}
        }
    }
}

/// Sends until it is accepted. False when that does not come about.
async fn deliver(
    plan: &Plan,
    way: &mut Way,
    message: &Publication,
    data: &str,
    id: Id,
    evidence: &Evidence,
    look: &Look,
) -> bool {
    let mut calm_since = None;
    let mut pause_ms = 20;
    loop {
        match attempt(way, message, data, &key(plan.run, id)).await {
            Outcome::Accepted(at, push) => {
                evidence.note(Note::Accepted { id, at, push });
                return true;
            }
            Outcome::Unknown => evidence.note(Note::Unknown { id }),
            Outcome::Refused(why) => {
                evidence.note(Note::Broken(format!("message {id} was refused: {why}")));
                return true;
            }
        }
        if !look.is_busy() && calm_since.get_or_insert_with(Instant::now).elapsed() > CALM_TIMEOUT {
            evidence.note(Note::Stuck(format!("message {id} is never accepted")));
            return false;
        }
        sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(400);
    }
}

async fn attempt(way: &mut Way, message: &Publication, data: &str, key: &str) -> Outcome {
    match way {
        Way::Raw(asker) => match asker.post(message.path(), &message.body(data, key)).await {
            Ok((202, body)) => message.understand(&body),
            Ok((429 | 408 | 500.., _)) | Err(_) => Outcome::Unknown,
            Ok((status, body)) => Outcome::Refused(format!("{status} {}", String::from_utf8_lossy(&body))),
        },
        Way::Library(api) => match by_client(api, message, data, key).await {
            Ok(Ok(places)) => place_all(places),
            Ok(Err(push)) => Outcome::Accepted(Vec::new(), Some(push)),
            Err(error) if error.is_temporary() => Outcome::Unknown,
            Err(error) => Outcome::Refused(error.to_string()),
        },
    }
}

/// The places of a publication, or the id of a push.
async fn by_client(
    api: &Api,
    message: &Publication,
    data: &str,
    key: &str,
) -> Result<Result<Vec<Place>, String>, encke_client::Error> {
    let data = RawValue::from_string(data.to_owned()).map_err(encke_client::Error::Encode)?;
    match message {
        Publication::Publish(channels) => {
            let publish = match &channels[..] {
                [one] => Publish::to(one.as_str(), &data)?,
                all => Publish::to_all(all.iter().map(ChannelName::as_str), &data)?,
            };
            let positions = api.publish(&publish.id(key)).await?.positions;
            Ok(Ok(positions
                .into_iter()
                .map(|at| Place { channel: at.channel, offset: at.offset, epoch: at.epoch })
                .collect()))
        }
        Publication::Push(users) => {
            let users = users.iter().map(|user| user.as_str().to_owned()).collect();
            Ok(Err(api.push(&Push::data(Target::Users(users), &data)?.id(key)).await?.id))
        }
    }
}

fn place_all(places: Vec<Place>) -> Outcome {
    let place = |place: &Place| {
        let epoch = place.epoch.parse().ok()?;
        Some((ChannelName::any(&place.channel).ok()?, Position { epoch, offset: place.offset }))
    };
    match places.iter().map(place).collect() {
        Some(places) => Outcome::Accepted(places, None),
        None => Outcome::Refused("its answer cannot be read".to_owned()),
    }
}

impl Plan {
    fn message(&self, choice: &mut Choice) -> Publication {
        match choice.below(10) {
            0..6 => Publication::Publish(some(&self.channels, 1, choice)),
            6 => Publication::Publish(some(&self.channels, 2 + choice.below(2), choice)),
            7 | 8 => Publication::Push(some(&self.users, 1, choice)),
            _ => Publication::Push(some(&self.users, 2 + choice.below(4), choice)),
        }
    }
}

/// Some of them, each once.
fn some<T: Clone>(all: &[T], count: u32, choice: &mut Choice) -> Vec<T> {
    let start = choice.below(all.len() as u32) as usize;
    all.iter().cycle().skip(start).take((count as usize).min(all.len())).cloned().collect()
}

impl Publication {
    fn channels(&self) -> Vec<ChannelName> {
        match self {
            Self::Publish(channels) => channels.clone(),
            Self::Push(users) => users.iter().map(UserId::channel).collect(),
        }
    }

    fn path(&self) -> &'static str {
        match self {
            Self::Publish(_) => "/api/publish",
            Self::Push(_) => "/api/push",
        }
    }

    fn body(&self, data: &str, key: &str) -> String {
        let list = |names: Vec<&str>| format!("[\"{}\"]", names.join("\",\""));
        let to = match self {
            Self::Publish(channels) => match &channels[..] {
                [one] => format!("\"channel\":\"{one}\""),
                all => format!("\"channels\":{}", list(all.iter().map(ChannelName::as_str).collect())),
            },
            Self::Push(users) => format!("\"to\":{}", list(users.iter().map(UserId::as_str).collect())),
        };
        format!("{{{to},\"data\":{data},\"id\":\"{key}\"}}")
    }

    fn understand(&self, body: &[u8]) -> Outcome {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
            return Outcome::Refused(format!("its answer is {}", String::from_utf8_lossy(body)));
        };
        match (self, answer.offset, answer.epoch) {
            (Self::Push(_), ..) => Outcome::Accepted(Vec::new(), Some(answer.id)),
            (Self::Publish(channels), Some(offset), Some(epoch)) if channels.len() == 1 => {
                place_all(vec![Place { channel: channels[0].as_str().to_owned(), offset, epoch }])
            }
            _ if answer.positions.is_empty() => Outcome::Refused("its answer has no position".to_owned()),
            _ => place_all(answer.positions),
        }
    }
}
