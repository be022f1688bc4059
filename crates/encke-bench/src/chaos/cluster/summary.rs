//! What is said about a run against several nodes.

use std::{fs, io, path::Path};

use super::{
    faults::{Fault, GHOST_MS},
    run::{Outcome, Plan},
    store::Kind,
};
use crate::{
    chaos::{
        setting::Setting,
        summary::{KINDS, commit},
        verdict::Verdict,
    },
    table::replaced,
};

/// The report in Markdown.
#[must_use]
pub fn markdown(setting: &Setting, plan: &Plan, outcome: &Outcome) -> String {
    let (verdict, hand) = (&outcome.verdict, &outcome.hand);
    let mut text = format!(
        "Commit {}, seed {}, {:.0} s, {} nodes, {} subscribers, {} publishers, {:.0} messages/s. Engine: {}.\n\n",
        commit(),
        setting.seed,
        outcome.seconds,
        plan.nodes,
        setting.clients,
        setting.publishers,
        setting.rate,
        plan.kind.words(),
    );
    text.push_str(&judged(verdict));
    text.push_str("\n| done to nodes and engine | times |\n|---|---:|\n");
    for (fault, name) in Fault::ALL {
        if let Some(count) = outcome.faults.get(&fault) {
            text.push_str(&format!("| {name} | {count} |\n"));
        }
    }
    text.push_str(&format!("| all nodes restarted, one after the other, under load | {} |\n", outcome.rolls));
    if hand.subscribers > 0 {
        text.push_str(&format!(
            "| connections for wake-ups that the engine ended | {} |\n",
            hand.subscribers
        ));
    }
    text.push_str(&format!(
        "| connections to the engine that were reset behind a cut | {} |\n",
        outcome.resets
    ));
    let (start, stop) = (outcome.slowest_start.as_secs_f64(), outcome.slowest_stop.as_secs_f64());
    text.push_str(&format!(
        "| lives of nodes (the slowest was up after {start:.2} s, the slowest to stop was gone after {stop:.2} s) | {} |\n",
        outcome.lives
    ));
    text.push_str(&measured(setting, outcome));
    debug_assert_eq!(GHOST_MS, 2_000, "the report names it");
    text.push_str("\n| done to the network | times |\n|---|---:|\n");
    for (name, count) in &outcome.network {
        text.push_str(&format!("| {name} | {count} |\n"));
    }
    text
}

fn judged(verdict: &Verdict) -> String {
    let mut text = String::new();
    text.push_str("| judged | count |\n|---|---:|\n");
    for (name, count) in [
        ("deliveries to applications", verdict.deliveries),
        ("messages that were sent", verdict.invoked),
        ("of them accepted", verdict.accepted),
        ("attempts whose outcome was unknown at first", verdict.unknown),
        ("connections that went on from a cursor, mostly at another node", verdict.resumed),
        ("logins without a cursor, of users who had been away", verdict.logins),
        ("pushes that waited for such a login", verdict.waited),
        ("receipts that were compared", verdict.receipts),
        ("accepted messages, by channel, that the engine itself lost", verdict.lost_by_engine),
        ("GAP: gaps that were told (allowed only to whom the engine lost something)", verdict.gaps),
    ] {
        text.push_str(&format!("| {name} | {count} |\n"));
    }
    for (kind, name) in KINDS {
        text.push_str(&format!("| **{name}** | **{}** |\n", verdict.count(kind)));
    }
    text
}

fn measured(setting: &Setting, outcome: &Outcome) -> String {
    let (silence, hand) = (outcome.verdict.silence, &outcome.hand);
    let mut text = String::new();
    text.push_str("\n| measured | |\n|---|---:|\n");
    let rows = [
        (
            "longest until users of a dead node were offline for all others (bar: 2.00 s)",
            hand.ghosts.1,
            hand.ghosts.0,
            "looks",
        ),
        ("longest until a node that is cut off says so", ms(hand.refused.1), hand.refused.0, "cuts"),
        (
            "rolling restart: longest from accepted to handed over (bar: 2.00 s)",
            silence.accepted_ms,
            silence.deliveries,
            "deliveries",
        ),
        (
            "rolling restart: longest from first sent to handed over",
            silence.sent_ms,
            silence.deliveries,
            "deliveries",
        ),
        ("rolling restart: longest without a connection", silence.away_ms, setting.clients, "clients"),
    ];
    for (name, ms, count, of) in rows {
        if count > 0 {
            text.push_str(&format!("| {name} | {:.2} s ({count} {of}) |\n", ms as f64 / 1000.0));
        }
    }
    text
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Puts the report into the file, in the place of the last one of these servers.
///
/// # Errors
/// When the file cannot be read or written, or has no place for it.
pub fn write(path: &Path, kind: Kind, report: &str) -> io::Result<()> {
    let name = kind.name();
    let marks = [
        format!("<!-- encke-bench chaos {name}: begin -->"),
        format!("<!-- encke-bench chaos {name}: end -->"),
    ];
    fs::write(path, replaced(&fs::read_to_string(path)?, (&marks[0], &marks[1]), &format!("\n{report}\n"))?)
}
