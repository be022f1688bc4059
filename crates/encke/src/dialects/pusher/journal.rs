//! It is written down in time where the clients stand that are here, so that a server that is killed leaves
//! their places as well: for each browser or user at most every second, as far as they have moved, and before
//! one of them takes the place of another. What was acknowledged after the last time is sent again.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use encke_engine::Mode;
use encke_proto::{ChannelName, Position, UserId};
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use super::{
    application::Application,
    living::{Due, Living},
    parts::Parts,
    place_records::{What, here_log, last, named_runs, run_log, runs_log, write},
};
use crate::{app::App, http::refusal::Refused};

/// How often it is looked what is to be written.
const LOOK: Duration = Duration::from_millis(100);
/// The most that is written in that time: of so many browsers and users. What is written before a place is
/// taken is not among it.
const WRITES_MAX: usize = 100;
/// How often it is written that the run goes on, in milliseconds.
const LIVES_EVERY_MS: u64 = 10_000;
/// The most runs of which it is known that clients of a browser or user were there, the last.
const RUNS_MAX: usize = 8;
/// For how long it is, in milliseconds: longer than places are kept, behind the last time that it is said.
const RUNS_KEPT_MS: u64 = 5_400_000;

/// What writes.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) living: Arc<Living>,
    /// Held while one is written, so that what is true at last is what is written last.
    writing: Parts,
}

impl Journal {
    pub(super) fn new(living: Arc<Living>) -> Self {
        Self { living, writing: Parts::default() }
    }

    /// Writes down where those stand now whose places are kept in a log.
    pub(super) async fn write(&self, app: &App, log: &ChannelName) -> Result<(), Refused> {
        let _writing = self.writing.of(log).lock().await;
        let Some(due) = self.living.begin(log, app.now().mono_ms) else { return Ok(()) };
        let written = self.write_due(app, log, due).await;
        if written.is_err() {
            self.living.failed(log);
        }
        written
    }

    async fn write_due(&self, app: &App, log: &ChannelName, due: Due) -> Result<(), Refused> {
        let Due { application, is_named, clients } = due;
        if is_named {
            self.name(app, &application, log).await?;
        }
        write(app, &application, &here_log(&application, &self.living.run, log), What::Here(clients)).await
    }

    /// Says that clients are here, besides all other runs of which that is known: so it is, however much is
    /// written of their places.
    async fn name(&self, app: &App, application: &Application, log: &ChannelName) -> Result<(), Refused> {
        let mut runs = runs(app, application, log).await?;
        runs.retain(|(run, _)| *run != self.living.run);
        runs.push((self.living.run.clone(), app.now().wall.0));
        let runs = runs.split_off(runs.len().saturating_sub(RUNS_MAX));
        write(app, application, &runs_log(application, log), What::Runs(runs)).await
    }

    async fn say_that_it_lives(&self, app: &App) -> bool {
        let applications = self.living.applications();
        for application in &applications {
            let log = run_log(application, &self.living.run);
            report(&write(app, application, &log, What::Lives).await);
        }
        !applications.is_empty()
    }
}

/// Writes down where clients stand, as long as the server runs and they are here.
async fn run(journal: Weak<Journal>, app: Weak<App>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lives_ms = None;
    loop {
        ticks.tick().await;
        let (Some(journal), Some(app)) = (journal.upgrade(), app.upgrade()) else { return };
        let now_ms = app.now().mono_ms;
        let is_said = lives_ms.is_some_and(|lives_ms| now_ms < lives_ms + LIVES_EVERY_MS);
        if !is_said && journal.say_that_it_lives(&app).await {
            lives_ms = Some(now_ms);
        }
        let due = journal.living.take_due(WRITES_MAX, now_ms);
        join_all(due.iter().map(async |log| report(&journal.write(&app, log).await))).await;
    }
}

/// Whether what is written is there when this process is not any more.
pub(super) fn outlives(app: &App) -> bool {
    app.engine.mode() != Mode::Memory || app.sessions.nodes().is_some()
}

fn report(written: &Result<(), Refused>) {
    if let Err(Refused(refusal)) = written {
        tracing::debug!(error = %refusal.message, "where clients stand is written later");
    }
}

/// The runs at which clients of a browser or user were, the last at the end, each with when that was said.
pub(super) async fn runs(
    app: &App,
    application: &Application,
    log: &ChannelName,
) -> Result<Vec<(String, u64)>, Refused> {
    let since_ms = app.now().wall.0.saturating_sub(RUNS_KEPT_MS);
    let records = named_runs(app, application, &runs_log(application, log)).await?;
    let mut runs: Vec<(String, u64)> = Vec::new();
    for record in records {
        let What::Runs(named) = record.what else { continue };
        for (run, said_ms) in named.into_iter().filter(|(_, said_ms)| *said_ms >= since_ms) {
            match runs.iter_mut().find(|(known, _)| *known == run) {
                Some((_, known_ms)) => *known_ms = said_ms.max(*known_ms),
                None => runs.push((run, said_ms)),
            }
        }
    }
    runs.sort_by_key(|(_, said_ms)| *said_ms);
    Ok(runs.split_off(runs.len().saturating_sub(RUNS_MAX)))
}

/// Where clients stood in a channel whose server ended without a word: those whose places are kept in `log`,
/// if it still ran at `since_ms`. That it did say what it wrote of them, and that it went on, each of this
/// application.
pub(super) async fn stood(
    app: &App,
    application: &Application,
    run: &str,
    (log, channel): (&ChannelName, &ChannelName),
    since_ms: u64,
) -> Result<Vec<(UserId, Position)>, Refused> {
    let Some(here) = last(app, application, &here_log(application, run, log)).await? else {
        return Ok(Vec::new());
    };
    let is_over = |lived_ms: u64| lived_ms + LIVES_EVERY_MS < since_ms;
    if is_over(here.at_ms) {
        let lives = last(app, application, &run_log(application, run)).await?;
        if lives.is_none_or(|lives| is_over(lives.at_ms)) {
            return Ok(Vec::new());
        }
    }
    let What::Here(clients) = here.what else { return Ok(Vec::new()) };
    let at = |(client, standing): (UserId, Vec<(ChannelName, Position)>)| {
        standing.into_iter().find(|(log, _)| log == channel).map(|(_, at)| (client, at))
    };
    Ok(clients.into_iter().filter_map(at).collect())
}

/// Begins to write, for a server that has a runtime.
pub(super) fn start(app: &Arc<App>, journal: &Arc<Journal>) {
    if !outlives(app) {
        return;
    }
    let (stopping, work) = (app.stopping.clone(), run(Arc::downgrade(journal), Arc::downgrade(app)));
    app.supervisor.spawn("pusher places", async move {
        tokio::select! {
            () = work => {}
            () = stopping.begun() => {}
        }
    });
}
