//! The server of the crate `durable-streams`: logs behind URLs, each append on the disk before its answer.

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{Kind, Peer, PeerSettings, Place, Transport, Who, free_port, installed, post};
use crate::{
    blocking::Line,
    http::Head,
    server::{Scratch, Server},
};

/// The server of `durable-streams`.
pub(super) const KIND: Kind =
    Kind { name: "durable-streams", open: |settings| Ok(Box::new(DurableStreams::start(settings)?)) };
/// The crate, the program in it, and the variable that names another one.
const CRATE: &str = "durable-streams";
const PROGRAM: &str = "durable-streams-server";
const VARIABLE: &str = "ENCKE_DURABLE_STREAMS_SERVER";

/// A server with a directory of its own. Of its settings only the port and the directory are not its
/// defaults.
#[derive(Debug)]
struct DurableStreams {
    server: Server,
    address: SocketAddr,
    name: String,
}

impl DurableStreams {
    fn start(settings: &PeerSettings) -> io::Result<Self> {
        let encke = &settings.encke;
        if encke.tls {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "durable-streams has no TLS"));
        }
        let (scratch, address) = (Scratch::new()?, free_port()?);
        let mut command = Command::new(installed::program(VARIABLE, PROGRAM)?);
        command.args(["--port", &address.port().to_string(), "--data-dir"]).arg(scratch.path().join("data"));
        let mut durability = "";
        if settings.durable_streams_memory {
            command.args(["--durability", "memory"]);
            durability = ", memory";
        }
        command.stdout(Stdio::null());
        let mut server = Server::start(command, scratch, encke.server_cpu, encke.own_cpu)?;
        server.await_port(address)?;
        let name = format!("durable-streams {}{durability}", installed::crate_version(CRATE));
        Ok(Self { server, address, name })
    }
}

/// The path of a place's log.
fn path(place: Place) -> String {
    match place {
        Place::Channel(channel) => format!("/c{channel}"),
        Place::User(user) => format!("/u{user}"),
    }
}

impl Peer for DurableStreams {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn prepare(&self, places: &[Place]) -> io::Result<()> {
        let mut line = Line::open(self.address, None)?;
        let paths: HashSet<String> = places.iter().map(|place| path(*place)).collect();
        for path in paths {
            let request = format!(
                "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
                self.address
            );
            let (status, _) = line.ask(request.as_bytes())?;
            if !(200..300).contains(&status) {
                return Err(io::Error::other(format!("creating {path} was answered {status}")));
            }
        }
        Ok(())
    }

    fn pids(&self) -> Vec<u32> {
        self.server.pids()
    }

    fn speaks(&self, transport: Transport) -> bool {
        // Its polls go on by an offset in the head, which none of the rows needs. A stream of events ends
        // after 60 s.
        transport == Transport::Sse
    }

    fn subscribe(&self, out: &mut Vec<u8>, _: Transport, who: Who, _: &str) {
        let path = path(who.place);
        let text = format!(
            "GET {path}?offset=now&live=sse HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            self.address
        );
        out.extend_from_slice(text.as_bytes());
    }

    fn resume(&self, _: &Head, _: &[u8], _: &mut String) -> Result<(), String> {
        Err("its polls are not spoken here".to_owned())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        post(out, &path(to), self.address, "Content-Type: application/json\r\n", payload);
    }
}
