//! `encke status`

use encke_client::{Lately, Latency, Stats};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show how all nodes together are
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let stats = args.server.api()?.stats().await?;
    if !args.output.is_text() {
        return output::json(&stats);
    }
    lines(&stats).iter().try_for_each(|line| output::line(line))
}

fn lines(stats: &Stats) -> Vec<String> {
    let silent = if stats.silent > 0 { format!(", {} silent", stats.silent) } else { String::new() };
    let totals = stats.totals;
    vec![
        format!("nodes        {}{silent}", stats.nodes),
        format!("connections  {}", stats.connections),
        format!("sessions     {} of {} users", stats.sessions, stats.users),
        format!("lag          {} messages at most", stats.lag),
        format!("last minute  {}", lately(&stats.minute)),
        format!("last hour    {}", lately(&stats.hour)),
        format!(
            "in all       {} pushes, {} publishes, {} deliveries, {} gaps, {} errors",
            totals.pushes, totals.publishes, totals.deliveries, totals.gaps, totals.errors
        ),
    ]
}

fn lately(lately: &Lately) -> String {
    let rates = lately.rates;
    let within = |what: &str, latency: Option<Latency>| {
        latency.map_or_else(String::new, |latency| {
            format!("; {what} within {:.1} ms (p50), {:.1} ms (p99)", latency.p50, latency.p99)
        })
    };
    format!(
        "{:.1} pushes, {:.1} publishes, {:.1} deliveries a second{}{}",
        rates.pushes,
        rates.publishes,
        rates.deliveries,
        within("delivered", lately.latency_ms),
        within("shown", lately.shown_ms)
    )
}
