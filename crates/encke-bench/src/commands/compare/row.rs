//! A row of the comparison: a work, the servers that do it, and what is asked of their figures.

use crate::{
    commands::{
        append::AppendOptions, churn::Churn, fanout::Fanout, handshake::Handshakes, hold::Hold,
        reopen::Reopen, stalled::Stalled, sustain::Sustain, targeted::Targeted,
    },
    peers::{Dialect, EnckeOptions},
};

/// What is done.
#[derive(Clone, Debug)]
pub enum Work {
    /// Memory of idle connections: bytes for each, and the same after messages.
    Hold(Hold),
    /// Broadcasts: processor time for each delivery, the 99th percentile to the last, and the median and the
    /// 99th percentile of each delivery.
    Fanout(Fanout),
    /// Messages to one each: processor time, median, 99th percentile, and the processor time of the shared
    /// engine.
    Targeted(Targeted),
    /// Connections that come and go: processor time for each, and how the memory has grown.
    Churn(Churn),
    /// The highest rate that is sustained: messages a second.
    Sustain(Sustain),
    /// Receivers that take nothing: kilobytes for each, and megabytes that stay.
    Stalled(Stalled),
    /// Handshakes: processor time for each.
    Handshake(Handshakes),
    /// Appends to the store alone: how many a second.
    Append(AppendOptions),
    /// The time to open a store whose server was killed: seconds.
    Reopen(Reopen),
}

/// How a server is set up for a work. What is not said stays as the command line has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// Where Encke keeps its logs, if the row is about that.
    pub engine: Option<&'static str>,
    /// Encke is asked to push, which keeps receipts, instead of to publish to a channel for each.
    pub push: bool,
    /// It is the first of two nodes on one Redis, and all subscribers wait at the second.
    pub two_nodes: bool,
    /// With TLS.
    pub tls: bool,
    /// With HTTP/2 for all subscribers; needs `tls`.
    pub http2: bool,
    /// The protocol of Encke's subscribers.
    pub dialect: Dialect,
    /// How long Encke lets broadcasts gather, in milliseconds.
    pub linger_ms: Option<u64>,
    /// With as many workers as it takes by itself, on any processor; else one, on a processor of its own.
    pub as_it_comes: bool,
}

impl Setup {
    /// The options of the command line with this over them.
    #[must_use]
    pub fn over(&self, options: &EnckeOptions) -> EnckeOptions {
        let mut options = EnckeOptions { users_as_channels: !self.push, ..options.clone() };
        if let Some(engine) = self.engine {
            engine.clone_into(&mut options.engine);
        }
        if self.two_nodes {
            (options.nodes, options.apart, options.engine) = (2, true, "redis".to_owned());
        }
        if !self.as_it_comes {
            options.server_cpu = options.server_cpu.or(Some(0));
            options.own_cpu = options.own_cpu.or(Some(1));
        }
        (options.tls, options.http2) = (self.tls, self.http2);
        (options.linger_ms, options.as_it_comes) = (self.linger_ms, self.as_it_comes);
        options.dialect = self.dialect;
        options
    }
}

/// A server that does the work of a row.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its kind, as on the command line.
    pub peer: &'static str,
    /// What it is called in the table; another one for each side of a row.
    pub label: &'static str,
    /// How it is set up.
    pub setup: Setup,
}

