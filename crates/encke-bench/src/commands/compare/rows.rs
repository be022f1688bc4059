//! The rows of the comparison. Each is a work with its bars.

use super::{
    Args,
    row::{Bar, Limit, Row, Setup, Side, Work},
};
use crate::{
    commands::{
        append::{AppendOptions, Store},
        churn::Churn,
        fanout::Fanout,
        handshake::Handshakes,
        hold::Hold,
        reopen::Reopen,
        stalled::Stalled,
        sustain::Sustain,
        targeted::Targeted,
    },
    peers::{Dialect, Transport},
};

mod bayeux;
mod pusher;

/// What the engine is called that Encke takes by itself.
const DURABLE: Option<&str> = Some("default");
const MEMORY: Option<&str> = Some("memory");
/// How long Encke lets broadcasts gather in the work that is about that, in milliseconds.
const LINGER_MS: u64 = 5;

const ENCKE: &str = "Encke";
const NCHAN: &str = "Nchan";
const CENTRIFUGO: &str = "Centrifugo";
const DURABLE_STREAMS: &str = "durable-streams";
const IN_MEMORY: &str = "Encke, memory";
const PLAIN: &str = "Encke, plain text";

/// Every row.
#[must_use]
pub fn all(args: &Args) -> Vec<Row> {
    let rows = [
        idle(args),
        broadcasts(args),
        coalescing(args),
        churn(args),
        targeted(args),
        store(args),
        two_nodes(args),
    ];
    let secured = [tls_memory(args), tls_time(args), handshakes()];
    rows.into_iter().chain(secured).chain([bayeux::rows(args), pusher::rows(args)]).flatten().collect()
}

/// The names of all rows, for the command line.
#[must_use]
pub fn names(args: &Args) -> Vec<&'static str> {
    all(args).iter().map(|row| row.name).collect()
}

fn scaled(args: &Args, count: u32) -> u32 {
    (f64::from(count) * args.scale).round().max(1.0) as u32
}

fn side(peer: &'static str, label: &'static str, setup: Setup) -> Side {
    Side { peer, label, setup }
}

fn at_most(figure: usize, measure: &'static str, limit: Limit, most: f64) -> Bar {
    Bar { figure, measure, limit, most: Some(most) }
}

fn told(figure: usize, measure: &'static str, limit: Limit) -> Bar {
    Bar { figure, measure, limit, most: None }
}

