//! The server under test: started, killed, stopped and started again on the same data and the same port.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{net::TcpStream, time::sleep};

use super::{clock::Clock, peer::Peer};
use crate::{
    choice::Choice,
    server::Scratch,
    tls::{self, Identity},
};

/// How long it may take to be there, and to be gone when it was asked to go.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports that the kernel does not give away by itself, so that no client can sit on the server's port while
/// it is down.
const PORTS: std::ops::Range<u16> = 18_000..28_000;

/// The grace time of sessions, in seconds.
pub const GRACE_S: u64 = 4;
/// What every process of the server is started with. Nothing may be trimmed: every gap is a wrong one then.
const SETTINGS: [(&str, &str); 13] = [
    ("ENCKE_HEARTBEAT_S", "2"),
    ("ENCKE_HOLD_S", "5"),
    ("ENCKE_SESSION_GRACE_S", "4"),
    ("ENCKE_SHUTDOWN_DRAIN_S", "3"),
    ("ENCKE_MAX_CONNECTIONS_PER_ADDRESS", "0"),
    ("ENCKE_RETENTION_DEFAULT_MAX_MESSAGES", "1000000000"),
    ("ENCKE_RETENTION_DEFAULT_MAX_BYTES", "1099511627776"),
    ("ENCKE_RETENTION_DEFAULT_MAX_AGE_S", "31536000"),
    ("ENCKE_RETENTION_USERS_MAX_MESSAGES", "1000000000"),
    ("ENCKE_RETENTION_USERS_MAX_BYTES", "1099511627776"),
    ("ENCKE_RETENTION_USERS_MAX_AGE_S", "31536000"),
    ("ENCKE_PUSH_TTL_S", "31536000"),
    ("ENCKE_LOG", "warn"),
];

/// What a server, or all nodes together, must not tell.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key of the API.
    pub api: String,
    /// What tokens are signed with.
    pub secret: String,
}

impl Keys {
    /// New ones.
    #[must_use]
    pub fn new(choice: &mut Choice) -> Self {
        let mut key = || (0..4).map(|_| format!("{:08x}", choice.below(u32::MAX))).collect::<String>();
        Self { api: key(), secret: format!("{}-signs", key()) }
    }
}

/// The server, and where it keeps its data.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    engine: String,
    /// Where it listens, in every process.
    pub address: SocketAddr,
    /// Its secrets.
    pub keys: Keys,
    name: String,
    peer: Option<Peer>,
    scratch: Scratch,
    /// Where it listens for TLS as well, and with which certificate.
    tls: Option<(SocketAddr, Identity)>,
    /// Where its data is now.
    pub data: PathBuf,
    child: Option<Child>,
    /// How often it was started.
    pub lives: u32,
    /// The longest that it took to be there.
    pub slowest_start: Duration,
    /// The longest that it took to be gone.
    pub slowest_stop: Duration,
}

impl Server {
    /// Not started yet.
    ///
    /// # Errors
    /// When there is no place for its data, or no port.
    pub fn new(program: &Path, engine: &str, choice: &mut Choice) -> io::Result<Self> {
        let keys = Keys::new(choice);
        Self::node(program, engine, "chaos", keys, None, choice)
    }

