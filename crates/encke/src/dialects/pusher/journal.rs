//! It is written down in time where the clients stand that are here, so that a server that is killed leaves
//! their places as well: for each browser or user at most every second, as far as they have moved. What was
//! acknowledged after the last time is sent again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use encke_engine::Mode;
use encke_proto::{ChannelName, Position, UserId};
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use super::{
    application::Application,
    living::{Due, Living},
    place_records::{What, here_log, last, run_log, write},
};
use crate::{app::App, http::refusal::Refused};

/// How often it is looked what is to be written.
const LOOK: Duration = Duration::from_millis(100);
/// The most that is written in that time: of so many browsers and users.
const WRITES_MAX: usize = 100;
/// How often it is written that the run goes on, in milliseconds.
const LIVES_EVERY_MS: u64 = 10_000;
/// The most runs that ended of which is remembered when.
const ENDED_MAX: usize = 1_024;

/// When runs wrote last that they go on, of those that do not any more, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct EndedRuns(Mutex<HashMap<String, u64>>);

/// Writes down where clients stand, as long as the server runs and they are here.
async fn run(living: Weak<Living>, app: Weak<App>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lives_ms = None;
    loop {
        ticks.tick().await;
        let (Some(living), Some(app)) = (living.upgrade(), app.upgrade()) else { return };
        let now_ms = app.now().mono_ms;
        if lives_ms.is_none_or(|lives_ms| now_ms >= lives_ms + LIVES_EVERY_MS) {
            let applications = living.renew(now_ms);
            if !applications.is_empty() {
                lives_ms = Some(now_ms);
            }
            for application in applications {
                let log = run_log(&application, &living.run);
                report(&write(&app, &application, &log, What::Lives).await);
            }
        }
        let due = living.take_due(WRITES_MAX, now_ms);
        join_all(due.into_iter().map(|due| write_down(&app, &living, due))).await;
    }
}

/// Whether what is written is there when this process is not any more.
pub(super) fn outlives(app: &App) -> bool {
    app.engine.mode() != Mode::Memory || app.sessions.nodes().is_some()
}

async fn write_down(app: &App, living: &Living, due: Due) {
    let Due { log, application, is_named, clients } = due;
    let written = async {
        if is_named {
            write(app, &application, &log, What::Run(living.run.clone())).await?;
        }
        write(app, &application, &here_log(&application, &living.run, &log), What::Here(clients)).await
    };
    let written = written.await;
    if written.is_err() {
        living.failed(&log);
    }
    report(&written);
}

fn report(written: &Result<(), Refused>) {
    if let Err(Refused(refusal)) = written {
        tracing::debug!(error = %refusal.message, "where clients stand is written later");
    }
}

impl EndedRuns {
    /// Where clients stood in a channel whose server ended without a word: those whose places are kept in
    /// `log`, if it still ran at `since_ms`.
    pub(super) async fn stood(
        &self,
        app: &App,
        application: &Application,
        run: &str,
        (log, channel): (&ChannelName, &ChannelName),
        since_ms: u64,
    ) -> Result<Vec<(UserId, Position)>, Refused> {
        let is_over = |lived_ms: u64| lived_ms + LIVES_EVERY_MS < since_ms;
        if self.lived(run).is_some_and(is_over) {
            return Ok(Vec::new());
        }
        let lived = last(app, application, &run_log(application, run)).await?;
        let lived_ms = lived.map(|record| record.at_ms);
        if let Some(lived_ms) = lived_ms.filter(|lived_ms| is_over(*lived_ms)) {
            self.remember(run, lived_ms);
            return Ok(Vec::new());
        }
        let record = last(app, application, &here_log(application, run, log)).await?;
        let Some(record) = record.filter(|record| lived_ms.is_some() || record.at_ms >= since_ms) else {
            return Ok(Vec::new());
        };
        let What::Here(clients) = record.what else { return Ok(Vec::new()) };
        let at = |(client, standing): (UserId, Vec<(ChannelName, Position)>)| {
            standing.into_iter().find(|(log, _)| log == channel).map(|(_, at)| (client, at))
        };
        Ok(clients.into_iter().filter_map(at).collect())
    }

    fn lived(&self, run: &str) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).copied()
    }

    fn remember(&self, run: &str, lived_ms: u64) {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= ENDED_MAX {
            ended.clear();
        }
        ended.insert(run.to_owned(), lived_ms);
    }
}

/// Begins to write, for a server that has a runtime.
pub(super) fn start(app: &Arc<App>, living: &Arc<Living>) {
    if !outlives(app) {
        return;
    }
    let (stopping, work) = (app.stopping.clone(), run(Arc::downgrade(living), Arc::downgrade(app)));
    app.supervisor.spawn("pusher places", async move {
        tokio::select! {
            () = work => {}
            () = stopping.begun() => {}
        }
    });
}
