//! `encke-bench compare`

mod measure;
mod row;
mod rows;

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use self::{
    measure::{Measured, measure},
    row::{Row, Work},
};
use super::fdatasync::{self, Fdatasync};
use crate::{
    peers::{self, PeerSettings},
    table::{Figure, Line, Table},
};

/// What installs peers.
const INSTALL: &str = "bench/install-peers";

/// The same work for Encke and its peers in turns; writes the table of docs/BENCHMARKS.md
///
/// The rows from `idle-sse` to `churn` give each server one worker, on a processor of its own. All others
/// leave every server as it comes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: PeerSettings,
    /// With whom; may be given several times. Rows and bars about others are left out
    #[arg(long, value_parser = peers::names(), default_value = "nchan")]
    peer: Vec<String>,
    /// How often each work is done by each; in every round one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a work is measured, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to rest before each look at the memory, in seconds
    #[arg(long, default_value_t = 20.0)]
    rest: f64,
    /// Only these rows, by their names; a wrong one tells all
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many connections, and how many messages a second to one each, as a share of the full work's
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The file whose table is replaced
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    out: PathBuf,
    /// Install the peers first, by bench/install-peers
    #[arg(long)]
    install: bool,
}

/// Measures them.
///
/// # Errors
/// When a row is not known, or a peer is not there. A work that fails is told in the table.
pub fn run(args: &Args) -> io::Result<()> {
    if args.install {
        install(&args.peer)?;
    }
    let rows = chosen(args)?;
    let mut table = Table::new(heading(args)?);
    for row in &rows {
        for bar in &row.bars {
            let least = matches!(bar.limit, row::Limit::Least(_));
            table.lines.push(Line::new(&row.text, bar.measure, &bar.limit.words(), bar.most, least));
        }
        if row.durable {
            table.lines.extend(
                ["p50", "p99"]
                    .map(|what| Line::told(&row.text, &format!("a bare append and fdatasync, {what}, ms"))),
            );
        }
    }
    for round in 0..args.rounds {
        let mut first = 0;
        for row in &rows {
            let lines = row.bars.len() + if row.durable { 2 } else { 0 };
            one_round(args, round, row, &mut table, first)?;
            first += lines;
        }
        // What is there by now is of use even if a later round fails.
        table.write(&args.out)?;
    }
    println!("{}", table.markdown());
    Ok(())
}

/// The rows that are asked for, with the sides that are there.
fn chosen(args: &Args) -> io::Result<Vec<Row>> {
    let names = rows::names(args);
    if let Some(wrong) = args.only.iter().find(|only| !names.contains(&only.as_str())) {
        return Err(io::Error::other(format!(
            "there is no row {wrong:?}; the rows are {}",
            names.join(", ")
        )));
    }
    let chosen = |row: &Row| args.only.is_empty() || args.only.iter().any(|only| only == row.name);
    Ok(rows::all(args).into_iter().filter(chosen).filter_map(|row| row.among(&args.peer)).collect())
}

/// Does the work of a row once by each of its sides, and puts the figures into its lines, which begin at
/// `first`.
fn one_round(args: &Args, round: usize, row: &Row, table: &mut Table, first: usize) -> io::Result<()> {
    let mut bare = (f64::NAN, f64::NAN);
    if row.durable {
        let took = fdatasync::measure(Fdatasync { rate: 100.0, seconds: args.seconds.min(5.0), bytes: 180 })?;
        bare = (took.value_at_quantile(0.5) as f64 / 1000.0, took.value_at_quantile(0.99) as f64 / 1000.0);
        for (line, value) in table.lines[first + row.bars.len()..].iter_mut().zip([bare.0, bare.1]) {
            line.tell(value);
        }
    }
    let mut figures: Vec<Option<Vec<f64>>> = vec![None; row.sides.len()];
    for turn in 0..row.sides.len() {
        // The second finds the machine as the first left it, so they take turns in that as well.
        let at = (round + turn) % row.sides.len();
        let side = &row.sides[at];
        match measure(&args.settings, row, side) {
            Ok(Measured { figures: values, note }) => {
                println!("round {} {} {}: {values:.2?} {note}", round + 1, row.name, side.label);
                table.disturbed += usize::from(!note.is_empty());
                // Those of which it is not told whether they were disturbed are no windows.
                table.windows +=
                    usize::from(matches!(row.work, Work::Fanout(_) | Work::Targeted(_) | Work::Churn(_)));
                figures[at] = Some(values);
            }
            Err(error) => {
                // The round has no ratio for this work then, and the table says so.
                eprintln!("round {} {} {}: {error}", round + 1, row.name, side.label);
                if error.kind() != io::ErrorKind::Unsupported {
                    table.failures.push(format!(
                        "round {}, {}, {}: {error}",
                        round + 1,
                        row.name,
                        side.label
                    ));
                    continue;
                }
                for (line, bar) in table.lines[first..].iter_mut().zip(&row.bars) {
                    if at == 0 {
                        line.unsupported = Some(Figure::Own);
                    } else if bar.limit.side() == Some(side.label) {
                        line.unsupported = Some(Figure::Other);
                    }
                }
            }
        }
    }
    let Some(own) = figures.first().cloned().flatten() else { return Ok(()) };
    for (line, bar) in table.lines[first..].iter_mut().zip(&row.bars) {
        let own = own[bar.figure];
        match row.sides.iter().position(|side| Some(side.label) == bar.limit.side()) {
            None => line.add(own, bar.limit.reference(f64::NAN, bare)),
            Some(_) if line.unsupported == Some(Figure::Other) => line.tell(own),
            Some(at) => {
                if let Some(figures) = &figures[at] {
                    line.add(own, bar.limit.reference(figures[bar.figure], bare));
                }
            }
        }
    }
    Ok(())
}

