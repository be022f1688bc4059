//! The engine of a cluster: a Redis server or three NATS servers that were started for a run, or what runs
//! already.

use std::{
    fs, io,
    process::{Command, Stdio},
};

use super::{Part, free_port, free_ports};
use crate::server::{Scratch, Server};

/// How many NATS servers are started: what a message has to be on two of, as one server alone writes each
/// batch to its disk first.
const NATS_SERVERS: usize = 3;

/// What the nodes keep their logs in.
#[derive(Debug)]
pub struct Engine {
    servers: Vec<Server>,
    pid: Vec<u32>,
    /// What the nodes are given as their engine.
    pub url: String,
    /// Its kind.
    pub name: String,
}

impl Engine {
    /// What `--engine` names: `redis` and `nats` are started; all else is left as it is. `pid` are the
    /// processes of one that runs already.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn open(named: &str, pid: &[u32]) -> io::Result<Self> {
        let (servers, url) = match named {
            "redis" => redis()?,
            "nats" => nats()?,
            _ => return Ok(Self::running(named, pid)),
        };
        Ok(Self { servers, url, ..Self::running(named, pid) })
    }

    /// One that runs already.
    #[must_use]
    pub fn running(named: &str, pid: &[u32]) -> Self {
        let name = named.split("://").next().unwrap_or(named).to_owned();
        Self { servers: Vec::new(), pid: pid.to_vec(), url: named.to_owned(), name }
    }

    /// It among the parts that are measured, when its processes are known.
    #[must_use]
    pub fn part(&self) -> Option<Part> {
        let pids: Vec<u32> =
            self.servers.iter().flat_map(Server::pids).chain(self.pid.iter().copied()).collect();
        (!pids.is_empty()).then(|| Part { name: self.name.clone(), pids })
    }
}

/// A server that has what was accepted on its disk within a second.
fn redis() -> io::Result<(Vec<Server>, String)> {
    let (scratch, address) = (Scratch::new()?, free_port()?);
    let mut command = Command::new(program("ENCKE_REDIS_SERVER", "redis-server"));
    command.args([
        "--port",
        &address.port().to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--dir",
    ]);
    command.arg(scratch.path()).stdout(Stdio::null());
    let mut server = Server::start(command, scratch, None, None)?;
    server.await_port(address)?;
    Ok((vec![server], format!("redis://{address}")))
}

/// Servers that keep everything three times, on their disks within two minutes.
fn nats() -> io::Result<(Vec<Server>, String)> {
    let ports = free_ports(2 * NATS_SERVERS)?;
    let (clients, routes) = ports.split_at(NATS_SERVERS);
    let others = routes.iter().map(|route| format!("\"nats://{route}\"")).collect::<Vec<_>>().join(", ");
    let mut servers = Vec::new();
    for (at, (client, route)) in clients.iter().zip(routes).enumerate() {
        let scratch = Scratch::new()?;
        let (settings, store) = (scratch.path().join("nats.conf"), scratch.path().join("store"));
        let text = format!(
            "server_name: s{at}\nlisten: {client:?}\njetstream {{ store_dir: {:?} }}\ncluster {{ name: bench, listen: {route:?}, routes: [{others}] }}\n",
            store.display().to_string()
        );
        fs::write(&settings, text)?;
        let mut command = Command::new(program("ENCKE_NATS_SERVER", "nats-server"));
        command.arg("-c").arg(settings).stdout(Stdio::null());
        servers.push(Server::start(command, scratch, None, None)?);
    }
    for (server, client) in servers.iter_mut().zip(clients) {
        server.await_port(*client)?;
    }
    let hosts = clients.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok((servers, format!("nats://{hosts}/?replicas={NATS_SERVERS}")))
}

fn program(variable: &str, default: &str) -> std::ffi::OsString {
    std::env::var_os(variable).unwrap_or_else(|| default.into())
}
