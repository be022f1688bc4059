//! Sockudo, a server of the protocol of Pusher Channels: one node, with all that it keeps in memory.

use std::{
    io,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{Greeting, Kind, Peer, PeerSettings, Place, Transport, Who, free_port, installed, pusher};
use crate::{
    http::Head,
    server::{Scratch, Server},
};

/// Sockudo.
pub(super) const KIND: Kind =
    Kind { name: "sockudo", open: |settings| Ok(Box::new(Sockudo::start(settings)?)) };
/// The program, and the variable that names another one.
const PROGRAM: &str = "sockudo";
const VARIABLE: &str = "ENCKE_SOCKUDO";
/// What its application may have of everything: no bound is to be in the way.
const MANY: &str = "1000000";

/// A server.
#[derive(Debug)]
struct Sockudo {
    server: Server,
    address: SocketAddr,
}

impl Sockudo {
    /// Starts one at its defaults, but for bounds, and without metrics, which have a port of their own.
    fn start(settings: &PeerSettings) -> io::Result<Self> {
        let (encke, address) = (&settings.encke, free_port()?);
        // It looks for a configuration where it is started.
        let mut command = Command::new(installed::program(VARIABLE, PROGRAM)?.canonicalize()?);
        command
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("METRICS_ENABLED", "false")
            .env("RATE_LIMITER_ENABLED", "false")
            .env("RUST_LOG", "error")
            .env("SOCKUDO_DEFAULT_APP_ID", pusher::APP_ID)
            .env("SOCKUDO_DEFAULT_APP_KEY", pusher::KEY)
            .env("SOCKUDO_DEFAULT_APP_SECRET", pusher::SECRET)
            .env("SOCKUDO_MAX_CONNECTIONS", MANY)
            .env("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", MANY)
            .env("SOCKUDO_DEFAULT_APP_MAX_BACKEND_EVENTS_PER_SECOND", MANY)
            .stdout(Stdio::null());
        let scratch = Scratch::new()?;
        command.current_dir(scratch.path());
        let mut server = Server::start(command, scratch, encke.server_cpu, encke.own_cpu)?;
        server.await_port(address)?;
        Ok(Self { server, address })
    }
}

fn channel(place: Place) -> String {
    match place {
        Place::Channel(channel) => format!("c{channel}"),
        Place::User(user) => format!("u{user}"),
    }
}

impl Peer for Sockudo {
    fn name(&self) -> String {
        format!("Sockudo {}", installed::crate_version(PROGRAM))
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids()
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport == Transport::Ws
    }

    fn subscribe(&self, out: &mut Vec<u8>, _: Transport, _: Who, _: &str) {
        pusher::open(out, self.address);
    }

    fn greeting(&self, who: Who) -> Option<Greeting> {
        Some(pusher::greeting(&channel(who.place)))
    }

    fn resume(&self, _: &Head, _: &[u8], _: &mut String) -> Result<(), String> {
        Err("it has no polls".to_owned())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        pusher::publish(out, self.address, &channel(to), payload);
    }
}
