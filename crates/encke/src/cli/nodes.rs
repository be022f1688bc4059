//! `encke nodes`

use encke_client::Node;

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Show the nodes there are, and how each is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let nodes = args.server.api()?.nodes().await?;
    if !args.output.is_text() {
        nodes.nodes.iter().try_for_each(output::json)?;
        return nodes.silent.iter().try_for_each(output::json);
    }
    let mut table = output::Table::new(&[
        "NODE",
        "VERSION",
        "UP",
        "ADDRESS",
        "CONNECTIONS",
        "SESSIONS",
        "USERS",
        "DELIVERED/S",
        "P99 MS",
        "LAG",
        "ERRORS",
    ]);
    let rows: Vec<_> = nodes.nodes.into_iter().map(row).collect();
    table.print(&rows)?;
    for silent in &nodes.silent {
        output::note(&format!("{} ({}) does not answer: {}", silent.node, silent.id, silent.error));
    }
    Ok(())
}

fn row(node: Node) -> Vec<String> {
    vec![
        node.node,
        node.version,
        uptime(node.uptime_s),
        node.addresses.join(","),
        node.connections.to_string(),
        node.sessions.to_string(),
        node.users.to_string(),
        format!("{:.1}", node.rates.deliveries),
        node.latency_ms.map_or_else(|| "-".into(), |latency| format!("{:.1}", latency.p99)),
        node.lag.to_string(),
        node.totals.errors.to_string(),
    ]
}

/// The two largest parts of a time.
pub(crate) fn uptime(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_largest_parts() {
        let told = [0, 59, 60, 3_599, 3_600, 90_061].map(uptime);
        assert_eq!(told, ["0s", "59s", "1m0s", "59m59s", "1h0m", "1d1h"]);
    }
}
