//! `encke-bench compare`

use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{
    churn::{self, Churn},
    fanout::{self, Delivered, Fanout},
    hold::{self, Hold},
    targeted::{self, Targeted},
};
use crate::{
    awake::Awake,
    peers::{Encke, EnckeOptions, Nchan, Peer, Transport},
    procfs,
    table::{Line, Table},
};

/// What the comparison needs to have installed.
const PACKAGES: [&str; 2] = ["nginx", "libnginx-mod-nchan"];
/// Above this share of stolen time, or of work by others, in percent, a window says little.
const STOLEN_MAX: f64 = 2.0;
const OTHERS_MAX: f64 = 10.0;
/// How long Encke lets broadcasts gather in the work that is about that, in milliseconds.
const LINGER_MS: u64 = 5;

/// The same work for Encke and Nchan in turns, one worker each, server and generator on a processor each;
/// writes the table of docs/BENCHMARKS.md
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: EnckeOptions,
    /// With whom
    #[arg(long, value_enum, default_value_t = With::Nchan)]
    peer: With,
    /// How often each work is done by each; in every round one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a work is measured, in seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long to rest before each look at the memory, in seconds
    #[arg(long, default_value_t = 20.0)]
    rest: f64,
    /// Only these works: idle-sse, idle-ws, idle-poll, one-sse, one-ws, one-poll, fast-sse, fast-ws, hundred,
    /// hundred-linger, burst, together, targeted, targeted-sqlite, churn
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many connections, as a share of the full work's
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The file whose table is replaced
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    out: PathBuf,
    /// Install the peer first, by apt-get
    #[arg(long)]
    install: bool,
}

/// Other servers that can be started here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum With {
    /// nginx with Nchan.
    Nchan,
}

/// A work.
#[derive(Clone, Copy, Debug)]
enum Work {
    Hold(Hold),
    Fanout(Fanout),
    Targeted(Targeted, &'static str),
    Churn(Churn),
}

/// A measure of a work: what it is called, and the most that Encke's may be of the peer's.
type Measure = (&'static str, f64);

/// A work with its name, what it is, and its measures.
struct Row {
    name: &'static str,
    text: String,
    work: Work,
    /// How long Encke lets broadcasts gather, in milliseconds.
    linger_ms: Option<u64>,
    /// Whether no processor may sleep meanwhile.
    awake: bool,
    measures: Vec<Measure>,
}

/// Measures both.
///
/// # Errors
/// When either cannot be measured.
pub fn run(args: &Args) -> io::Result<()> {
    if args.install {
        install()?;
    }
    let rows: Vec<Row> = rows(args)
        .into_iter()
        .filter(|row| args.only.is_empty() || args.only.iter().any(|only| only == row.name))
        .collect();
    let mut table = Table::new(heading(args)?);
    for row in &rows {
        table.lines.extend(row.measures.iter().map(|(what, bar)| Line::new(&row.text, what, *bar)));
    }
    for round in 0..args.rounds {
        let mut first = 0;
        for row in &rows {
            // The second finds the machine as the first left it, so they take turns in that as well.
            let mut figures = [Vec::new(), Vec::new()];
            for turn in 0..2 {
                let side = (round + turn) % 2;
                let (values, note) = match measure(args, row, side) {
                    Ok(measured) => measured,
                    Err(error) => {
                        // The round has no ratio for this work then, and the table says so.
                        eprintln!("round {} {}: {error}", round + 1, row.name);
                        table.failures.push(format!("round {}, {}: {error}", round + 1, row.name));
                        continue;
                    }
                };
                println!(
                    "round {} {} {}: {values:.2?} {note}",
                    round + 1,
                    row.name,
                    ["Encke", "Nchan"][side]
                );
                table.disturbed += usize::from(!note.is_empty());
                table.windows += 1;
                figures[side] = values;
            }
            for (index, (own, peers)) in figures[0].iter().zip(&figures[1]).enumerate() {
                table.lines[first + index].add(*own, *peers);
            }
            first += row.measures.len();
        }
        // What is there by now is of use even if a later round fails.
        table.write(&args.out)?;
    }
    println!("{}", table.markdown());
    Ok(())
}

fn install() -> io::Result<()> {
    let status = Command::new("apt-get")
        .args(["install", "-y", "--no-install-recommends"])
        .args(PACKAGES)
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("apt-get could not install them")) }
}

