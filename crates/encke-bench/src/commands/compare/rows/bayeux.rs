//! Bayeux's long polls beside those of CometD and Faye, and beside Encke's own polls.

use super::{
    super::{
        Args,
        row::{Bar, Limit, Row, Setup, Work},
    },
    ENCKE, at_most, hold, one, scaled, side, told,
};
use crate::{
    commands::{fanout::Fanout, hold::Hold},
    peers::{Dialect, Transport},
};

const COMETD: &str = "CometD";
const FAYE: &str = "Faye";
const OWN: &str = "Encke, own polls";
/// So many clients is what a CometD is measured with: one takes half a megabyte there.
const CLIENTS: u32 = 1_000;
const CPU: &str = "CPU per delivery, us";
const P50: &str = "p50, ms";
const P99: &str = "p99, ms";

pub(super) fn rows(args: &Args) -> Vec<Row> {
    let clients = scaled(args, CLIENTS);
    let one = Fanout { transport: Transport::Poll, subscribers: clients, rate: 5.0, ..one(args) };
    let rooms = scaled(args, CLIENTS / 10);
    let rooms_at = |name, rate| {
        let text = format!("{rooms} channels, {clients} by Bayeux's long poll, {rate} messages/s");
        broadcast(name, text, Fanout { channels: rooms, rate, ..one })
    };
    let hold = Hold { connections: clients, ..hold(args, Transport::Poll) };
    vec![
        idle(format!("{clients} idle by Bayeux's long poll"), hold),
        broadcast("bayeux-one", format!("1 channel, {clients} by Bayeux's long poll, 5 messages/s"), one),
        rooms_at("bayeux-rooms", 100.0),
        rooms_at("bayeux-rooms-300", 300.0),
    ]
}

fn row(name: &'static str, text: String, work: Work, bars: Vec<Bar>) -> Row {
    let native = Setup::default();
    let sides = vec![
        side("encke", ENCKE, Setup { dialect: Dialect::Bayeux, ..native }),
        side("encke", OWN, native),
        side("cometd", COMETD, native),
        side("faye", FAYE, native),
    ];
    Row { name, text, work, awake: false, durable: false, sides, bars }
}

fn broadcast(name: &'static str, text: String, fanout: Fanout) -> Row {
    let bars = vec![
        at_most(0, CPU, Limit::Side(OWN), 1.4),
        at_most(0, CPU, Limit::Side(COMETD), 0.2),
        at_most(2, P50, Limit::Side(COMETD), 0.5),
        at_most(3, P99, Limit::Side(COMETD), 0.5),
        told(0, CPU, Limit::Side(FAYE)),
        told(3, P99, Limit::Side(FAYE)),
    ];
    row(name, text, Work::Fanout(fanout), bars)
}

fn idle(text: String, hold: Hold) -> Row {
    let bytes = "PSS per connection, bytes";
    let bars = vec![
        at_most(0, bytes, Limit::Most(4096.0), 1.0),
        told(0, bytes, Limit::Side(OWN)),
        told(0, bytes, Limit::Side(COMETD)),
        told(0, bytes, Limit::Side(FAYE)),
    ];
    row("bayeux-idle", text, Work::Hold(hold), bars)
}
