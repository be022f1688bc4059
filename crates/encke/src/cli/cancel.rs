//! `encke cancel`

use super::push::count;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Cancel a push: users who have not got it do not get it any more
///
/// Who has got it keeps it. Ends with 1 when there is no such push.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The push, as `encke push` prints it
    #[arg(value_name = "ID")]
    push: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let cancelled = args.server.api()?.cancel(&args.push).await?;
    if args.output.is_text() {
        output::line(&format!("cancelled for {}", count(cancelled, "user")))
    } else {
        output::json(&serde_json::json!({ "cancelled": cancelled }))
    }
}
