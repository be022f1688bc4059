//! Who takes part in a run: subscribers and publishers, and where they connect to.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use encke_proto::{ChannelName, UserId};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    evidence::{Evidence, Note},
    mutation::Mutation,
    phase::{PhaseSender, Stage},
    publisher,
    server::Keys,
    setting::Setting,
    subscriber::{self, Means, Shared},
};
use crate::choice::Choice;

/// How long the tokens are good, in seconds: longer than any jump of the clock.
const TOKEN_S: u64 = 30 * 86_400;
/// How long publishers may take to finish; they give up by themselves before.
const PUBLISHERS_TIMEOUT: Duration = Duration::from_secs(300);

/// Where they connect to.
#[derive(Clone, Copy, Debug)]
pub struct ProxyAddresses {
    /// Without anything in the way: the server itself, or whichever node comes next.
    pub direct: SocketAddr,
    /// The proxy for subscribers.
    pub subscribers: SocketAddr,
    /// The proxy for publishers.
    pub publishers: SocketAddr,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    exp: u64,
    channels: Vec<&'a str>,
}

/// All of them.
#[derive(Debug)]
pub struct Crowd {
    /// The subscribers, and how they are doing.
    pub clients: Vec<(subscriber::Plan, Shared)>,
    /// All users that there are, and one who never comes.
    pub users: Vec<UserId>,
    /// All channels, without the users' own.
    pub channels: Vec<ChannelName>,
    publishers: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Has them begin.
    ///
    /// # Errors
    /// When a name or a token cannot be made.
    pub fn enter(
        setting: &Setting,
        addresses: ProxyAddresses,
        keys: &Keys,
        evidence: &Evidence,
        phase: &PhaseSender,
        choice: &mut Choice,
    ) -> io::Result<Self> {
        let mut seed = || u64::from(choice.below(u32::MAX)) << 32 | u64::from(choice.below(u32::MAX));
        let channels = names(setting.channels)?;
        let plans = subscribers(setting, addresses, keys, &channels, &mut Choice(seed()))?;
        let mut users: Vec<UserId> = plans.iter().map(|plan| plan.user.clone()).collect();
        users.push(UserId::new("never-here").map_err(io::Error::other)?);
        users.sort();
        users.dedup();
        let clients: Vec<_> = plans.into_iter().map(|plan| (plan, Shared::default())).collect();
        for (plan, shared) in &clients {
            let mut plan = plan.clone();
            if plan.mutation == Some(Mutation::Haunt) {
                plan.leaves = Stage::Never;
            }
            tokio::spawn(subscriber::listen(plan, shared.clone(), evidence.clone(), phase.look()));
        }
        let publishers = (1..=setting.publishers)
            .map(|number| {
                let plan = publisher::Plan {
                    number,
                    through: if number % 3 == 0 { addresses.direct } else { addresses.publishers },
                    api_key: keys.api.clone(),
                    client: number % 2 == 0,
                    channels: channels.clone(),
                    users: users.clone(),
                    pause: Duration::from_secs_f64(setting.publishers as f64 / setting.rate),
                    run: setting.seed,
                    seed: seed(),
                };
                tokio::spawn(publisher::publish(plan, evidence.clone(), phase.look()))
            })
            .collect();
        Ok(Self { clients, users, channels, publishers })
    }

    /// Waits until all publishers have finished what they began.
    pub async fn publishers_end(&mut self, evidence: &Evidence) {
        for publisher in std::mem::take(&mut self.publishers) {
            if !matches!(timeout(PUBLISHERS_TIMEOUT, publisher).await, Ok(Ok(()))) {
                evidence.note(Note::Stuck("a publisher does not come to its end".to_owned()));
            }
        }
    }
}

/// A user's token.
///
/// # Errors
/// When it cannot be signed.
pub fn token(keys: &Keys, user: &str, channels: &[ChannelName]) -> io::Result<String> {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) + TOKEN_S;
    let claims = Claims { sub: user, exp, channels: channels.iter().map(ChannelName::as_str).collect() };
    let key = EncodingKey::from_secret(keys.secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)
}

fn names(count: usize) -> io::Result<Vec<ChannelName>> {
    (0..count).map(|number| ChannelName::public(&format!("c{number}")).map_err(io::Error::other)).collect()
}

/// Who listens. A sixth is forgetful, and alone in being its user; of the others two or three are the same
/// user. Most come through the proxy.
fn subscribers(
    setting: &Setting,
    addresses: ProxyAddresses,
    keys: &Keys,
    channels: &[ChannelName],
    choice: &mut Choice,
) -> io::Result<Vec<subscriber::Plan>> {
    let by_client =
        [encke_client::Transport::Poll, encke_client::Transport::Sse, encke_client::Transport::Ndjson];
    (0..setting.clients)
        .map(|client| {
            let forgetful = client % 6 == 5;
            let user = if forgetful { format!("f{client}") } else { format!("u{}", client * 2 / 5) };
            let mut own: Vec<ChannelName> = (0..1 + choice.below(6))
                .map(|_| channels[choice.below(channels.len() as u32) as usize].clone())
                .collect();
            own.sort();
            own.dedup();
            let token = token(keys, &user, &own)?;
            let means = if client % 8 < 3 { Means::Library(by_client[client % 8]) } else { Means::Raw };
            let direct = forgetful || choice.below(4) == 0;
            Ok(subscriber::Plan {
                client,
                user: UserId::new(&user).map_err(io::Error::other)?,
                channels: own,
                means,
                through: if direct { addresses.direct } else { addresses.subscribers },
                server: addresses.direct,
                token,
                forgetful,
                mutation: setting.mutation.filter(|_| client == 0),
                leaves: if client % 2 == 0 { Stage::HalfGone } else { Stage::Over },
                seed: u64::from(choice.below(u32::MAX)),
            })
        })
        .collect()
}