    /// One of several with the same keys; its connections to the engine are known by its process. Not started
    /// yet.
    ///
    /// # Errors
    /// When there is no place for its data, or no port.
    pub fn node(
        program: &Path,
        engine: &str,
        name: &str,
        keys: Keys,
        peer: Option<Peer>,
        choice: &mut Choice,
    ) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let data = scratch.path().join("data");
        let (program, engine) = (program.to_owned(), engine.to_owned());
        let address = free_port(choice)?;
        let name = name.to_owned();
        let (slowest_start, slowest_stop) = (Duration::ZERO, Duration::ZERO);
        Ok(Self {
            program,
            engine,
            address,
            keys,
            name,
            peer,
            scratch,
            tls: None,
            data,
            child: None,
            lives: 0,
            slowest_start,
            slowest_stop,
        })
    }

    /// Has it listen for TLS as well, from its next start on: where, and for clients that trust it.
    ///
    /// # Errors
    /// When there is no port, or no certificate.
    pub fn secure(&mut self, choice: &mut Choice) -> io::Result<(SocketAddr, tls::Client)> {
        let (address, identity) = (free_port(choice)?, Identity::make(self.scratch.path())?);
        let client = identity.client(false)?;
        self.tls = Some((address, identity));
        Ok((address, client))
    }

    /// A place for files beside its data.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts it, with another clock if there is one, and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&mut self, clock: Option<&Clock>) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--listen", &self.address.to_string(), "--engine", &self.engine, "--data"])
            .arg(&self.data);
        command
            .envs(SETTINGS)
            .env("ENCKE_API_KEY", &self.keys.api)
            .env("ENCKE_TOKEN_SECRET", &self.keys.secret);
        command.env("ENCKE_NODE", &self.name);
        if let Some((address, identity)) = &self.tls {
            command
                .env("ENCKE_TLS_LISTEN", address.to_string())
                .env("ENCKE_TLS_CERT", &identity.certificate)
                .env("ENCKE_TLS_KEY", &identity.key);
        }
        if let Some(clock) = clock {
            clock.apply(&mut command);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let began = Instant::now();
        self.child = Some(command.spawn()?);
        if let (Some(peer), Some(pid)) = (&self.peer, self.pid()) {
            peer.is(pid);
        }
        self.lives += 1;
        while !self.answers().await {
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                return Err(io::Error::other(format!(
                    "the server ended at its start: {status}: {}",
                    self.complaint()
                )));
            }
            if began.elapsed() > START_TIMEOUT {
                return Err(io::Error::other(format!("the server does not come up: {}", self.complaint())));
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.slowest_start = self.slowest_start.max(began.elapsed());
        Ok(())
    }

    async fn answers(&self) -> bool {
        TcpStream::connect(self.address).await.is_ok()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().ok_or_else(|| io::Error::other("the server does not run"))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it, in the middle of whatever it does.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let early = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        match early {
            Some(status) => Err(io::Error::other(format!(
                "the server had ended by itself: {status}: {}",
                self.complaint()
            ))),
            None => Ok(()),
        }
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not, or not well.
    pub async fn stop(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        let began = Instant::now();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => {
                    self.slowest_stop = self.slowest_stop.max(began.elapsed());
                    return Ok(());
                }
                Some(status) => return Err(self.ended(status)),
                None if began.elapsed() > STOP_TIMEOUT => {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::other("the server does not stop"));
                }
                None => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> io::Error {
        io::Error::other(format!("the server stopped with {status}: {}", self.complaint()))
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    /// The last that it wrote.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Lines in which it says that it panicked.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }

    /// Keeps what it wrote.
    ///
    /// # Errors
    /// When that cannot be copied.
    pub fn keep_log(&self, to: &Path) -> io::Result<()> {
        fs::copy(self.log(), to).map(drop)
    }

    /// Has its data moved to another directory while it is down.
    ///
    /// # Errors
    /// When the files cannot be copied.
    pub fn move_data(&mut self, to: &Path) -> io::Result<()> {
        copy_directory(&self.data, to)?;
        fs::remove_dir_all(&self.data)?;
        self.data = to.to_owned();
        Ok(())
    }
}

/// Copies a directory with all that is in it. The engines' stores are one or two directories deep.
fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?.path();
        let copy = to.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            copy_directory(&entry, &copy)?;
            continue;
        }
        fs::copy(&entry, &copy)?;
        File::open(&copy)?.sync_all()?;
    }
    Ok(())
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped by a signal; this ends it all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port without a listener, which the kernel does not give away.
///
/// # Errors
/// When all are taken.
pub fn free_port(choice: &mut Choice) -> io::Result<SocketAddr> {
    for _ in 0..1_000 {
        let port = PORTS.start + u16::try_from(choice.below(u32::from(PORTS.end - PORTS.start))).unwrap_or(0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::other("there is no free port"))
}
