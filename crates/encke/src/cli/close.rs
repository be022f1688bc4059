//! `encke close`

use encke_client::CloseTarget;

use super::push::count;
use super::server::ApiArgs;
use super::{CliError, output};

/// End sessions on purpose: their clients do not come back by themselves
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["user", "session"])))]
pub(crate) struct Args {
    /// Every session of this user
    #[arg(long)]
    user: Option<String>,
    /// This session
    #[arg(long)]
    session: Option<String>,
    /// The reason that the client is told
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let target = match (args.user, args.session) {
        (Some(user), _) => CloseTarget::User(user),
        (None, session) => CloseTarget::Session(session.unwrap_or_default()),
    };
    let closed = args.server.api()?.close(&target, args.reason.as_deref(), false).await?;
    if output::is_terminal() {
        output::line(&format!("closed {}", count(closed, "session")))
    } else {
        output::json(&serde_json::json!({ "closed": closed }))
    }
}
