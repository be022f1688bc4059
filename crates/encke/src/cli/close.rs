//! `encke close`

use encke_client::CloseTarget;

use super::push::count;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// End sessions on purpose: their clients do not come back by themselves
///
/// Ends with 1 when there was none.
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
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let (target, name) = match (args.user, args.session) {
        (Some(user), _) => (CloseTarget::User(user.clone()), format!("user {user:?}")),
        (None, session) => {
            let session = session.unwrap_or_default();
            (CloseTarget::Session(session.clone()), format!("session {session:?}"))
        }
    };
    let closed = args.server.api()?.close(&target, args.reason.as_deref(), false).await?;
    if args.output.is_text() {
        if closed > 0 {
            output::line(&format!("closed {}", count(closed, "session")))?;
        }
    } else {
        output::json(&serde_json::json!({ "closed": closed }))?;
    }
    if closed > 0 { Ok(()) } else { Err(CliError::NothingClosed(name)) }
}
