//! Processors that are kept from sleeping.

use std::{
    io,
    process::{Child, Command, Stdio},
};

/// Something on each processor that runs only when nothing else does (`SCHED_IDLE`), as long as this value
/// lives: so no processor halts, and no latency is that of the hypervisor waking it up.
#[derive(Debug)]
pub struct Awake(Vec<Child>);

/// Spins, and looks from time to time whether its parent process is still there.
const SPIN: &str = "while kill -0 $1 2>/dev/null; do i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; done";

impl Awake {
    /// Keeps these processors awake.
    ///
    /// # Errors
    /// When `chrt` or `taskset`, both of util-linux, cannot be run.
    pub fn keep(processors: &[usize]) -> io::Result<Self> {
        let mut awake = Self(Vec::with_capacity(processors.len()));
        for processor in processors {
            let mut command = Command::new("chrt");
            command.args([
                "--idle",
                "0",
                "taskset",
                "--cpu-list",
                &processor.to_string(),
                "sh",
                "-c",
                SPIN,
                "sh",
            ]);
            awake.0.push(
                command
                    .arg(std::process::id().to_string())
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .spawn()?,
            );
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for spinner in &mut self.0 {
            // It may have ended by itself.
            let _ = spinner.kill();
            let _ = spinner.wait();
        }
    }
}
