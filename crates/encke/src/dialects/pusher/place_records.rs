//! What is written down of the places of clients: who has left and stood where, which places others have
//! taken, and at which runs of servers they are, should one be killed. Only this server's own words count,
//! so each record is signed with the application's secret; a log is named by a digest, since what it is named
//! by entitles to the places.

use encke_engine::{
    Append, HERE_LOGS, PLACE_LOGS, PLACES_MAX, PageLimit, RUN_LOG_MESSAGES, RUN_LOGS, ReadFrom, Targets,
};
use encke_proto::{Body, ChannelName, ErrorCode, MessageId, Position, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use super::application::Application;
use crate::{app::App, http::refusal::Refused, random};

/// All records of a log.
const RECORDS: PageLimit = PageLimit { messages: PLACES_MAX, bytes: 4 << 20 };
/// All of a log of runs.
const RUNS: PageLimit = PageLimit { messages: RUN_LOG_MESSAGES, bytes: 1 << 16 };
/// The last one.
const LAST: PageLimit = PageLimit { messages: 1, bytes: 1 << 20 };

/// Where a client stands, by the logs of the channels.
pub(super) type Standing = Vec<(ChannelName, Position)>;

/// A record, as it is signed.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    /// The log that it is in, by its name: an internal one, which is not read as a channel's from outside.
    log: String,
    /// When that was, in milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) what: What,
}

#[cfg(test)]
impl Record {
    /// One of no log.
    pub(super) fn for_test(at_ms: u64, what: What) -> Self {
        Self { log: String::new(), at_ms, what }
    }
}

/// What is said in a record.
#[derive(Serialize, Deserialize)]
pub(super) enum What {
    /// A client is gone, and stood here.
    Left(UserId, Standing),
    /// Its place in this channel is another's now, also if it leaves one later.
    Taken(UserId, ChannelName),
    /// Clients of this browser or user are or were served by these runs of servers, which write down
    /// elsewhere where they stand; each with when that was said first or again, in milliseconds since 1970.
    Runs(Vec<(String, u64)>),
    /// Those stand here.
    Here(Vec<(UserId, Standing)>),
    /// The run goes on.
    Lives,
}

/// Writes a record of what is now.
pub(super) async fn write(
    app: &App,
    application: &Application,
    log: &ChannelName,
    what: What,
) -> Result<(), Refused> {
    write_of(app, application, log, app.now().wall.0, what).await
}

/// Writes a record of what was then.
pub(super) async fn write_of(
    app: &App,
    application: &Application,
    log: &ChannelName,
    at_ms: u64,
    what: What,
) -> Result<(), Refused> {
    let time = app.now().wall;
    let record = Record { log: log.as_str().to_owned(), at_ms, what };
    let text = application.places.write(&record).ok_or_else(|| Refused::from(ErrorCode::Internal))?;
    let data = to_raw_value(&text).map_err(|_| Refused::from(ErrorCode::Internal))?;
    let append = Append {
        id: MessageId::fresh(time, random::pooled_bits()?),
        key: None,
        targets: Targets::Channels(vec![log.clone()]),
        body: Body::Data(data.into()),
        from: None,
        time,
        expires: None,
        trace: None,
    };
    app.engine.append(append).await?;
    Ok(())
}

/// All records of a log, in order.
pub(super) async fn all(
    app: &App,
    application: &Application,
    log: &ChannelName,
) -> Result<Vec<Record>, Refused> {
    read(app, application, log, RECORDS).await
}

/// All records of a log of runs, in order.
pub(super) async fn named_runs(
    app: &App,
    application: &Application,
    log: &ChannelName,
) -> Result<Vec<Record>, Refused> {
    read(app, application, log, RUNS).await
}

/// The last record of a log.
pub(super) async fn last(
    app: &App,
    application: &Application,
    log: &ChannelName,
) -> Result<Option<Record>, Refused> {
    Ok(read(app, application, log, LAST).await?.pop())
}

async fn read(
    app: &App,
    application: &Application,
    log: &ChannelName,
    limit: PageLimit,
) -> Result<Vec<Record>, Refused> {
    let page = app.engine.read(log, ReadFrom::Before(u64::MAX), limit).await?;
    let records = page.entries.iter().filter_map(|entry| {
        let Body::Data(data) = &entry.message().body else { return None };
        let text = serde_json::from_str::<String>(data.get()).ok()?;
        application.places.read::<Record>(&text).filter(|record| record.log == log.as_str())
    });
    Ok(records.collect())
}

/// The log for the places of a browser or a user of an application: an internal channel, so that no client
/// can follow it or write to it.
pub(super) fn log(application: &Application, whose: &[&str]) -> ChannelName {
    named(PLACE_LOGS, application, whose)
}

/// The log in which a run writes where clients stand whose places are kept in `log` once they leave.
pub(super) fn here_log(application: &Application, run: &str, log: &ChannelName) -> ChannelName {
    named(HERE_LOGS, application, &["here", run, log.as_str()])
}

/// The log in which runs say that they have clients whose places are kept in `log` once they leave.
pub(super) fn runs_log(application: &Application, log: &ChannelName) -> ChannelName {
    named(RUN_LOGS, application, &["runs", log.as_str()])
}

/// The log in which a run says that it goes on.
pub(super) fn run_log(application: &Application, run: &str) -> ChannelName {
    named(HERE_LOGS, application, &["run", run])
}

fn named(prefix: &str, application: &Application, parts: &[&str]) -> ChannelName {
    let mut digest = Sha256::new();
    for part in [application.settings.id.as_str()].iter().chain(parts) {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    let text: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    ChannelName::internal(&format!("{prefix}pusher/{text}"))
}
