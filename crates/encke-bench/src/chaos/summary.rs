//! What is said about a run.

use std::{fs, io, path::Path, process::Command};

use encke_history::Kind;

use super::{faults::Fault, run::Outcome, setting::Setting, verdict::Verdict};
use crate::table::replaced;

const MARKS: (&str, &str) = ("<!-- encke-bench chaos: begin -->", "<!-- encke-bench chaos: end -->");

/// What is counted, and in which order.
pub const KINDS: [(Kind, &str); 10] = [
    (Kind::Lost, "LOST"),
    (Kind::Dup, "DUP"),
    (Kind::Order, "ORDER"),
    (Kind::Phantom, "PHANTOM"),
    (Kind::Leak, "LEAK"),
    (Kind::Ghost, "GHOST"),
    (Kind::FalseGap, "FALSE GAP"),
    (Kind::Receipt, "RECEIPT"),
    (Kind::Stuck, "STUCK"),
    (Kind::Left, "BROKEN"),
];

/// The counts, in one line.
#[must_use]
pub fn line(verdict: &Verdict) -> String {
    let counts: Vec<String> =
        KINDS.iter().map(|(kind, name)| format!("{name} {}", verdict.count(*kind))).collect();
    format!(
        "{} deliveries of {} messages: {}, GAP {}",
        verdict.deliveries,
        verdict.invoked,
        counts.join(", "),
        verdict.gaps
    )
}

/// The report in Markdown.
#[must_use]
pub fn markdown(setting: &Setting, outcome: &Outcome) -> String {
    let verdict = &outcome.verdict;
    let mut text = format!(
        "Commit {}, seed {}, {:.0} s, {} subscribers, {} publishers, {:.0} messages/s. Engine {}{}. {}\n\n",
        commit(),
        setting.seed,
        outcome.seconds,
        setting.clients,
        setting.publishers,
        setting.rate,
        setting.engine,
        if setting.tls { ", clients over TLS" } else { "" },
        match &*setting.engine {
            "log" => "`accepted` after an fsync by group commit.",
            _ => "",
        },
    );
    text.push_str("| judged | count |\n|---|---:|\n");
    for (name, count) in [
        ("deliveries to applications", verdict.deliveries),
        ("messages that were sent", verdict.invoked),
        ("of them accepted", verdict.accepted),
        ("attempts whose outcome was unknown at first", verdict.unknown),
        ("connections that went on from a cursor", verdict.resumed),
        ("logins without a cursor, of users who had been away", verdict.logins),
        ("pushes that waited for such a login", verdict.waited),
        ("receipts that were compared", verdict.receipts),
        ("GAP: gaps that were told (nothing is trimmed, so each would be a wrong one)", verdict.gaps),
    ] {
        text.push_str(&format!("| {name} | {count} |\n"));
    }
    for (kind, name) in KINDS {
        text.push_str(&format!("| **{name}** | **{}** |\n", verdict.count(kind)));
    }
    text.push_str("\n| done to the server | times |\n|---|---:|\n");
    for (fault, name) in Fault::ALL {
        let count = outcome.done.get(&fault).copied().unwrap_or(0);
        let skipped = outcome.skipped.get(&fault).map_or(String::new(), |why| format!(" (SKIPPED: {why})"));
        text.push_str(&format!("| {name}{skipped} | {count} |\n"));
    }
    text.push_str(&format!("| calls of fsync that failed | {} |\n", outcome.failed_syncs));
    let slowest = outcome.slowest_start.as_secs_f64();
    text.push_str(&format!(
        "| lives of the server (the slowest was up after {slowest:.2} s) | {} |\n",
        outcome.lives
    ));
    text.push_str("\n| done to the network | times |\n|---|---:|\n");
    for (name, count) in &outcome.network {
        text.push_str(&format!("| {name} | {count} |\n"));
    }
    text
}

/// Puts the report into the file, in the place of the last one.
///
/// # Errors
/// When the file cannot be read or written, or has no place for it.
pub fn write(path: &Path, report: &str) -> io::Result<()> {
    fs::write(path, replaced(&fs::read_to_string(path)?, MARKS, &format!("\n{report}\n"))?)
}

/// Which state of the sources this is, as far as git knows.
#[must_use]
pub fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "crates"])
        .is_none_or(|changes| !changes.is_empty());
    format!("{commit}{}", if changed { ", with changes" } else { "" })
}
