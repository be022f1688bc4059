//! `encke publish`

use super::message::MessageArgs;
use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};
use encke_client::Publish;

/// Publish a message to a channel
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("content").required(true).args(["data", "file", "stdin"])))]
#[command(after_help = "Examples:
  encke publish --channel news --data '{\"text\":\"hello\"}'
  date +%s | encke publish --channel clock -")]
pub(crate) struct Args {
    /// The channel
    #[arg(long)]
    channel: String,
    #[command(flatten)]
    message: MessageArgs,
    /// The idempotency key: the same one makes one message, however often it is sent [default: a new one]
    #[arg(long, value_name = "KEY")]
    id: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let data = args.message.read()?.ok_or_else(|| CliError::Usage("--data or --file is missing".into()))?;
    let mut publish = Publish::to(args.channel, &data)?;
    if let Some(id) = args.id {
        publish = publish.id(id);
    }
    let published = args.server.api()?.publish(&publish).await?;
    for position in &published.positions {
        if args.output.is_text() {
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