/// A row in which Encke is beside Nchan and Centrifugo, with this setup on all sides; the bars are about
/// Nchan, and Centrifugo is told.
fn beside(
    name: &'static str,
    text: String,
    work: Work,
    setup: Setup,
    measures: &[(&'static str, f64)],
) -> Row {
    let bars = measures.iter().enumerate().flat_map(|(figure, (measure, most))| {
        [at_most(figure, measure, Limit::Side(NCHAN), *most), told(figure, measure, Limit::Side(CENTRIFUGO))]
    });
    let (bars, mut sides) = (bars.collect(), vec![side("encke", ENCKE, setup), side("nchan", NCHAN, setup)]);
    if !matches!(
        &work,
        Work::Fanout(Fanout { transport: Transport::Poll, .. })
            | Work::Hold(Hold { transport: Transport::Poll, .. })
    ) {
        sides.push(side("centrifugo", CENTRIFUGO, setup));
    }
    Row { name, text, work, awake: false, durable: false, sides, bars }
}

fn hold(args: &Args, transport: Transport) -> Hold {
    Hold { transport, connections: scaled(args, 10_000), rest: args.rest, churn: 0.0, streams: 1 }
}

fn one(args: &Args) -> Fanout {
    Fanout {
        transport: Transport::Sse,
        channels: 1,
        subscribers: scaled(args, 10_000),
        rate: 2.0,
        burst: 1,
        together: false,
        seconds: args.seconds,
        payload: 100,
        publishers: 1,
        pipeline: 1,
    }
}

fn idle(args: &Args) -> Vec<Row> {
    let measures = [("PSS per connection, bytes", 0.12), ("the same after 3 messages", 0.12)];
    let row = |name, transport: Transport| {
        let text = format!("{} idle, {}", scaled(args, 10_000), transport.name());
        beside(name, text, Work::Hold(hold(args, transport)), Setup::default(), &measures)
    };
    vec![row("idle-sse", Transport::Sse), row("idle-ws", Transport::Ws), row("idle-poll", Transport::Poll)]
}

fn fan(name: &'static str, text: String, fanout: Fanout, setup: Setup, bars: [f64; 2]) -> Row {
    let measures = [("CPU per delivery, us", bars[0]), ("p99 to the last subscriber, ms", bars[1])];
    beside(name, text, Work::Fanout(fanout), setup, &measures)
}

fn broadcasts(args: &Args) -> Vec<Row> {
    let (one, ten, five) = (one(args), scaled(args, 10_000), scaled(args, 5000));
    let setup = Setup::default();
    let poll = Fanout { transport: Transport::Poll, subscribers: five, ..one };
    let ws = Fanout { transport: Transport::Ws, ..one };
    // So many messages that there is a hundredth of them.
    let fast = |name, transport: Transport| {
        let text = format!("1 channel, {ten} by {}, 5 messages/s, processors kept awake", transport.name());
        let fanout = Fanout { transport, rate: 5.0, seconds: args.seconds * 4.0, ..one };
        Row { awake: true, ..fan(name, text, fanout, setup, [1.0, 0.4]) }
    };
    vec![
        fan("one-sse", format!("1 channel, {ten} by SSE, one message at a time"), one, setup, [0.72, 0.4]),
        fan(
            "one-ws",
            format!("1 channel, {ten} by WebSocket, one message at a time"),
            ws,
            setup,
            [0.75, 0.4],
        ),
        fan(
            "one-poll",
            format!("1 channel, {five} by poll, delivery and re-request"),
            poll,
            setup,
            [0.65, 1.0],
        ),
        fast("fast-sse", Transport::Sse),
        fast("fast-ws", Transport::Ws),
    ]
}

fn coalescing(args: &Args) -> Vec<Row> {
    let (one, setup, two) = (one(args), Setup::default(), scaled(args, 2000));
    let hundred = Fanout { subscribers: 100, rate: 2000.0, pipeline: 16, ..one };
    let burst = Fanout { subscribers: two, rate: 1.0, burst: 10, pipeline: 10, ..one };
    let together = Fanout { together: true, ..burst };
    let lingers = Setup { linger_ms: Some(LINGER_MS), ..setup };
    let lingering = format!("the same, Encke lingers for {LINGER_MS} ms");
    vec![
        fan("hundred", "1 channel, 100 by SSE, 2,000 messages/s".to_owned(), hundred, setup, [0.75, 1.0]),
        fan("hundred-linger", lingering, hundred, lingers, [0.3, 1.0]),
        fan("burst", format!("1 channel, {two} by SSE, ten messages at a time"), burst, setup, [0.2, 1.0]),
        fan(
            "together",
            format!("1 channel, {two} by SSE, ten messages in one call"),
            together,
            setup,
            [0.2, 1.0],
        ),
    ]
}

fn churn(args: &Args) -> Vec<Row> {
    let churn = Churn {
        transport: Transport::Sse,
        connections: scaled(args, 10_000),
        rate: 1000,
        seconds: (args.seconds * 2.0).ceil() as u32,
        rest: args.rest,
        drift_max: f64::INFINITY,
    };
    let text = format!("{} by SSE, 1,000 come and go each second", scaled(args, 10_000));
    let measures = [("CPU for each that comes and goes, us", 1.0), ("PSS after a rest, to that before", 1.0)];
    vec![beside("churn", text, Work::Churn(churn), Setup::default(), &measures)]
}

/// The measures of messages to one each.
const CPU: &str = "CPU per message, us";
const P50: &str = "p50, ms";
const P99: &str = "p99, ms";
const ENGINE_CPU: &str = "CPU of Redis per message, us";

fn to_one_each(args: &Args, rate: f64) -> Targeted {
    let (transport, seconds, users) = (Transport::Sse, args.seconds, scaled(args, 1000));
    Targeted {
        transport,
        users,
        rate: rate * args.scale,
        seconds,
        payload: 100,
        publishers: 8,
        wander: false,
    }
}

/// The bars of publishing to one subscriber each, with the logs in memory.
fn publish_bars() -> Vec<Bar> {
    vec![
        at_most(0, CPU, Limit::Side(NCHAN), 0.65),
        at_most(1, P50, Limit::Side(NCHAN), 1.3),
        at_most(2, P99, Limit::Side(NCHAN), 2.0),
        told(0, CPU, Limit::Side(CENTRIFUGO)),
    ]
}

/// The same with a durable log.
fn durable_publish_bars() -> Vec<Bar> {
    vec![
        at_most(0, CPU, Limit::Side(DURABLE_STREAMS), 0.55),
        at_most(1, P50, Limit::Side(DURABLE_STREAMS), 1.0),
        at_most(2, P99, Limit::Side(DURABLE_STREAMS), 1.0),
        at_most(0, CPU, Limit::Side(NCHAN), 2.0),
        at_most(0, CPU, Limit::Side(CENTRIFUGO), 0.5),
        at_most(1, P50, Limit::SidePlusFdatasync(CENTRIFUGO), 1.0),
        at_most(2, P99, Limit::SideOrTwoFdatasyncs(CENTRIFUGO), 1.0),
    ]
}

fn targeted(args: &Args) -> Vec<Row> {
    let memory = Setup { engine: MEMORY, as_it_comes: true, ..Setup::default() };
    let durable = Setup { engine: DURABLE, ..memory };
    let pushes = |setup| Setup { push: true, ..setup };
    let row = |name, what: &str, rate: f64, durable, sides, bars| {
        let (users, per_s) = (scaled(args, 1000), rate * args.scale);
        let text = format!("{users} by SSE, {per_s} a second to one each, {what}");
        Row { name, text, work: Work::Targeted(to_one_each(args, rate)), awake: false, durable, sides, bars }
    };
    let (nchan, centrifugo) = (side("nchan", NCHAN, memory), side("centrifugo", CENTRIFUGO, memory));
    let streams = side("durable-streams", DURABLE_STREAMS, memory);
    let encke = |setup| side("encke", ENCKE, setup);
    let push = vec![
        told(0, CPU, Limit::Side(NCHAN)),
        told(1, P50, Limit::Side(NCHAN)),
        told(2, P99, Limit::Side(NCHAN)),
    ];
    let durable_push = vec![
        at_most(0, CPU, Limit::Side(IN_MEMORY), 2.0),
        at_most(0, CPU, Limit::Most(65.0), 1.0),
        at_most(1, P50, Limit::Most(0.8), 1.0),
        at_most(2, P99, Limit::Most(5.0), 1.0),
    ];
    let beside_memory = vec![encke(pushes(durable)), side("encke", IN_MEMORY, pushes(memory))];
    let seldom = vec![at_most(0, CPU, Limit::Most(150.0), 1.0), told(1, P50, Limit::Side(CENTRIFUGO))];
    let all = || vec![nchan.clone(), streams.clone(), centrifugo.clone()];
    let with = |first, others: Vec<Side>| std::iter::once(first).chain(others).collect::<Vec<_>>();
    vec![
        row(
            "targeted",
            "published, memory",
            5000.0,
            false,
            vec![encke(memory), nchan.clone(), centrifugo.clone()],
            publish_bars(),
        ),
        row(
            "targeted-durable",
            "published, durable",
            5000.0,
            true,
            with(encke(durable), all()),
            durable_publish_bars(),
        ),
        row(
            "push",
            "pushed with receipts, memory",
            5000.0,
            false,
            vec![encke(pushes(memory)), nchan.clone()],
            push,
        ),
        row("push-durable", "pushed with receipts, durable", 5000.0, true, beside_memory, durable_push),
        row(
            "push-seldom",
            "pushed with receipts, durable",
            1000.0,
            true,
            vec![encke(pushes(durable)), centrifugo.clone()],
            seldom,
        ),
    ]
}

fn store(args: &Args) -> Vec<Row> {
    let setup = Setup { engine: DURABLE, push: true, as_it_comes: true, ..Setup::default() };
    let row = |name, text: String, work, measure, limit| Row {
        name,
        text,
        work,
        awake: false,
        durable: true,
        sides: vec![side("encke", ENCKE, setup)],
        bars: vec![at_most(0, measure, limit, 1.0)],
    };
    let users = scaled(args, 1000);
    let singles = Sustain {
        users,
        offline: false,
        together: 1,
        from: 1000.0,
        seconds: args.seconds,
        p99_ms: 20.0,
        payload: 100,
        publishers: 64,
    };
    let calls = Sustain { offline: true, together: 100, from: 4000.0, ..singles };
    let append = AppendOptions {
        store: Store::Log,
        seconds: args.seconds,
        payload: 100,
        channels: 1000,
        in_flight: 1000,
    };
    let reopen = Reopen { messages: scaled(args, 1_000_000), channels: scaled(args, 10_000), payload: 100 };
    let sustained = "messages a second, p99 under 20 ms";
    let online = format!("durable pushes, one at a time on 64 connections, to {users} online");
    let offline = format!("durable pushes, calls of 100, to {users} offline");
    let opened = format!("the store opened after kill -9, {} messages", reopen.messages);
    vec![
        row("sustain-singles", online, Work::Sustain(singles), sustained, Limit::Least(15_000.0)),
        row("sustain-calls", offline, Work::Sustain(calls), sustained, Limit::Least(100_000.0)),
        row(
            "append",
            "appends to the store alone, one thread".to_owned(),
            Work::Append(append),
            "a second",
            Limit::Least(300_000.0),
        ),
        row("reopen", opened, Work::Reopen(reopen), "s until it listens", Limit::Most(1.0)),
    ]
}

fn two_nodes(args: &Args) -> Vec<Row> {
    let setup = Setup { two_nodes: true, as_it_comes: true, ..Setup::default() };
    let limit = Limit::Side(CENTRIFUGO);
    let (users, rate) = (scaled(args, 1000), 3000.0);
    vec![Row {
        name: "two-nodes",
        text: format!(
            "two nodes on one Redis, {users} by SSE on one, {} a second published at the other",
            rate * args.scale
        ),
        work: Work::Targeted(to_one_each(args, rate)),
        awake: false,
        durable: true,
        sides: vec![side("encke", ENCKE, setup), side("centrifugo", CENTRIFUGO, setup)],
        bars: vec![
            at_most(0, "CPU of both nodes per message, us", limit, 0.5),
            at_most(3, ENGINE_CPU, limit, 1.0),
            at_most(1, P50, limit, 1.0),
            at_most(2, P99, limit, 1.0),
        ],
    }]
}

const TLS: Setup = Setup {
    engine: MEMORY,
    push: false,
    two_nodes: false,
    tls: true,
    http2: false,
    dialect: Dialect::Native,
    linger_ms: None,
    as_it_comes: true,
};
const HTTP2: Setup = Setup { http2: true, ..TLS };
const WITHOUT: Setup = Setup { tls: false, ..TLS };

fn tls_row(name: &'static str, text: String, work: Work, sides: Vec<Side>, bars: Vec<Bar>) -> Row {
    Row { name, text, work, awake: false, durable: false, sides, bars }
}

fn tls_memory(args: &Args) -> Vec<Row> {
    let connections = scaled(args, 2000);
    let idle = |name, transport: Transport| {
        let hold = Hold { connections, ..hold(args, transport) };
        let sides =
            vec![side("encke", ENCKE, TLS), side("nchan", NCHAN, TLS), side("centrifugo", CENTRIFUGO, TLS)];
        let each = "PSS per connection, bytes";
        let bars = vec![
            at_most(0, each, Limit::Most(5.0 * 1024.0), 1.0),
            at_most(0, each, Limit::Side(NCHAN), 0.12),
            told(0, each, Limit::Side(CENTRIFUGO)),
        ];
        tls_row(
            name,
            format!("{connections} idle, {} over TLS", transport.name()),
            Work::Hold(hold),
            sides,
            bars,
        )
    };
    let http2 = {
        let hold = Hold { connections, ..hold(args, Transport::Sse) };
        let sides = vec![side("encke", ENCKE, HTTP2), side("centrifugo", CENTRIFUGO, HTTP2)];
        let each = "PSS per connection, bytes";
        let bars =
            vec![at_most(0, each, Limit::Most(16.0 * 1024.0), 1.0), told(0, each, Limit::Side(CENTRIFUGO))];
        tls_row("http2-idle", format!("{connections} idle, SSE over HTTP/2"), Work::Hold(hold), sides, bars)
    };
    let receivers = scaled(args, 200);
    let stalled = |name, how: &str, setup, most: f64| {
        let of = Stalled {
            transport: Transport::Sse,
            receivers,
            messages: 200,
            payload: 50_000,
            rate: 50.0,
            rest: args.rest,
        };
        let mut sides = vec![side("encke", ENCKE, setup), side("centrifugo", CENTRIFUGO, setup)];
        if !setup.http2 {
            sides.push(side("nchan", NCHAN, setup));
        }
        let (each, left) = ("KB each beyond the log", "MB of it in all that stay when they have gone");
        let bars = vec![
            at_most(0, each, Limit::Most(most), 1.0),
            at_most(1, left, Limit::Most(1.0), 1.0),
            told(0, each, Limit::Side(NCHAN)),
            told(0, each, Limit::Side(CENTRIFUGO)),
        ];
        let text = format!("{receivers} that take nothing while 200 messages of 50 KB come, SSE over {how}");
        tls_row(name, text, Work::Stalled(of), sides, bars)
    };
    vec![
        idle("tls-idle-sse", Transport::Sse),
        idle("tls-idle-ws", Transport::Ws),
        http2,
        stalled("tls-stalled", "TLS", TLS, 20.0),
        stalled("http2-stalled", "HTTP/2", HTTP2, 80.0),
    ]
}

fn tls_time(args: &Args) -> Vec<Row> {
    let subscribers = scaled(args, 2000);
    let one = Fanout { subscribers, rate: 4.0, ..one(args) };
    let poll = Fanout { transport: Transport::Poll, ..one };
    let (encke, plain) = (|setup| side("encke", ENCKE, setup), side("encke", PLAIN, WITHOUT));
    let delivery = "CPU per delivery, us";
    let ratio = |most| at_most(0, delivery, Limit::Side(PLAIN), most);
    let rate = 5000.0;
    let push = |setup| Setup { push: true, ..setup };
    vec![
        tls_row(
            "tls-one",
            format!("1 channel, {subscribers} by SSE over TLS, 4 messages a second"),
            Work::Fanout(one),
            vec![encke(TLS), plain.clone(), side("nchan", NCHAN, TLS), side("centrifugo", CENTRIFUGO, TLS)],
            vec![
                ratio(1.3),
                at_most(0, delivery, Limit::Side(NCHAN), 0.75),
                told(0, delivery, Limit::Side(CENTRIFUGO)),
            ],
        ),
        tls_row(
            "http2-one",
            format!("1 channel, {subscribers} by SSE over HTTP/2, 4 messages a second"),
            Work::Fanout(one),
            vec![encke(HTTP2), plain.clone(), side("centrifugo", CENTRIFUGO, HTTP2)],
            vec![ratio(1.8), told(0, delivery, Limit::Side(CENTRIFUGO))],
        ),
        tls_row(
            "tls-poll",
            format!("1 channel, {subscribers} by poll over TLS, delivery and re-request"),
            Work::Fanout(poll),
            vec![encke(TLS), plain],
            vec![ratio(1.35)],
        ),
        tls_row(
            "tls-push",
            format!(
                "{} by SSE over TLS, {} a second pushed to one each",
                scaled(args, 1000),
                rate * args.scale
            ),
            Work::Targeted(to_one_each(args, rate)),
            vec![encke(push(TLS)), side("encke", PLAIN, push(WITHOUT))],
            vec![
                at_most(0, CPU, Limit::Side(PLAIN), 1.3),
                at_most(1, P50, Limit::SidePlus(PLAIN, 0.1), 1.0),
                at_most(2, P99, Limit::SidePlus(PLAIN, 0.1), 1.0),
            ],
        ),
    ]
}

fn handshakes() -> Vec<Row> {
    let row = |name, resumed: bool| {
        let sides =
            vec![side("encke", ENCKE, TLS), side("nchan", NCHAN, TLS), side("centrifugo", CENTRIFUGO, TLS)];
        let cpu = "CPU each, us";
        let bars = vec![at_most(0, cpu, Limit::Side(NCHAN), 0.6), told(0, cpu, Limit::Side(CENTRIFUGO))];
        let text = format!("{} handshakes, TLS 1.3, P-256", if resumed { "resumed" } else { "full" });
        tls_row(name, text, Work::Handshake(Handshakes { count: 3000, resumed }), sides, bars)
    };
    vec![row("handshake", false), row("handshake-resumed", true)]
}
