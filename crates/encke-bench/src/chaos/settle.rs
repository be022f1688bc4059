//! After the last fault: all clients get what is missing, and what the server says about its logs, its users
//! and its receipts is compared with the truth.

use std::{collections::BTreeMap, io, time::Duration};

use encke_client::{Api, Page};
use encke_proto::{ChannelName, Cursor, Position, UserId};
use tokio::time::{Instant, sleep};

use super::{
    crowd::Crowd,
    evidence::{Evidence, Id, Note},
    ledger,
    phase::{PhaseSender, Stage},
    server::{GRACE_S, Server},
    subscriber::Plan,
};

/// How long clients may take to have everything. The longest pause of our library is half of it.
const CATCH_UP: Duration = Duration::from_secs(60);
/// How long after the grace time presence may differ from the truth: the server looks at its sessions every
/// second, and a machine may be busy.
const PRESENCE: Duration = Duration::from_secs(GRACE_S + 20);
/// How often the server is asked while something is waited for.
const PERIOD: Duration = Duration::from_millis(250);
/// How many pushes' receipts are looked at.
const RECEIPTS_MAX: usize = 300;
const PAGE: u32 = 1_000;

/// What is looked at: a server, or all nodes.
pub trait Subject {
    /// Stops it in order and starts it again; nodes one after the other.
    async fn restart(&mut self) -> io::Result<()>;

    /// Kills it, or one of its nodes, and starts it again.
    async fn kill_and_start(&mut self) -> io::Result<()>;
}

impl Subject for Server {
    async fn restart(&mut self) -> io::Result<()> {
        self.stop().await?;
        self.start(None).await
    }

    async fn kill_and_start(&mut self) -> io::Result<()> {
        self.kill()?;
        self.start(None).await
    }
}

/// Looks at a server that nothing is done to any more.
#[derive(Debug)]
pub struct Settle<'a> {
    /// Where it is written down.
    pub evidence: &'a Evidence,
    /// The run's stage.
    pub phase: &'a PhaseSender,
    /// Who takes part.
    pub crowd: &'a Crowd,
    /// A backend's way to the server.
    pub api: &'a Api,
}

