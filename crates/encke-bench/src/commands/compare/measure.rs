//! One work done by one server: its figures, and what speaks against them.

use std::io;

use super::row::{Row, Side, Work};
use crate::{
    awake::Awake,
    commands::{append, churn, fanout, handshake, hold, reopen, stalled, sustain, targeted},
    parts::Used,
    peers::{self, PeerSettings},
    procfs,
};

/// Above this share of stolen time, or of work by others, in percent, a window says little.
const STOLEN_MAX: f64 = 2.0;
const OTHERS_MAX: f64 = 10.0;

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    /// In the order in which [`Work`] tells them.
    pub figures: Vec<f64>,
    /// That the machine had other work to do; empty if not.
    pub note: String,
}

impl From<Vec<f64>> for Measured {
    fn from(figures: Vec<f64>) -> Self {
        Self { figures, note: String::new() }
    }
}

/// Starts the server of this side, lets it do the work of the row, and stops it.
///
/// # Errors
/// Of kind [`io::ErrorKind::Unsupported`] when the server cannot do it; another when it did not do it right.
pub fn measure(settings: &PeerSettings, row: &Row, side: &Side) -> io::Result<Measured> {
    let options = side.setup.over(&settings.encke);
    let processors = [options.server_cpu, options.own_cpu].map(Option::unwrap_or_default);
    let awake = row.awake.then(|| Awake::keep(&processors)).transpose()?;
    // These have no server that waits, or start it more than once.
    match &row.work {
        Work::Append(of) => return Ok(vec![append::measure(of)?].into()),
        Work::Reopen(of) => return Ok(vec![reopen::measure(&options, *of)?.took.as_secs_f64()].into()),
        _ => {}
    }
    let peer = peers::open(side.peer, &PeerSettings { encke: options, ..settings.clone() })?;
    let note = |others_busy: f64, stolen: f64| {
        // What keeps a processor awake is at work for itself.
        let disturbed = stolen > STOLEN_MAX || (others_busy > OTHERS_MAX && awake.is_none());
        let note = || {
            format!("(disturbed: others {others_busy:.0} %, stolen {stolen:.1} %, load {})", procfs::load())
        };
        if disturbed { note() } else { String::new() }
    };
    let ms = |us: u64| us as f64 / 1000.0;
    Ok(match row.work {
        Work::Hold(of) => {
            let held = hold::measure(&*peer, of)?;
            vec![held.slope, held.after_messages].into()
        }
        Work::Fanout(of) => {
            let of = fanout::measure(&*peer, of)?;
            let each = [0.5, 0.99].map(|quantile| ms(of.each.value_at_quantile(quantile)));
            let figures = vec![of.cpu_us, ms(of.last.value_at_quantile(0.99)), each[0], each[1]];
            Measured { figures, note: note(of.others_busy, of.stolen) }
        }
        Work::Targeted(of) => {
            let of = targeted::measure(&*peer, of)?;
            let (p50, p99) = (of.each.value_at_quantile(0.5), of.each.value_at_quantile(0.99));
            let figures = vec![of.cpu_us, ms(p50), ms(p99), engine_us(&of.parts, of.messages)];
            // The engine that they share is no stranger.
            let engine = engine_us(&of.parts, 1) / 1e6 / of.seconds * 100.0;
            Measured { figures, note: note(of.others_busy - engine.max(0.0), of.stolen) }
        }
        Work::Churn(of) => {
            let of = churn::measure(&*peer, of)?;
            Measured {
                figures: vec![of.cpu_us, 1.0 + of.drift() / 100.0],
                note: note(of.others_busy, of.stolen),
            }
        }
        Work::Sustain(of) => {
            let best = sustain::measure(&*peer, of)?;
            vec![best.rate, best.p99_ms].into()
        }
        Work::Stalled(of) => {
            let cost = stalled::measure(&*peer, of)?;
            vec![cost.each / 1e3, cost.left / 1e6].into()
        }
        Work::Handshake(of) => vec![handshake::measure(&*peer, of)?].into(),
        Work::Append(_) | Work::Reopen(_) => Vec::new().into(),
    })
}

/// Processor time of what nodes keep their logs in, for each message, in microseconds; 0 when there is no
/// such part.
fn engine_us(parts: &[Used], messages: u64) -> f64 {
    let engine = parts.iter().filter(|part| !part.name.starts_with("node "));
    // The sum of nothing would be a negative zero.
    engine.fold(0.0, |sum, part| sum + part.cpu_s) * 1e6 / messages.max(1) as f64
}
