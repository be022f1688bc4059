//! `encke push`

use std::collections::HashMap;
use std::time::Duration;

use super::message::MessageArgs;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};
use encke_client::{Api, Page, Push, ReceiptState, Show, Target};

/// How often receipts are asked for: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Push a page or a message to users, or many from the standard input
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "all", "online", "stream"])))]
#[command(group(clap::ArgGroup::new("content").required(true).args([
    "url", "data", "file", "stdin", "stream"
])))]
#[command(after_help = "Examples:
  encke push --to alice --url https://example.com/
  encke push --to alice bob --data '{\"text\":\"hello\"}' --ttl 3600
  encke push --online --file message.json --wait=10
  encke push --stream < pushes.ndjson")]
pub(crate) struct Args {
    /// To these users, with spaces between them
    #[arg(long, value_name = "USER", num_args = 1.., value_parser = user)]
    to: Vec<String>,
    /// To all users that the server knows
    #[arg(long)]
    all: bool,
    /// To all users who are online now
    #[arg(long)]
    online: bool,
    /// A page for them to show: http or https
    #[arg(long)]
    url: Option<String>,
    /// In what they are to show the page: in a frame of theirs, or in a window of its own, for pages that
    /// forbid frames (`encke check-url` tells)
    #[arg(long, value_name = "WHERE", value_parser = show, requires = "url")]
    show: Option<Show>,
    #[command(flatten)]
    message: MessageArgs,
    /// Push what comes on the standard input: a push a line, as JSON in the form of POST /api/push, such as
    /// {"to":["alice"],"data":1}. Its result is printed as a line of JSON, in the order of the lines. Ends
    /// with 1 when any was not accepted
    #[arg(long, conflicts_with_all = ["id", "ttl", "wait"])]
    stream: bool,
    /// The idempotency key: the same one makes one push, however often it is sent [default: a new one]
    #[arg(long, value_name = "KEY")]
    id: Option<String>,
    /// Not delivered after this many seconds [default: the server's push_ttl_s]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl: Option<u64>,
    /// Show receipts as they come in, until each user has got the push or never will, but not longer than so
    /// many seconds, if they are given: ends with 1 when they are over
    #[arg(
        long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000),
    )]
    wait: Option<Option<u64>>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

/// Reads a user. One id may hold a comma, but hardly anything else is meant by one.
fn user(text: &str) -> Result<String, String> {
    if text.contains(',') {
        let users = text.split(',').map(str::trim).collect::<Vec<_>>().join(" ");
        return Err(format!("users have spaces between them: --to {users}"));
    }
    if text == "-" {
        return Err("a `-` for the standard input stands before --to".to_owned());
    }
    Ok(text.to_owned())
}

fn show(text: &str) -> Result<Show, String> {
    [Show::Frame, Show::Window]
        .into_iter()
        .find(|show| show.name() == text)
        .ok_or_else(|| "either frame or window".to_owned())
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    if args.stream {
        return super::push_stream::run(&args.server.api()?).await;
    }
    let target = match (args.all, args.online) {
        (true, _) => Target::All,
        (_, true) => Target::Online,
        _ => Target::Users(args.to),
    };
    let mut push = match (args.url, args.message.read()?) {
        (Some(url), _) => Push::page(target, url),
        (None, data) => Push::data(target, &data)?,
    };
    if let Some(show) = args.show {
        push = push.show(show);
    }
    if let Some(ttl) = args.ttl {
        push = push.ttl_s(ttl);
    }
    if let Some(id) = args.id {
        push = push.id(id);
    }
    let api = args.server.api()?;
    let accepted = api.push(&push).await?;
    if args.output.is_text() {
        let (id, mode) = (&accepted.id, &accepted.mode);
        output::line(&format!("push {id} accepted ({mode}) for {}", count(accepted.accepted, "user")))?;
    } else {
        output::json(&accepted)?;
    }
    let mut receipts = Receipts {
        api,
        push: accepted.id,
        users: accepted.accepted,
        seen: HashMap::new(),
        as_text: args.output.is_text(),
    };
    match args.wait {
        None => Ok(()),
        Some(None) => receipts.wait().await,
        Some(Some(within_s)) => {
            match tokio::time::timeout(Duration::from_secs(within_s), receipts.wait()).await {
                Ok(done) => done,
                Err(_) => Err(CliError::StillQueued { within_s, queued: receipts.missing() }),
            }
        }
    }
}

/// `1 user`, `2 users`
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The receipts of a push, as far as they were shown.
struct Receipts {
    api: Api,
    push: String,
    /// For how many users it is.
    users: u64,
    seen: HashMap<String, ReceiptState>,
    as_text: bool,
}

impl Receipts {
    /// Shows what is new until all are settled.
    async fn wait(&mut self) -> Result<(), CliError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let news = self.look().await?;
            if self.seen.values().all(|state| state.is_settled()) {
                return Ok(());
            }
            pause = if news { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            tokio::time::sleep(pause).await;
        }
    }

    /// How many users are not known to have got it yet.
    fn missing(&self) -> u64 {
        let settled = self.seen.values().filter(|state| state.is_settled()).count() as u64;
        self.users.saturating_sub(settled)
    }

    /// Asks once, and tells whether anything was new.
    async fn look(&mut self) -> Result<bool, CliError> {
        let (mut news, mut page) = (false, Page::default());
        loop {
            let receipts = self.api.receipts(&self.push, &page).await?;
            for receipt in receipts.receipts {
                if self.seen.insert(receipt.user.clone(), receipt.state) == Some(receipt.state) {
                    continue;
                }
                news = true;
                if self.as_text {
                    output::line(&format!("{}  {}  {}", receipt.time, receipt.state, receipt.user))?;
                } else {
                    output::json(&receipt)?;
                }
            }
            if receipts.next.is_none() {
                return Ok(news);
            }
            page.after = receipts.next;
        }
    }
}
