//! `encke who`

use encke_client::Page;

use super::server::ApiArgs;
use super::users::row;
use super::{CliError, output, output::OutputArgs};

/// Show who is online
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let as_table = args.output.is_text();
    let mut table = output::Table::new(&["USER", "SESSIONS", "FIRST SEEN", "LAST SEEN"]);
    let mut page = Page::default();
    loop {
        let users = api.users(Some(true), &page).await?;
        if as_table {
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
