//! `encke push`

use std::collections::HashMap;
use std::time::Duration;

use encke_client::{Api, Page, Push, ReceiptState, Target};
use serde_json::value::RawValue;

use super::server::ApiArgs;
use super::{CliError, output};

/// How often receipts are asked for: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Push a page or a message to users
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "all"])))]
#[command(group(clap::ArgGroup::new("content").required(true).args(["url", "data"])))]
pub(crate) struct Args {
    /// To these users
    #[arg(long, value_name = "USER", num_args = 1..)]
    to: Vec<String>,
    /// To all users that the server knows
    #[arg(long)]
    all: bool,
    /// A page for them to show: http or https
    #[arg(long)]
    url: Option<String>,
    /// A message: any JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    data: Option<Box<RawValue>>,
    /// Not delivered after this many seconds [default: the server's push_ttl_s]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl: Option<u64>,
    /// Show receipts as they come in, until each user has got the push or never will
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ApiArgs,
}

/// Reads JSON as it is written.
pub(crate) fn json(text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("this is not JSON ({error}); a text needs quotes of its own: '\"hello\"'"))
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let target = if args.all { Target::All } else { Target::Users(args.to) };
    let mut push = match (args.url, args.data) {
        (Some(url), _) => Push::page(target, url),
        (None, data) => Push::data(target, &data)?,
    };
    if let Some(ttl) = args.ttl {
        push = push.ttl_s(ttl);
    }
    let api = args.server.api()?;
    let accepted = api.push(&push).await?;
    if output::is_terminal() {
        let (id, mode) = (&accepted.id, &accepted.mode);
        output::line(&format!("push {id} accepted ({mode}) for {}", count(accepted.accepted, "user")))?;
    } else {
        output::json(&accepted)?;
    }
    if args.wait { wait(&api, &accepted.id).await } else { Ok(()) }
}

/// `1 user`, `2 users`
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

async fn wait(api: &Api, push: &str) -> Result<(), CliError> {
    let mut seen: HashMap<String, ReceiptState> = HashMap::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let (mut settled, mut news) = (true, false);
        let mut page = Page::default();
        loop {
            let receipts = api.receipts(push, &page).await?;
            for receipt in receipts.receipts {
                settled &= receipt.state.is_settled();
                if seen.insert(receipt.user.clone(), receipt.state) == Some(receipt.state) {
                    continue;
                }
                news = true;
                if output::is_terminal() {
                    output::line(&format!("{}  {}  {}", receipt.time, receipt.state, receipt.user))?;
                } else {
                    output::json(&receipt)?;
                }
            }
            if receipts.next.is_none() {
                break;
            }
            page.after = receipts.next;
        }
        if settled {
            return Ok(());
        }
        pause = if news { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}