fn install(peers: &[String]) -> io::Result<()> {
    let status = Command::new(INSTALL).args(peers).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{INSTALL} could not install them"))) }
}

fn heading(args: &Args) -> io::Result<String> {
    let word = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).stderr(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let names = args
        .peer
        .iter()
        .map(|peer| Ok(peers::open(peer, &args.settings)?.name()))
        .collect::<io::Result<Vec<_>>>()?;
    let (date, kernel) = (word("date", &["-u", "+%F"]), word("uname", &["-sr"]));
    let version =
        format!("{} ({})", env!("CARGO_PKG_VERSION"), word("git", &["rev-parse", "--short", "HEAD"]));
    Ok(format!(
        "`encke-bench {command}` on {date}; Encke {version}, {}; {kernel}, {} processors; {} rounds, 100-byte messages.",
        names.join(", "),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        args.rounds,
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Args {
        Line::parse_from(std::iter::once("compare").chain(words.iter().copied())).args
    }

    #[test]
    fn every_row_is_sound() {
        let peers = ["nchan", "durable-streams", "centrifugo", "cometd", "faye", "sockudo"];
        let args = args(&peers.map(|peer| ["--peer", peer]).concat());
        let all = rows::all(&args);
        let mut names = std::collections::BTreeSet::new();
        for row in &all {
            assert!(names.insert(row.name), "{} is there twice", row.name);
            let labels: std::collections::BTreeSet<_> = row.sides.iter().map(|side| side.label).collect();
            assert_eq!(labels.len(), row.sides.len(), "{}: two sides have one label", row.name);
            assert_eq!(row.sides[0].peer, "encke", "{}: the bars are about Encke", row.name);
            let count = match row.work {
                Work::Hold(_) | Work::Churn(_) | Work::Sustain(_) | Work::Stalled(_) => 2,
                Work::Targeted(_) | Work::Fanout(_) => 4,
                Work::Handshake(_) | Work::Append(_) | Work::Reopen(_) => 1,
            };
            assert!(row.bars.iter().all(|bar| bar.figure < count), "{}: a bar is about no figure", row.name);
        }
        let kept = chosen(&args).unwrap();
        assert_eq!(kept.len(), all.len(), "no row is without a bar when all peers are there");
        for (row, before) in kept.iter().zip(&all) {
            // What is told only of a peer that the row does not have would never be seen.
            let named = |row: &Row| row.bars.iter().filter_map(|bar| bar.limit.side()).collect::<Vec<_>>();
            let lost: Vec<_> = named(before).into_iter().filter(|side| !named(row).contains(side)).collect();
            assert!(lost.iter().all(|side| ["Nchan", "Centrifugo"].contains(side)), "{}: {lost:?}", row.name);
        }
    }

    #[test]
    fn rows_that_are_not_there_are_told() {
        let error = chosen(&args(&["--only", "targeted,nonsense"])).unwrap_err().to_string();
        assert!(error.contains("\"nonsense\"") && error.contains("sustain-calls"), "{error}");
    }

    #[test]
    fn without_a_peer_its_rows_are_left_out() {
        let names =
            |peer| chosen(&args(&["--peer", peer])).unwrap().iter().map(|row| row.name).collect::<Vec<_>>();
        assert!(names("nchan").contains(&"idle-poll") && !names("nchan").contains(&"two-nodes"));
        assert!(names("centrifugo").contains(&"two-nodes") && !names("centrifugo").contains(&"idle-poll"));
        assert!(
            names("durable-streams").contains(&"targeted-durable")
                && names("durable-streams").contains(&"reopen")
        );
    }
}
