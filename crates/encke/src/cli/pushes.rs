//! `encke pushes`

use encke_client::{Page, PastPush};

use super::receipts::counted;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// How many pushes are shown when nothing is said.
const LAST: u32 = 20;
/// The most that the server gives at a time.
const PAGE: u32 = 100;

/// Show which pushes were accepted, the newest first, and what became of each
///
/// They are by whatever key and node, for as long as there are receipts of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke pushes
  encke pushes --last 200 --json")]
pub(crate) struct Args {
    /// The last so many pushes
    #[arg(long, value_name = "N", default_value_t = LAST)]
    last: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let mut table = output::Table::new(&["PUSH", "TIME", "RECEIPTS", "WHAT"]);
    let (mut left, mut after) = (args.last, None);
    while left > 0 {
        let page = api.pushes(&Page { limit: Some(left.min(PAGE)), after }).await?;
        left = left.saturating_sub(u32::try_from(page.pushes.len()).unwrap_or(u32::MAX));
        if args.output.is_text() {
            table.print(&page.pushes.into_iter().map(row).collect::<Vec<_>>())?;
        } else {
            page.pushes.iter().try_for_each(output::json)?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

fn row(push: PastPush) -> Vec<String> {
    let what = match (push.url, push.data) {
        (Some(url), _) => url,
        // What was cut is text already.
        (None, Some(serde_json::Value::String(text))) if push.cut => text,
        (None, data) => data.unwrap_or_default().to_string(),
    };
    let what = if push.cut { what + "…" } else { what };
    vec![push.id, push.time, counted(&push.totals), what]
}
