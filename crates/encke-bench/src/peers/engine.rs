//! The engine of a cluster: a Redis or a NATS server that was started for a run, or one that runs already.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{Part, free_port};
use crate::server::{Scratch, Server};

/// What the nodes keep their logs in.
#[derive(Debug)]
pub struct Engine {
    server: Option<Server>,
    pid: Option<u32>,
    /// What the nodes are given as their engine.
    pub url: String,
    /// Its kind.
    pub name: String,
}

impl Engine {
    /// What `--engine` names: `redis` and `nats` are started; all else is left as it is. `pid` is the process of one that runs already.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn open(named: &str, pid: Option<u32>) -> io::Result<Self> {
        if !matches!(named, "redis" | "nats") {
            let name = named.split("://").next().unwrap_or(named).to_owned();
            return Ok(Self { server: None, pid, url: named.to_owned(), name });
        }
        let (scratch, address) = (Scratch::new()?, free_port()?);
        let mut command = program(named, scratch.path(), address.port())?;
        command.stdout(Stdio::null());
        let mut server = Server::start(command, scratch, None, None)?;
        server.await_port(address)?;
        Ok(Self { server: Some(server), pid: None, url: format!("{named}://{address}"), name: named.to_owned() })
    }

    /// It among the parts that are measured, when its process is known.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        let pids = self.server.as_ref().map_or_else(|| self.pid.into_iter().collect(), Server::pids);
        (!pids.is_empty()).then(|| Part { name: self.name.clone(), pids })
    }
}

/// As safe as a usual installation is: what was accepted is on the disk within a second (Redis), or within two minutes (NATS).
fn program(named: &str, dir: &Path, port: u16) -> io::Result<Command> {
    let variable = |name: &str, default: &str| std::env::var_os(name).unwrap_or_else(|| default.into());
    if named == "redis" {
        let mut command = Command::new(variable("ENCKE_REDIS_SERVER", "redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"]).arg(dir);
        return Ok(command);
    }
    let settings = dir.join("nats.conf");
    fs::write(&settings, format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?} }}\n", dir.display().to_string()))?;
    let mut command = Command::new(variable("ENCKE_NATS_SERVER", "nats-server"));
    command.arg("-c").arg(settings);
    Ok(command)
}
