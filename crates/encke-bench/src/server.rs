//! A server that was started to be measured, and is stopped when it was.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_setaffinity},
};

use crate::procfs;

/// How long a server may take to start, and to stop.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A directory that is removed when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("encke-bench-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in the directory for temporary files does no harm; what was handed on has no
        // path.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its files; they go when it does.
    pub scratch: Scratch,
}

impl Server {
    /// Starts `command` on the given processor (none: wherever the kernel likes), its standard error in a
    /// file of `scratch`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        mut command: Command,
        scratch: Scratch,
        cpu: Option<usize>,
        own_cpu: Option<usize>,
    ) -> io::Result<Self> {
        command.stdin(Stdio::null()).stderr(File::create(scratch.path().join("stderr"))?);
        // A child begins where its parent is, all its threads with it.
        pin(cpu)?;
        let child = command.spawn();
        pin(own_cpu)?;
        Ok(Self { child: child?, scratch })
    }

    /// The first line of its standard output that begins with `prefix`, without it.
    ///
    /// # Errors
    /// When the server ends before it says so.
    pub fn line(&mut self, prefix: &str) -> io::Result<String> {
        let out = self.child.stdout.take().ok_or_else(|| io::Error::other("its output is not read"))?;
        let mut out = BufReader::new(out);
        loop {
            let mut line = String::new();
            if out.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("the server ended: {}", self.complaint())));
            }
            if let Some(rest) = line.strip_prefix(prefix) {
                // The pipe has to stay open as long as the server may write to it.
                self.child.stdout = Some(out.into_inner());
                return Ok(rest.trim().to_owned());
            }
        }
    }

    /// Waits until something listens at the address.
    ///
    /// # Errors
    /// When nothing does in time.
    pub fn await_port(&mut self, address: SocketAddr) -> io::Result<()> {
        let ends = Instant::now() + TIMEOUT;
        loop {
            match std::net::TcpStream::connect(address) {
                Ok(_) => return Ok(()),
                Err(_) if self.child.try_wait()?.is_none() && Instant::now() < ends => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                Err(_) => {
                    return Err(io::Error::other(format!(
                        "nothing listens at {address}: {}",
                        self.complaint()
                    )));
                }
            }
        }
    }

    /// Its processes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        procfs::family(self.child.id())
    }

    /// Ends it at once, as a crash would, and hands back its files.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(mut self) -> io::Result<Scratch> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(std::mem::replace(&mut self.scratch, Scratch(PathBuf::new())))
    }

    /// What it wrote to its standard error: the last of it.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ends = Instant::now() + TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > ends {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ties this thread, and what it starts from now on, to one processor, or to none.
///
/// # Errors
/// When the kernel refuses.
pub fn pin(cpu: Option<usize>) -> io::Result<()> {
    let mut set = CpuSet::new();
    match cpu {
        Some(cpu) => set.set(cpu),
        None => (0..CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu)),
    }
    Ok(sched_setaffinity(None, &set)?)
}
