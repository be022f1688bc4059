//! What is done to the server, in an order that follows from the seed.

use std::{collections::BTreeMap, io, time::Duration};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    clock::Clock,
    disk::Disk,
    evidence::{Evidence, Note},
    fsync::FailingSync,
    server::Server,
    tail::tear,
};
use crate::choice::Choice;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 while publishers publish.
    Kill,
    /// kill -9, and then the end of the store's log is harmed.
    Tear,
    /// SIGTERM, and the next one is started.
    Restart,
    /// SIGSTOP, and SIGCONT some seconds later.
    Freeze,
    /// The disk is full for some seconds.
    Fill,
    /// Syncing fails for some seconds.
    Sync,
    /// The clock jumps, to and fro, by up to two days.
    Clock,
}

impl Fault {
    /// All kinds, in the order of the report.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Kill, "kill -9 while publishing"),
        (Self::Tear, "kill -9, then a torn tail of the store's log"),
        (Self::Restart, "SIGTERM and restart"),
        (Self::Freeze, "SIGSTOP, 1 to 10 s later SIGCONT"),
        (Self::Fill, "disk full, then free again"),
        (Self::Sync, "fsync fails with EIO"),
        (Self::Clock, "clock jumps by up to two days, and restart"),
    ];
}

/// How many of each kind.
#[derive(Clone, Debug, clap::Args)]
pub struct Counts {
    /// How often the server is killed while publishers publish (torn tails count too)
    #[arg(long, default_value_t = 200)]
    pub kills: usize,
    /// How many of these kills are followed by harm to the end of the store's log
    #[arg(long, default_value_t = 40)]
    pub torn: usize,
    /// How often it is stopped in order and started again
    #[arg(long, default_value_t = 25)]
    pub restarts: usize,
    /// How often it is frozen for 1 to 10 s
    #[arg(long, default_value_t = 25)]
    pub freezes: usize,
    /// How often its disk is full for some seconds (takes root)
    #[arg(long, default_value_t = 15)]
    pub full: usize,
    /// How often syncing fails for some seconds (takes strace)
    #[arg(long, default_value_t = 20)]
    pub syncs: usize,
    /// How often its clock jumps (takes libfaketime)
    #[arg(long, default_value_t = 15)]
    pub clocks: usize,
}

impl Counts {
    /// The faults in the order in which they come.
    #[must_use]
    pub fn schedule(&self, choice: &mut Choice) -> Vec<Fault> {
        let torn = self.torn.min(self.kills);
        let counts =
            [self.kills - torn, torn, self.restarts, self.freezes, self.full, self.syncs, self.clocks];
        let mut faults: Vec<Fault> =
            Fault::ALL.iter().zip(counts).flat_map(|((fault, _), count)| vec![*fault; count]).collect();
        for last in (1..faults.len()).rev() {
            faults.swap(last, choice.below(last as u32 + 1) as usize);
        }
        faults
    }
}

/// Does it, and counts what was done.
#[derive(Debug)]
pub struct Hand {
    evidence: Evidence,
    choice: Choice,
    /// How often each was done.
    pub done: BTreeMap<Fault, usize>,
    /// What could not be done on this machine, and why.
    pub skipped: BTreeMap<Fault, String>,
    /// How many calls were made to fail.
    pub failed_syncs: usize,
}

impl Hand {
    /// Nothing was done yet.
    #[must_use]
    pub fn new(evidence: Evidence, choice: Choice) -> Self {
        Self { evidence, choice, done: BTreeMap::new(), skipped: BTreeMap::new(), failed_syncs: 0 }
    }

    fn note(&self, what: String) {
        self.evidence.note(Note::Fault(what));
    }

    fn ms(&mut self, least: u32, most: u32) -> Duration {
        Duration::from_millis(u64::from(least + self.choice.below(most - least)))
    }

