//! `encke close`

use encke_client::CloseTarget;

use super::push::count;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// End sessions on purpose: their clients do not come back by themselves
///
/// Ends with 1 when there was none, and no user to be kept away.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["user", "session"])))]
#[command(after_help = "Examples:
  encke close --user alice --reason \"logged out\"
  encke close --user mallory --ban 3600")]
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
    /// Keep the user away for so many seconds; 0 ends that
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=315_360_000))]
    ban: Option<u64>,
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
    let (api, reason) = (args.server.api()?, args.reason.as_deref());
    let closed = match args.ban {
        Some(ban_s) => api.ban(&target, reason, ban_s).await?,
        None => api.close(&target, reason, false).await?,
    };
    if args.output.is_text() {
        if closed > 0 {
            output::line(&format!("closed {}", count(closed, "session")))?;
        }
    } else {
        output::json(&serde_json::json!({ "closed": closed }))?;
    }
    // A user who is not here is kept away all the same.
    let is_ban = args.ban.is_some() && matches!(target, CloseTarget::User(_));
    if closed > 0 || is_ban { Ok(()) } else { Err(CliError::NothingClosed(name)) }
}
