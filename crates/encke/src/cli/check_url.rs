//! `encke check-url`

use encke_client::UrlChecked;

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// See how a page answers the server, and whether it may stand in a frame
///
/// The server has to allow it (`url_checks`). Ends with 0 whatever the page answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  encke check-url https://example.com/")]
pub(crate) struct Args {
    /// An http or https URL
    #[arg(value_name = "URL")]
    url: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let checked = args.server.api()?.check_url(&args.url).await?;
    if args.output.is_text() { output::line(&told(&checked)) } else { output::json(&checked) }
}

/// It for a person.
fn told(checked: &UrlChecked) -> String {
    let UrlChecked { url, problem, status, frames, frame_ancestors, .. } = checked;
    if let Some(problem) = problem {
        return format!("{url} does not answer: {problem}");
    }
    let status = status.map(|status| status.to_string()).unwrap_or_default();
    let frames = match (frames.as_deref(), frame_ancestors) {
        (Some("none"), _) => "no page may show it in a frame".to_owned(),
        (Some("some"), Some(sources)) => format!("in a frame only for {sources}"),
        (Some("some"), None) => "in a frame for its own origin only".to_owned(),
        _ => "any page may show it in a frame".to_owned(),
    };
    format!("{url} answers {status}; {frames}")
}