    /// Does one, and leaves a server that runs.
    ///
    /// # Errors
    /// When the server does not do what it should even so: it ends, does not start, does not stop.
    pub async fn harm(&mut self, fault: Fault, server: &mut Server) -> io::Result<()> {
        if self.skipped.contains_key(&fault) {
            return Ok(());
        }
        let done = match fault {
            Fault::Kill | Fault::Tear => self.kill(fault == Fault::Tear, server).await?,
            Fault::Restart => {
                self.note("SIGTERM".to_owned());
                server.stop().await?;
                server.start(None).await?;
                self.note("started".to_owned());
                true
            }
            Fault::Freeze => {
                let pause = self.ms(1_000, 10_000);
                self.note(format!("SIGSTOP for {pause:?}"));
                server.signal(Signal::STOP)?;
                sleep(pause).await;
                server.signal(Signal::CONT)?;
                true
            }
            Fault::Fill => self.fill(server).await?,
            Fault::Sync => self.fail_syncs(server).await?,
            Fault::Clock => self.jump(server).await?,
        };
        if done {
            *self.done.entry(fault).or_default() += 1;
        }
        Ok(())
    }

    fn skip(&mut self, fault: Fault, why: String) -> bool {
        eprintln!("SKIPPED from here on: {fault:?}: {why}");
        self.skipped.insert(fault, why);
        false
    }

    async fn kill(&mut self, torn: bool, server: &mut Server) -> io::Result<bool> {
        self.note("kill -9".to_owned());
        server.kill()?;
        let mut done = true;
        if torn {
            match tear(&server.data, &mut self.choice)? {
                Some(how) => self.note(format!("torn: {how}")),
                None => done = false,
            }
        }
        // Now and then it stays away for longer than a client's first attempts.
        let pause = if self.choice.below(5) == 0 { self.ms(500, 3_000) } else { self.ms(0, 100) };
        sleep(pause).await;
        server.start(None).await?;
        self.note("started".to_owned());
        Ok(done)
    }

    async fn fill(&mut self, server: &mut Server) -> io::Result<bool> {
        let disk = match Disk::mount(server.scratch(), &server.data) {
            Ok(disk) => disk,
            Err(error) => return Ok(self.skip(Fault::Fill, format!("no disk can be mounted: {error}"))),
        };
        let home = server.data.clone();
        server.stop().await?;
        server.move_data(&disk.path().join("data"))?;
        server.start(None).await?;
        for _ in 0..1 + self.choice.below(2) {
            sleep(self.ms(300, 1_500)).await;
            self.note("the disk is full".to_owned());
            disk.fill()?;
            sleep(self.ms(500, 4_000)).await;
            let dies = self.choice.below(3) == 0;
            if dies {
                self.note("kill -9 on a full disk".to_owned());
                server.kill()?;
            }
            disk.free()?;
            self.note("the disk has room again".to_owned());
            if dies {
                server.start(None).await?;
            }
        }
        sleep(self.ms(300, 1_500)).await;
        server.stop().await?;
        server.move_data(&home)?;
        server.start(None).await?;
        drop(disk);
        Ok(true)
    }

    async fn fail_syncs(&mut self, server: &mut Server) -> io::Result<bool> {
        let Some(pid) = server.pid() else { return Ok(false) };
        let when = ["1+1", "1+2", "2+3", "1+7"][self.choice.below(4) as usize];
        let failing = match FailingSync::attach(pid, when, server.scratch()).await {
            Ok(failing) => failing,
            Err(error) => return Ok(self.skip(Fault::Sync, error.to_string())),
        };
        self.note(format!("fsync fails, {when}"));
        sleep(self.ms(500, 4_000)).await;
        let failed = failing.detach().await?;
        self.note(format!("fsync works again; {failed} failed"));
        self.failed_syncs += failed;
        Ok(failed > 0)
    }

    async fn jump(&mut self, server: &mut Server) -> io::Result<bool> {
        let clock = match Clock::new(server.scratch())? {
            Some(clock) => clock,
            None => return Ok(self.skip(Fault::Clock, "libfaketime is not installed".to_owned())),
        };
        server.stop().await?;
        server.start(Some(&clock)).await?;
        const DAY_S: i64 = 86_400;
        for _ in 0..2 + self.choice.below(3) {
            let shift = [-2 * DAY_S, -3_600, -30, 45, 3_600, 2 * DAY_S][self.choice.below(6) as usize];
            clock.shift(shift)?;
            self.note(format!("the clock is {shift:+} s off"));
            sleep(self.ms(1_000, 3_000)).await;
        }
        // With a wrong clock the process ends in one of two ways; the next one has the right time.
        if self.choice.below(2) == 0 {
            server.kill()?
        } else {
            server.stop().await?
        }
        server.start(None).await?;
        self.note("started with the right time".to_owned());
        Ok(true)
    }
}