impl Settle<'_> {
    /// Waits for what has to come, and looks.
    ///
    /// # Errors
    /// When the server cannot be asked, stopped or started.
    pub async fn run(&self, server: &mut impl Subject) -> io::Result<()> {
        let heads = self.logs().await?;
        self.catch_up(&heads).await;
        self.presence(0, Stage::Calm).await?;
        self.phase.turn(Stage::HalfGone);
        self.presence(1, Stage::HalfGone).await?;
        self.receipts().await?;
        server.restart().await?;
        self.receipts().await?;
        server.kill_and_start().await?;
        self.receipts().await?;
        self.presence(2, Stage::HalfGone).await?;
        self.phase.turn(Stage::Over);
        self.presence(3, Stage::Over).await
    }

    /// Everything that the server has, written down; and where each log ends.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn logs(&self) -> io::Result<BTreeMap<ChannelName, Position>> {
        let mut heads = BTreeMap::new();
        for channel in self.crowd.channels.iter().cloned().chain(self.crowd.users.iter().map(UserId::channel))
        {
            let asked_ms = self.evidence.elapsed_ms();
            let mut entries = Vec::new();
            let mut cursor: Option<String> = None;
            loop {
                let page = self
                    .api
                    .history(channel.as_str(), cursor.as_deref(), Some(PAGE))
                    .await
                    .map_err(io::Error::other)?;
                if !page.gaps.is_empty() {
                    self.evidence
                        .note(Note::Broken(format!("the log of {channel} has a gap: {:?}", page.gaps)));
                }
                let count = page.messages.len();
                for message in page.messages {
                    let epoch =
                        message.epoch.parse().map_err(|_| io::Error::other("an epoch that is none"))?;
                    let id = ledger::read(message.data.as_deref().map_or("null", |data| data.get()));
                    entries.push((Position { epoch, offset: message.offset }, id));
                }
                cursor = Some(page.cursor);
                if count == 0 {
                    break;
                }
            }
            if let Some((head, _)) = entries.last() {
                heads.insert(channel.clone(), *head);
            }
            self.evidence.note(Note::Log { channel, asked_ms, entries });
        }
        Ok(heads)
    }

    async fn catch_up(&self, heads: &BTreeMap<ChannelName, Position>) {
        let missing = |plan: &Plan, places: &Cursor| {
            let all = plan.channels.iter().cloned().chain([plan.user.channel()]);
            // Who was told of nothing since the log went on in another epoch names the head by the old one.
            let behind = |channel: &ChannelName| {
                let Some(head) = heads.get(channel) else { return false };
                places.position(channel).is_none_or(|place| {
                    if place.epoch == head.epoch {
                        place.offset < head.offset
                    } else {
                        place.offset != head.offset
                    }
                })
            };
            all.filter(behind).collect::<Vec<_>>()
        };
        let began = Instant::now();
        for (plan, shared) in &self.crowd.clients {
            loop {
                let (connected, missing) = {
                    let state = shared.state();
                    (state.connected, missing(plan, &state.places))
                };
                if connected && missing.is_empty() {
                    break;
                }
                if began.elapsed() > CATCH_UP {
                    let what = if connected { "has not caught up" } else { "is not connected" };
                    let (client, means, places) =
                        (plan.client, plan.means, shared.state().places.to_string());
                    self.evidence.note(Note::Stuck(format!(
                        "client {client} ({means:?}) {what}: {missing:?} at {places}"
                    )));
                    break;
                }
                sleep(PERIOD).await;
            }
            self.evidence.note(Note::Judged { client: plan.client });
        }
    }

    /// Who is there in truth.
    fn truth(&self, stage: Stage) -> BTreeMap<UserId, usize> {
        let mut truth: BTreeMap<UserId, usize> =
            self.crowd.users.iter().map(|user| (user.clone(), 0)).collect();
        for (plan, _) in &self.crowd.clients {
            if stage < plan.leaves {
                *truth.entry(plan.user.clone()).or_default() += 1;
            }
        }
        truth
    }

    /// Looks until what is told is the truth, or for as long as that may take.
    async fn presence(&self, look: usize, stage: Stage) -> io::Result<()> {
        let began = Instant::now();
        let truth = self.truth(stage);
        loop {
            let listed = self.listed().await?;
            let right = truth.iter().all(|(user, sessions)| {
                listed.get(user).copied().unwrap_or_default() == (*sessions > 0, *sessions)
            });
            if right && listed.keys().all(|user| truth.contains_key(user)) || began.elapsed() > PRESENCE {
                for (user, (online, sessions)) in listed {
                    self.evidence.note(Note::Listed { look, user, online, sessions });
                }
                for (user, sessions) in truth {
                    self.evidence.note(Note::Truth { look, user, sessions });
                }
                return Ok(());
            }
            sleep(PERIOD).await;
        }
    }

    /// Whether each user is said to be online, and with how many sessions.
    async fn listed(&self) -> io::Result<BTreeMap<UserId, (bool, usize)>> {
        let mut listed: BTreeMap<UserId, (bool, usize)> = BTreeMap::new();
        let name = |text: &str| UserId::new(text).map_err(io::Error::other);
        let mut page = Page { limit: Some(PAGE), after: None };
        loop {
            let users = self.api.users(Some(true), &page).await.map_err(io::Error::other)?;
            for user in users.users {
                listed.entry(name(&user.id)?).or_default().0 = user.online;
            }
            page.after = users.next;
            if page.after.is_none() {
                break;
            }
        }
        loop {
            let sessions = self.api.sessions(None, &page).await.map_err(io::Error::other)?;
            for session in sessions.sessions {
                listed.entry(name(&session.user)?).or_default().1 += 1;
            }
            page.after = sessions.next;
            if page.after.is_none() {
                return Ok(listed);
            }
        }
    }

    /// The receipts of some pushes from all parts of the run.
    async fn receipts(&self) -> io::Result<()> {
        let losses: Vec<(u64, u64)> = self.evidence.picked(|(_, note)| match note {
            Note::Loss { since_ms, until_ms } => Some((*since_ms, *until_ms)),
            _ => None,
        });
        // What the engine itself may have lost cannot be asked for.
        let in_doubt = |ms: u64| losses.iter().any(|(since, until)| (*since..=*until).contains(&ms));
        let pushes: Vec<(Id, String)> = self.evidence.picked(|(ms, note)| match note {
            Note::Accepted { id, push: Some(push), .. } if !in_doubt(*ms) => Some((*id, push.clone())),
            _ => None,
        });
        let step = pushes.len().div_ceil(RECEIPTS_MAX).max(1);
        for (id, push) in pushes.into_iter().step_by(step) {
            let receipts = self.api.receipts(&push, &Page { limit: Some(PAGE), after: None }).await;
            let receipts = match receipts {
                Ok(receipts) => receipts,
                Err(error) => {
                    self.evidence.note(Note::Broken(format!("the receipts of message {id}: {error}")));
                    continue;
                }
            };
            for receipt in receipts.receipts {
                let user = UserId::new(&receipt.user).map_err(io::Error::other)?;
                self.evidence.note(Note::Receipt { id, user, state: receipt.state });
            }
        }
        Ok(())
    }
}
