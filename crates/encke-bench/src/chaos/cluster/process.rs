//! A server of the engine: a process that is started, killed, frozen and started again on the same data and
//! the same port.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::port_forward::PortForward;
use crate::chaos::peer::Peer;

/// A process, and the way to it.
#[derive(Debug)]
pub struct Process {
    /// What it is called.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The way to it.
    pub forward: PortForward,
    /// Its own connections to others of the engine.
    pub peer: Peer,
    program: PathBuf,
    arguments: Vec<OsString>,
    home: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Not started yet. Its files are in `home`, which is made.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(
        name: &str,
        address: SocketAddr,
        forward: PortForward,
        peer: Peer,
        program: &Path,
        home: &Path,
    ) -> io::Result<Self> {
        fs::create_dir_all(home)?;
        let (name, program, home) = (name.to_owned(), program.to_owned(), home.to_owned());
        Ok(Self { name, address, forward, peer, program, arguments: Vec::new(), home, child: None })
    }

    /// With these arguments.
    #[must_use]
    pub fn with(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Where its files are.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Starts it. Whether it answers is for the caller to find out.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.home.join("log"))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.program.display())))?;
        self.child = Some(child);
        if let Some(pid) = self.pid() {
            self.peer.is(pid);
        }
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.pid().ok_or_else(|| io::Error::other(format!("{} does not run", self.name)))?;
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
                "{} had ended by itself: {status}: {}",
                self.name,
                self.complaint()
            ))),
            None => Ok(()),
        }
    }

    /// The last that it wrote.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        text.lines().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped by a signal; this ends it all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
