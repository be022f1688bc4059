//! The protocol of Pusher Channels over WebSocket, beside Sockudo.

use super::{
    super::{
        Args,
        row::{Bar, Limit, Row, Setup, Work},
    },
    ENCKE, at_most, hold, one, scaled, side, told,
};
use crate::{
    commands::fanout::Fanout,
    peers::{Dialect, Transport},
};

const SOCKUDO: &str = "Sockudo";
const OWN: &str = "Encke, own WebSockets";

pub(super) fn rows(args: &Args) -> Vec<Row> {
    let count = scaled(args, 10_000);
    let bytes = "PSS per connection, bytes";
    let cpu = "CPU per delivery, us";
    vec![
        row(
            "pusher-idle",
            format!("{count} idle by Pusher's WebSocket"),
            Work::Hold(hold(args, Transport::Ws)),
            vec![at_most(0, bytes, Limit::Side(SOCKUDO), 0.03), told(0, bytes, Limit::Side(OWN))],
        ),
        row(
            "pusher-one",
            format!("1 channel, {count} by Pusher's WebSocket, one message at a time"),
            Work::Fanout(Fanout { transport: Transport::Ws, ..one(args) }),
            vec![
                at_most(0, cpu, Limit::Side(SOCKUDO), 0.35),
                told(0, cpu, Limit::Side(OWN)),
                told(1, "p99 to the last subscriber, ms", Limit::Side(SOCKUDO)),
            ],
        ),
    ]
}

fn row(name: &'static str, text: String, work: Work, bars: Vec<Bar>) -> Row {
    let native = Setup::default();
    let sides = vec![
        side("encke", ENCKE, Setup { dialect: Dialect::Pusher, ..native }),
        side("encke", OWN, native),
        side("sockudo", SOCKUDO, native),
    ];
    Row { name, text, work, awake: false, durable: false, sides, bars }
}
