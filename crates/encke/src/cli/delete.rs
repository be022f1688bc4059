//! `encke delete`

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Delete a user or a channel with all that is kept of it
///
/// The sessions of a user end, and their clients do not come back by themselves. Ends with 1 when there is no
/// such user or channel.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["user", "channel"])))]
pub(crate) struct Args {
    /// This user: sessions, pushed messages, receipts
    #[arg(long)]
    user: Option<String>,
    /// This public channel with its history
    #[arg(long)]
    channel: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let name = match (args.user, args.channel) {
        (Some(user), _) => {
            api.delete_user(&user).await?;
            format!("user {user:?}")
        }
        (None, channel) => {
            let channel = channel.unwrap_or_default();
            api.delete_channel(&channel).await?;
            format!("channel {channel:?}")
        }
    };
    if args.output.is_text() {
        output::line(&format!("deleted {name}"))
    } else {
        output::json(&serde_json::json!({ "deleted": true }))
    }
}
