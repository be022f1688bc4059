//! `encke revoke`

use encke_client::RevokeTarget;

use super::push::count;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Take tokens back: they are refused from now on, and their sessions end
///
/// Their clients do not come back by themselves. A user comes back with a token that is issued later.
#[derive(Debug, clap::Args)]
#[command(group(
    clap::ArgGroup::new("target").required(true).multiple(true).args(["user", "jti", "before"])
))]
pub(crate) struct Args {
    /// All tokens of this user that were issued until now
    #[arg(long, conflicts_with = "jti")]
    user: Option<String>,
    /// The token with this id
    #[arg(long)]
    jti: Option<String>,
    /// Those that were issued before this time, as 2026-01-02T03:04:05Z; without --user those of all users
    #[arg(long, value_name = "TIME", conflicts_with = "jti")]
    before: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let target = match (args.user, args.jti, args.before) {
        (Some(user), _, before) => RevokeTarget::User { user, before },
        (None, Some(jti), _) => RevokeTarget::Token(jti),
        (None, None, before) => RevokeTarget::Before(before.unwrap_or_default()),
    };
    let closed = args.server.api()?.revoke(&target).await?;
    if args.output.is_text() {
        output::line(&format!("revoked, closed {}", count(closed, "session")))
    } else {
        output::json(&serde_json::json!({ "revoked": true, "closed": closed }))
    }
}