/// What is asked of a figure of the first side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// It is put beside that of this side.
    Side(&'static str),
    /// It is put beside that of this side and so much more.
    SidePlus(&'static str, f64),
    /// It is put beside that of this side and the median of a bare fdatasync, in milliseconds.
    SidePlusFdatasync(&'static str),
    /// It is put beside the larger of that of this side and twice the 99th percentile of a bare fdatasync.
    SideOrTwoFdatasyncs(&'static str),
    /// It is at most so much.
    Most(f64),
    /// It is at least so much.
    Least(f64),
}

impl Limit {
    /// The side that it needs.
    #[must_use]
    pub fn side(&self) -> Option<&'static str> {
        match self {
            Self::Side(side)
            | Self::SidePlus(side, _)
            | Self::SidePlusFdatasync(side)
            | Self::SideOrTwoFdatasyncs(side) => Some(side),
            Self::Most(_) | Self::Least(_) => None,
        }
    }

    /// What the figure is put beside, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Side(side) => (*side).to_owned(),
            Self::SidePlus(side, more) => format!("{side}, and {more}"),
            Self::SidePlusFdatasync(side) => format!("{side}, and an fdatasync"),
            Self::SideOrTwoFdatasyncs(side) => format!("{side}, or two fdatasyncs"),
            Self::Most(_) => "at most".to_owned(),
            Self::Least(_) => "at least".to_owned(),
        }
    }

    /// What the figure is put beside. `side` is the figure of its side, if it needs one; `fdatasync` the
    /// median and the 99th percentile of a bare loop, in milliseconds.
    #[must_use]
    pub fn reference(&self, side: f64, fdatasync: (f64, f64)) -> f64 {
        match self {
            Self::Side(_) => side,
            Self::SidePlus(_, more) => side + more,
            Self::SidePlusFdatasync(_) => side + fdatasync.0,
            Self::SideOrTwoFdatasyncs(_) => side.max(2.0 * fdatasync.1),
            Self::Most(bound) | Self::Least(bound) => *bound,
        }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Which of the work's figures.
    pub figure: usize,
    /// What it is called.
    pub measure: &'static str,
    /// What is asked of it.
    pub limit: Limit,
    /// The most that it may be of that; none where it is only told.
    pub most: Option<f64>,
}

/// A work with its name, what it is, who does it, and what is asked.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is.
    pub text: String,
    /// What is done.
    pub work: Work,
    /// Whether no processor may sleep meanwhile.
    pub awake: bool,
    /// Whether a bare loop of fdatasyncs is told beside it.
    pub durable: bool,
    /// By whom. The first is the one whose figures the bars are about.
    pub sides: Vec<Side>,
    /// What is asked.
    pub bars: Vec<Bar>,
}

impl Row {
    /// The row without the sides of peers that are not asked for, and the bars that need them; nothing when
    /// no bar is left.
    #[must_use]
    pub fn among(mut self, peers: &[String]) -> Option<Self> {
        self.sides.retain(|side| side.peer == "encke" || peers.iter().any(|peer| peer == side.peer));
        let there = |bar: &Bar| {
            bar.limit.side().is_none_or(|label| self.sides.iter().any(|side| side.label == label))
        };
        self.bars.retain(there);
        (!self.bars.is_empty()).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_they_say() {
        let fdatasync = (0.25, 3.0);
        assert_eq!(Limit::Side("a").reference(2.0, fdatasync), 2.0);
        assert_eq!(Limit::SidePlus("a", 0.5).reference(2.0, fdatasync), 2.5);
        assert_eq!(Limit::SidePlusFdatasync("a").reference(2.0, fdatasync), 2.25);
        assert_eq!(Limit::SideOrTwoFdatasyncs("a").reference(2.0, fdatasync), 6.0);
        assert_eq!(Limit::SideOrTwoFdatasyncs("a").reference(7.0, fdatasync), 7.0);
        assert_eq!(Limit::Least(9.0).reference(f64::NAN, fdatasync), 9.0);
    }

    #[test]
    fn a_row_keeps_the_sides_that_are_asked_for() {
        let side = |peer, label| Side { peer, label, setup: Setup::default() };
        let bar = |limit| Bar { figure: 0, measure: "us", limit, most: Some(1.0) };
        let row = Row {
            name: "row",
            text: String::new(),
            work: Work::Handshake(Handshakes { count: 1, resumed: false }),
            awake: false,
            durable: false,
            sides: vec![side("encke", "Encke"), side("nchan", "Nchan"), side("centrifugo", "Centrifugo")],
            bars: vec![bar(Limit::Side("Nchan")), bar(Limit::Side("Centrifugo"))],
        };
        let kept = row.clone().among(&["centrifugo".to_owned()]).unwrap();
        assert_eq!(kept.sides.iter().map(|side| side.label).collect::<Vec<_>>(), ["Encke", "Centrifugo"]);
        assert_eq!(kept.bars.iter().map(|bar| bar.limit).collect::<Vec<_>>(), [Limit::Side("Centrifugo")]);
        assert!(row.among(&["template".to_owned()]).is_none());
    }
}
