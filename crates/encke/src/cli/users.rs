//! `encke users`

use encke_client::{Page, User};

use super::matching::MatchingArgs;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show the users that the server knows
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke users --match smith
  encke users --online --prefix eu- --count")]
pub(crate) struct Args {
    /// Only those who are online
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    matching: MatchingArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (matching, online) = (args.matching.asked(), args.online.then_some(true));
    if args.matching.count {
        let one = Page { limit: Some(1), after: None };
        let users = api.users_matching(&matching, online, &one).await?;
        return output::total(&args.output, users.total);
    }
    let mut table = output::Table::new(&["USER", "SESSIONS", "FIRST SEEN", "LAST SEEN"]);
    let mut page = Page::default();
    loop {
        let users = api.users_matching(&matching, online, &page).await?;
        if args.output.is_text() {
            table.print(&users.users.into_iter().map(row).collect::<Vec<_>>())?;
        } else {
            users.users.iter().try_for_each(output::json)?;
        }
        if users.next.is_none() {
            return Ok(());
        }
        page.after = users.next;
    }
}

/// A user as a row of a table.
pub(super) fn row(user: User) -> Vec<String> {
    let (first_seen, last_seen) = (user.first_seen.unwrap_or_default(), user.last_seen.unwrap_or_default());
    vec![user.id, user.sessions.to_string(), first_seen, last_seen]
}
