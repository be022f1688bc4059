//! A NATS server of the tests' own.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take.
pub const TIMEOUT: Duration = Duration::from_secs(60);
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Where the server's program is: said by the environment, or put there by `tests/run`.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("ENCKE_NATS_SERVER") {
        return PathBuf::from(path);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/nats/bin/nats-server");
    assert!(
        target.is_file(),
        "there is no nats-server; `tests/run` installs one, or ENCKE_NATS_SERVER names one"
    );
    target
}

/// A server, which ends with this process whatever becomes of it.
pub struct Server {
    /// A shell that ends the server when its own input ends.
    watchdog: Child,
    pub dir: PathBuf,
    pub port: u16,
    pub name: String,
}

impl Server {
    /// Starts it by the file `conf` of this directory.
    pub fn start(dir: &Path, name: &str, port: u16) -> Self {
        let pid = dir.join("pid");
        let _ = std::fs::remove_file(&pid);
        let script = "\"$0\" -c \"$1\" -P \"$2\" >>\"$3\" 2>&1 & read -r line; kill -9 $!; wait";
        let watchdog = Command::new("sh")
            .args(["-c", script])
            .args([program(), dir.join("conf"), pid, dir.join("log")])
            .stdin(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        Self { watchdog, dir: dir.to_owned(), port, name: name.to_owned() }
    }

    /// The server's own process.
    pub fn pid(&self) -> u32 {
        let wait = Instant::now();
        loop {
            let pid =
                std::fs::read_to_string(self.dir.join("pid")).ok().and_then(|text| text.trim().parse().ok());
            if let Some(pid) = pid {
                return pid;
            }
            assert!(wait.elapsed() < TIMEOUT, "the server begins");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    pub fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([signal, &self.pid().to_string()]).status().expect("there is kill");
        assert!(status.success(), "the server was there");
    }

    /// Kills it as a power cut does, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().expect("the watchdog was there");
    }

    /// Starts it again on what it left.
    pub fn restart(&mut self) {
        *self = Self::start(&self.dir, &self.name, self.port);
    }

    /// Prints the end of what it wrote down, which tells why a test failed.
    fn print_log(&self) {
        const LINES: usize = 20;
        let log = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}:\n{}", self.name, lines[lines.len().saturating_sub(LINES)..].join("\n"));
    }

    /// How much processor time it has used, in milliseconds.
    pub fn processor_ms(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        let words: Vec<&str> =
            stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().map(|at| words[*at].parse::<u64>().expect("ticks")).sum();
        ticks * 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_log();
        }
        if let Some(mut input) = self.watchdog.stdin.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.watchdog.wait();
    }
}
