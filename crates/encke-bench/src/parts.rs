//! What each part of a server uses: the nodes of a cluster, and what they keep their logs in.

use std::time::Instant;

use crate::{
    peers::{Part, Peer},
    procfs::{self, Cpu},
};

/// The parts at a moment.
#[derive(Debug)]
pub struct Parts {
    at: Instant,
    parts: Vec<(Part, Cpu, u64)>,
}

/// What a part has used since a moment.
#[derive(Clone, Debug)]
pub struct Used {
    /// What it is called.
    pub name: String,
    /// Processor time, in seconds a second.
    pub busy: f64,
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// How much more memory (PSS) it has, in bytes.
    pub grown: f64,
}

impl Parts {
    /// The parts of a server now; none when it has but one.
    #[must_use]
    pub fn now(peer: &dyn Peer) -> Self {
        let look = |part: Part| {
            let (cpu, pss) = (Cpu::of(&part.pids), procfs::pss_bytes(&part.pids));
            (part, cpu, pss)
        };
        Self { at: Instant::now(), parts: peer.parts().into_iter().map(look).collect() }
    }

    /// What each has used since then.
    #[must_use]
    pub fn used(&self) -> Vec<Used> {
        let time = self.at.elapsed().as_secs_f64();
        let used = |(part, cpu, pss): &(Part, Cpu, u64)| {
            let cpu_s = Cpu::of(&part.pids).since(cpu).total.as_secs_f64();
            let grown = procfs::pss_bytes(&part.pids) as f64 - *pss as f64;
            Used { name: part.name.clone(), busy: cpu_s / time, cpu_s, grown }
        };
        self.parts.iter().map(used).collect()
    }
}

/// A line that tells of each part; nothing when there are none.
#[must_use]
pub fn line(used: &[Used], tell: impl Fn(&Used) -> String) -> String {
    used.iter().map(|used| format!("{} {}", used.name, tell(used))).collect::<Vec<_>>().join(", ")
}
