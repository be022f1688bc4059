//! `encke channels`

use encke_client::Page;

use super::matching::MatchingArgs;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show the public channels that have a log, with their extent and how many sessions follow them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    matching: MatchingArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let api = args.server.api()?;
    let matching = args.matching.asked();
    if args.matching.count {
        let one = Page { limit: Some(1), after: None };
        let channels = api.channels_matching(&matching, &one).await?;
        return output::total(&args.output, channels.total);
    }
    let mut table = output::Table::new(&["CHANNEL", "SUBSCRIBERS", "OLDEST", "NEWEST", "EPOCH"]);
    let mut page = Page::default();
    loop {
        let channels = api.channels_matching(&matching, &page).await?;
        if args.output.is_text() {
            let rows = channels.channels.into_iter().map(|channel| {
                let (tail, head) = (channel.tail.to_string(), channel.head.to_string());
                vec![channel.channel, channel.subscribers.to_string(), tail, head, channel.epoch]
            });
            table.print(&rows.collect::<Vec<_>>())?;
        } else {
            channels.channels.iter().try_for_each(output::json)?;
        }
        if channels.next.is_none() {
            return Ok(());
        }
        page.after = channels.next;
    }
}
