//! `encke sessions`

use encke_client::{Page, Session};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show the sessions there are
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those of this user
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let as_table = args.output.is_text();
    let mut table = output::Table::new(&[
        "SESSION",
        "USER",
        "TRANSPORT",
        "NODE",
        "SINCE",
        "LAG",
        "CONNECTED",
        "CHANNELS",
    ]);
    let mut page = Page::default();
    loop {
        let sessions = api.sessions(args.user.as_deref(), &page).await?;
        if as_table {
            let rows: Vec<_> = sessions.sessions.into_iter().map(row).collect();
            table.print(&rows)?;
        } else {
            sessions.sessions.iter().try_for_each(output::json)?;
        }
        if sessions.next.is_none() {
            return Ok(());
        }
        page.after = sessions.next;
    }
}

fn row(session: Session) -> Vec<String> {
    vec![
        session.session,
        session.user,
        session.transport.unwrap_or_default(),
        session.node.unwrap_or_default(),
        session.since.unwrap_or_default(),
        session.lag.to_string(),
        if session.connected { "yes" } else { "no" }.to_owned(),
        session.channels.join(","),
    ]
}
