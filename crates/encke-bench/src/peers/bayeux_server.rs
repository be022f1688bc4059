//! A program of ours around another server of Bayeux: it prints its version and where it listens, and takes
//! what is published by HTTP. What it is run by stands with each.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use super::{Peer, PeerSettings, Place, Transport, Who, bayeux, post};
use crate::{
    http::Head,
    server::{Scratch, Server},
};

/// Which one it is.
pub(super) struct Around {
    /// Its name for people.
    pub(super) title: &'static str,
    /// Its name for `bench/install-peers`.
    pub(super) package: &'static str,
    /// Where that puts its libraries.
    pub(super) libraries: &'static str,
    /// Where it speaks Bayeux.
    pub(super) path: &'static str,
}

/// A server.
#[derive(Debug)]
pub(super) struct BayeuxServer {
    server: Server,
    address: SocketAddr,
    name: String,
    path: &'static str,
}

impl BayeuxServer {
    /// Starts it by a command that is made once its libraries are there.
    ///
    /// # Errors
    /// Its libraries are missing, or it does not come up.
    pub(super) fn start(
        settings: &PeerSettings,
        around: &Around,
        command: impl FnOnce() -> io::Result<Command>,
    ) -> io::Result<Self> {
        let Around { title, package, libraries, path } = *around;
        if !Path::new(libraries).exists() {
            let why = format!("{libraries} is not there; bench/install-peers {package} makes it");
            return Err(io::Error::other(why));
        }
        let mut command = command()?;
        command.stdout(Stdio::piped());
        let encke = &settings.encke;
        let mut server = Server::start(command, Scratch::new()?, encke.server_cpu, encke.own_cpu)?;
        let name = format!("{title} {}", server.line("version ")?);
        let address = server.line("listening on ")?;
        let address = address.parse().map_err(|_| io::Error::other(format!("{address:?} is no address")))?;
        Ok(Self { server, address, name, path })
    }
}

fn channel(place: Place) -> String {
    match place {
        Place::Channel(channel) => format!("/c{channel}"),
        Place::User(user) => format!("/u{user}"),
    }
}

impl Peer for BayeuxServer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids()
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport == Transport::Poll
    }

    fn answers_at_once(&self, resume: &str) -> bool {
        bayeux::is_answered_at_once(resume)
    }

    fn subscribe(&self, out: &mut Vec<u8>, _: Transport, who: Who, resume: &str) {
        bayeux::subscribe(out, (self.address, self.path), "", &channel(who.place), resume);
    }

    fn resume(&self, _: &Head, body: &[u8], resume: &mut String) -> Result<(), String> {
        bayeux::resume(body, resume)
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        let path = format!("/publish?channel={}", channel(to));
        post(out, &path, self.address, "Content-Type: application/json\r\n", payload);
    }
}
