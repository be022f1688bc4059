//! A disk that fails to sync: strace changes the result of the system call.

use std::{
    io,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// How long strace may take to attach, and to let go.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Every call of these kinds fails that `when` names, while this is there.
#[derive(Debug)]
pub struct FailingSync {
    strace: Child,
    log: std::path::PathBuf,
}

impl FailingSync {
    /// Attaches to the server. `when` is in strace's words: `1+2` is every second one.
    ///
    /// # Errors
    /// When there is no strace, or it may not attach.
    pub async fn attach(server: Pid, when: &str, scratch: &Path) -> io::Result<Self> {
        let log = scratch.join("strace");
        let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
        let strace = Command::new("strace")
            .args([
                "-f",
                "-p",
                &server.as_raw_nonzero().to_string(),
                "-e",
                "trace=fsync,fdatasync",
                "-e",
                &inject,
                "-o",
            ])
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut failing = Self { strace, log };
        let began = Instant::now();
        while !is_traced(server)? {
            if let Some(status) = failing.strace.try_wait()? {
                return Err(io::Error::other(format!("strace ended: {status}")));
            }
            if began.elapsed() > TIMEOUT {
                return Err(io::Error::other("strace does not attach"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(failing)
    }

    /// Lets go; how many calls failed.
    ///
    /// # Errors
    /// When it does not let go.
    pub async fn detach(mut self) -> io::Result<usize> {
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT)?;
        }
        let began = Instant::now();
        while self.strace.try_wait()?.is_none() {
            if began.elapsed() > TIMEOUT {
                return Err(io::Error::other("strace does not let go"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(std::fs::read_to_string(&self.log)?.lines().filter(|line| line.contains("(INJECTED)")).count())
    }
}

impl Drop for FailingSync {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn is_traced(process: Pid) -> io::Result<bool> {
    // A thread that is not traced yet may be the one that syncs.
    for task in std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()))? {
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() == "0")) {
            return Ok(false);
        }
    }
    Ok(true)
}