fn heading(args: &Args) -> io::Result<String> {
    let word = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).stderr(Stdio::null()).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let nchan = Nchan::start(None, None)?.name();
    let (date, kernel) = (word("date", &["-u", "+%F"]), word("uname", &["-sr"]));
    let version =
        format!("{} ({})", env!("CARGO_PKG_VERSION"), word("git", &["rev-parse", "--short", "HEAD"]));
    Ok(format!(
        "`encke-bench {command}` on {date}; Encke {version}, {nchan}; {kernel}, {} processors; {} rounds, 100-byte messages, one worker each, server on processor {}, generator on processor {}.",
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        args.rounds,
        args.server.server_cpu.unwrap_or(0),
        args.server.own_cpu.unwrap_or(1),
    ))
}

fn rows(args: &Args) -> Vec<Row> {
    let scaled = |count: u32| (f64::from(count) * args.scale).round().max(1.0) as u32;
    let seconds = args.seconds;
    let cpu: Measure = ("CPU per delivery, us", 1.0);
    let hold = |transport| Hold { transport, connections: scaled(10_000), rest: args.rest, churn: 0.0 };
    let one = Fanout {
        transport: Transport::Sse,
        channels: 1,
        subscribers: scaled(10_000),
        rate: 2.0,
        burst: 1,
        together: false,
        seconds,
        payload: 100,
        publishers: 1,
        pipeline: 1,
    };
    let idle = |name, transport: Transport| Row {
        name,
        text: format!("{} idle, {}", scaled(10_000), transport.name()),
        work: Work::Hold(hold(transport)),
        linger_ms: None,
        awake: false,
        measures: vec![("PSS per connection, bytes", 0.12), ("the same after 3 messages", 0.12)],
    };
    let targeted = |name, engine| Row {
        name,
        text: format!("1,000 users by SSE, 5,000 publishes/s to one each, {engine}"),
        work: Work::Targeted(
            Targeted {
                transport: Transport::Sse,
                users: 1000,
                rate: 5000.0,
                seconds,
                payload: 100,
                publishers: 16,
                wander: false,
            },
            engine,
        ),
        linger_ms: None,
        awake: false,
        measures: vec![
            ("CPU per publish and delivery, us", if engine == "memory" { 0.4 } else { 0.6 }),
            ("p99, ms", 1.0),
        ],
    };
    let fan = |name, text: String, fanout, bar| Row {
        name,
        text,
        work: Work::Fanout(fanout),
        linger_ms: None,
        awake: false,
        measures: vec![
            (cpu.0, bar),
            ("p99 to the last subscriber, ms", if name == "one-sse" || name == "one-ws" { 0.4 } else { 1.0 }),
        ],
    };
    let poll = Fanout { transport: Transport::Poll, subscribers: scaled(5000), ..one };
    let hundred = Fanout { subscribers: 100, rate: 2000.0, pipeline: 16, ..one };
    // So many messages that there is a hundredth of them.
    let fast = |name, way, transport| Row {
        awake: true,
        measures: vec![("CPU per delivery, us", 1.0), ("p99 to the last subscriber, ms", 0.4)],
        ..fan(
            name,
            format!("1 channel, {} by {way}, 5 messages/s, processors kept awake", scaled(10_000)),
            Fanout { transport, rate: 5.0, seconds: seconds * 4.0, ..one },
            1.0,
        )
    };
    let lingering = |row: Row| Row { linger_ms: Some(LINGER_MS), ..row };
    let churn = Churn {
        transport: Transport::Sse,
        connections: scaled(10_000),
        rate: 1000,
        seconds: (seconds * 2.0).ceil() as u32,
        rest: args.rest,
        drift_max: f64::INFINITY,
    };
    let burst = Fanout { subscribers: scaled(2000), rate: 1.0, burst: 10, pipeline: 10, ..one };
    vec![
        idle("idle-sse", Transport::Sse),
        idle("idle-ws", Transport::Ws),
        idle("idle-poll", Transport::Poll),
        fan("one-sse", format!("1 channel, {} by SSE, one message at a time", scaled(10_000)), one, 0.72),
        fan(
            "one-ws",
            format!("1 channel, {} by WebSocket, one message at a time", scaled(10_000)),
            Fanout { transport: Transport::Ws, ..one },
            0.75,
        ),
        fan("one-poll", format!("1 channel, {} by poll, delivery and re-request", scaled(5000)), poll, 0.65),
        fast("fast-sse", "SSE", Transport::Sse),
        fast("fast-ws", "WebSocket", Transport::Ws),
        fan("hundred", "1 channel, 100 by SSE, 2,000 messages/s".to_owned(), hundred, 0.75),
        lingering(fan("hundred-linger", format!("the same, Encke lingers for {LINGER_MS} ms"), hundred, 0.3)),
        fan("burst", format!("1 channel, {} by SSE, ten messages at a time", scaled(2000)), burst, 0.2),
        fan(
            "together",
            format!("1 channel, {} by SSE, ten messages in one call", scaled(2000)),
            Fanout { together: true, ..burst },
            0.2,
        ),
        targeted("targeted", "memory"),
        targeted("targeted-sqlite", "sqlite"),
        Row {
            name: "churn",
            text: format!("{} by SSE, 1,000 come and go each second", scaled(10_000)),
            work: Work::Churn(churn),
            linger_ms: None,
            awake: false,
            measures: vec![
                ("CPU for each that comes and goes, us", 1.0),
                ("PSS after a rest, to that before", 1.0),
            ],
        },
    ]
}

