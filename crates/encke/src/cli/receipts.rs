//! `encke receipts`

use encke_client::{Page, Receipt};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show how far a push has come with each user
///
/// Ends with 1 when there is no such push.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke receipts 7q2m4x
  encke receipts 7q2m4x --json | grep queued")]
pub(crate) struct Args {
    /// The push, as `encke push` prints it
    #[arg(value_name = "PUSH-ID")]
    push: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let mut table = output::Table::new(&["USER", "STATE", "SINCE"]);
    let mut page = Page::default();
    loop {
        let receipts = api.receipts(&args.push, &page).await?;
        if args.output.is_text() {
            let row = |receipt: Receipt| vec![receipt.user, receipt.state.to_string(), receipt.time];
            table.print(&receipts.receipts.into_iter().map(row).collect::<Vec<_>>())?;
        } else {
            receipts.receipts.iter().try_for_each(output::json)?;
        }
        if receipts.next.is_none() {
            return Ok(());
        }
        page.after = receipts.next;
    }
}
