//! `encke publish`

use encke_client::Publish;
use serde_json::value::RawValue;

use super::push::json;
use super::server::ApiArgs;
use super::{CliError, output};

/// Publish a message to a channel
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel
    #[arg(long)]
    channel: String,
    /// The message: any JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    data: Box<RawValue>,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let publish = Publish::to(args.channel, &args.data)?;
    let published = args.server.api()?.publish(&publish).await?;
    for position in &published.positions {
        if output::is_terminal() {
            output::line(&format!(
                "message {} accepted ({}) in {} at {}",
                published.id, published.mode, position.channel, position.offset
            ))?;
        } else {
            output::json(&serde_json::json!({
                "id": published.id, "mode": published.mode,
                "channel": position.channel, "offset": position.offset, "epoch": position.epoch,
            }))?;
        }
    }
    Ok(())
}