/// The figures of one side, in the order of the row's measures, and what speaks against them.
fn measure(args: &Args, row: &Row, side: usize) -> io::Result<(Vec<f64>, String)> {
    let mut options = EnckeOptions { users_as_channels: true, ..args.server.clone() };
    options.server_cpu = options.server_cpu.or(Some(0));
    options.own_cpu = options.own_cpu.or(Some(1));
    if let Work::Targeted(_, engine) = row.work {
        engine.clone_into(&mut options.engine);
    }
    options.linger_ms = row.linger_ms;
    let awake = row
        .awake
        .then(|| Awake::keep(&[options.server_cpu, options.own_cpu].map(Option::unwrap_or_default)))
        .transpose()?;
    let peer: Box<dyn Peer> = match side {
        0 => Box::new(Encke::open(&options)?),
        _ => Box::new(Nchan::start(options.server_cpu, options.own_cpu)?),
    };
    let note = |others_busy: f64, stolen: f64| {
        // What keeps a processor awake is at work for itself.
        let disturbed = stolen > STOLEN_MAX || (others_busy > OTHERS_MAX && awake.is_none());
        let note = || {
            format!("(disturbed: others {others_busy:.0} %, stolen {stolen:.1} %, load {})", procfs::load())
        };
        if disturbed { note() } else { String::new() }
    };
    let figures = |of: Delivered, to: fn(&Delivered) -> u64| {
        (vec![of.cpu_us, to(&of) as f64 / 1000.0], note(of.others_busy, of.stolen))
    };
    Ok(match row.work {
        Work::Hold(hold) => {
            let held = hold::measure(&*peer, hold)?;
            (vec![held.slope, held.after_messages], String::new())
        }
        Work::Fanout(fanout) => {
            figures(fanout::measure(&*peer, fanout)?, |of| of.last.value_at_quantile(0.99))
        }
        Work::Churn(churn) => {
            let churned = churn::measure(&*peer, churn)?;
            (vec![churned.cpu_us, 1.0 + churned.drift() / 100.0], note(churned.others_busy, churned.stolen))
        }
        Work::Targeted(targeted, _) => {
            figures(targeted::measure(&*peer, targeted)?, |of| of.each.value_at_quantile(0.99))
        }
    })
}
