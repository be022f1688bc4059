//! `encke history`

use encke_client::{Api, Gap, Message};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// How many messages are shown when nothing is said.
const LAST: u32 = 100;
/// How many a page has, with `--all`.
const PAGE: u32 = 1_000;

/// Show the messages that are kept of a channel, oldest first
///
/// What is not kept any more is told on stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke history news
  encke history news --last 1 --json
  encke history @alice --all > alice.ndjson")]
pub(crate) struct Args {
    /// The channel; @alice is the own channel of the user alice, with what was pushed there
    channel: String,
    /// The last so many messages, up to 1,000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    last: Option<u32>,
    /// Everything that is kept
    #[arg(long, conflicts_with = "last")]
    all: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let mut table = output::Table::new(&["OFFSET", "TIME", "FROM", "MESSAGE"]);
    let mut print = |messages: Vec<Message>, gaps: &[Gap]| {
        gaps.iter().for_each(|gap| output::note(&told(gap)));
        if !args.output.is_text() {
            return messages.iter().try_for_each(|message| output::line(&message.to_json_line()));
        }
        table.print(&messages.into_iter().map(row).collect::<Vec<_>>())
    };
    if args.all {
        return all(&api, &args.channel, &mut print).await;
    }
    let last = api.history_before(&args.channel, None, Some(args.last.unwrap_or(LAST))).await?;
    print(last.messages, &last.gaps)
}

/// Prints page after page until one has no message.
async fn all(
    api: &Api,
    channel: &str,
    print: &mut impl FnMut(Vec<Message>, &[Gap]) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut cursor = None;
    loop {
        let page = api.history(channel, cursor.as_deref(), Some(PAGE)).await?;
        let is_last = page.messages.is_empty();
        print(page.messages, &page.gaps)?;
        if is_last {
            return Ok(());
        }
        cursor = Some(page.cursor);
    }
}

/// The words for messages that are not kept.
pub(super) fn told(gap: &Gap) -> String {
    let to = gap.to.map_or_else(|| "an unknown end".to_owned(), |to| to.to_string());
    format!("gap: messages of {} from {} to {to} are lost", gap.channel, gap.from)
}

fn row(message: Message) -> Vec<String> {
    let data = message.data.as_deref().map(|data| data.get().to_owned());
    let shown = message.url.or(data).unwrap_or_default();
    vec![message.offset.to_string(), message.time, message.from.unwrap_or_default(), shown]
}
