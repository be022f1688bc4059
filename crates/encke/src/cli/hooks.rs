//! `encke hooks`

use clap::Subcommand;
use encke_client::{EndpointFailure, HookDecisions, HookEvents, HooksStatus};

use super::server::ApiArgs;
use super::{CliError, output, output::OutputArgs};

/// Look after the application's endpoint
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(StatusArgs),
}

/// Show how the application's endpoint does: whether it decides, and which events it has not taken
#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ApiArgs,
}

pub(crate) async fn run(args: Args) -> Result<(), CliError> {
    let Command::Status(args) = args.command;
    let status = args.server.api()?.hooks().await?;
    if !args.output.is_text() {
        return output::json(&status);
    }
    lines(&status).iter().try_for_each(|line| output::line(line))
}

fn lines(status: &HooksStatus) -> Vec<String> {
    let HooksStatus { decisions, events, webhooks, silent, .. } = status;
    let mut lines: Vec<String> = decisions.iter().map(decided).collect();
    lines.extend(events.as_ref().map(|events| delivered("events    ", events)));
    lines.extend(webhooks.iter().map(|one| delivered(&format!("webhooks   {}, by", one.of), &one.delivery)));
    if lines.is_empty() {
        lines.push("the endpoint decides nothing, and no node delivers events".to_owned());
    }
    if *silent > 0 {
        lines.push(format!("{silent} nodes do not answer"));
    }
    lines
}

fn decided(decisions: &HookDecisions) -> String {
    let HookDecisions { node, circuit_breaker, failures, last_failure, .. } = decisions;
    format!(
        "decisions  {node}: circuit breaker {}, {failures} failures in a row{}",
        circuit_breaker.replace('_', " "),
        failed(last_failure.as_ref())
    )
}

fn delivered(what: &str, events: &HookEvents) -> String {
    let HookEvents { node, cursor, lag, last_failure, next_try, .. } = events;
    let next = next_try.as_ref().map(|time| format!("; tried again at {time}")).unwrap_or_default();
    format!("{what} {node}: taken up to {cursor}, {lag} waiting{}{next}", failed(last_failure.as_ref()))
}

fn failed(last: Option<&EndpointFailure>) -> String {
    last.map(|EndpointFailure { time, error, .. }| format!("; last failure at {time}: {error}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_told_in_a_line_each() {
        let status: HooksStatus = serde_json::from_value(serde_json::json!({
            "decisions": [
                {"node": "a", "circuit_breaker": "half_open", "failures": 5,
                 "last_failure": {"time": "T1", "error": "the answer has the status 500"}},
            ],
            "events": {"node": "b", "cursor": 7, "lag": 2, "last_failure": null, "next_try": "T2"},
            "webhooks": [{"of": "pusher:1", "node": "b", "cursor": 3, "lag": 0, "last_failure": null,
                          "next_try": null}],
            "silent": 1,
        }))
        .unwrap();
        assert_eq!(
            lines(&status),
            [
                "decisions  a: circuit breaker half open, 5 failures in a row; last failure at T1: the answer has \
                 the status 500",
                "events     b: taken up to 7, 2 waiting; tried again at T2",
                "webhooks   pusher:1, by b: taken up to 3, 0 waiting",
                "1 nodes do not answer",
            ]
        );
        let none = serde_json::json!({"decisions": [], "events": null, "silent": 0});
        let none: HooksStatus = serde_json::from_value(none).unwrap();
        assert_eq!(lines(&none).len(), 1);
    }
}
