//! The servers that are measured: for each of them how to subscribe, to go on, and to publish.
//!
//! A peer is one file, and a line in [`KINDS`].

mod bayeux;
mod bayeux_server;
mod centrifugo;
mod cometd;
mod durable_streams;
mod encke;
mod engine;
mod faye;
mod installed;
mod nchan;
mod pusher;
mod sockudo;
mod template;

use std::{io, net::SocketAddr};

pub use encke::{Dialect, Encke, EnckeOptions, user_name};
pub use template::TemplateOptions;

use crate::{http::Head, tls};

/// Every kind of server that can be measured. The first is the one that is meant when none is named.
const KINDS: &[Kind] = &[
    encke::KIND,
    nchan::KIND,
    durable_streams::KIND,
    centrifugo::KIND,
    cometd::KIND,
    faye::KIND,
    sockudo::KIND,
    template::KIND,
];

/// A kind of server.
struct Kind {
    /// Its name on the command line.
    name: &'static str,
    /// Starts one, or takes the one that runs.
    open: fn(&PeerSettings) -> io::Result<Box<dyn Peer>>,
}

/// What servers are started with. Each kind takes of it what it has.
#[derive(Clone, Debug, clap::Args)]
pub struct PeerSettings {
    /// Settings of Encke, and those that all kinds share.
    #[command(flatten)]
    pub encke: EnckeOptions,
    /// durable-streams answers appends before they are on the disk
    #[arg(long)]
    pub durable_streams_memory: bool,
    /// Settings of a server that is described by patterns.
    #[command(flatten)]
    pub template: TemplateOptions,
}

/// The names of all kinds, for the command line.
#[must_use]
pub fn names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name))
}

/// Starts a server of the kind with this name, or takes the one that runs.
///
/// # Errors
/// When there is no such kind, or it cannot be started.
pub fn open(name: &str, settings: &PeerSettings) -> io::Result<Box<dyn Peer>> {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| io::Error::other(format!("there is no kind of server named {name:?}")))?;
    (kind.open)(settings)
}

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// A long poll.
    Poll,
    /// Server-sent events.
    Sse,
    /// WebSocket.
    Ws,
}

impl Transport {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Sse => "SSE",
            Self::Ws => "WebSocket",
        }
    }
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A channel that many may follow.
    Channel(u32),
    /// One user.
    User(u32),
}

/// Who subscribes, and to what.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Which user it is.
    pub user: u32,
    /// What it follows.
    pub place: Place,
}

/// What a subscriber says once its WebSocket is open, for servers that are not told by its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// A message of text.
    pub says: String,
    /// What the message has in it by which it waits from then on.
    pub answered_by: &'static [u8],
}

impl Greeting {
    /// Whether it waits from this message on.
    #[must_use]
    pub fn is_answered_by(&self, message: &[u8]) -> bool {
        message.windows(self.answered_by.len()).any(|part| part == self.answered_by)
    }
}

/// One of the programs that a server is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is called in the figures.
    pub name: String,
    /// Its processes.
    pub pids: Vec<u32>,
}

/// A server, as its clients see it.
pub trait Peer {
    /// Its name and version.
    fn name(&self) -> String;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// Where the connection of this number waits; a server of several nodes is asked at each of them in turn.
    fn wait_at(&self, _number: usize) -> SocketAddr {
        self.address()
    }

    /// Where the publisher of this number publishes.
    fn publish_at(&self, _number: usize) -> SocketAddr {
        self.address()
    }

    /// The client's side of its TLS, when it is spoken to by TLS alone.
    fn tls(&self) -> Option<&tls::Client> {
        None
    }

    /// Makes what has to be there before anything is published to these places, or subscribed to.
    ///
    /// # Errors
    /// When the server refuses.
    fn prepare(&self, _places: &[Place]) -> io::Result<()> {
        Ok(())
    }

    /// Its processes, when it was started here; what it keeps its logs in is not among them.
    fn pids(&self) -> Vec<u32>;

    /// The programs that are measured one by one: the nodes of a cluster, and what they keep their logs in.
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    /// Whether it speaks this transport.
    fn speaks(&self, transport: Transport) -> bool;

    /// Whether a poll that goes on from `resume` is answered at once, with where to go on: by most servers it
    /// is the first, and in Bayeux what comes before a client waits.
    fn answers_at_once(&self, _resume: &str) -> bool {
        false
    }

    /// Writes a request that subscribes, or goes on from `resume`.
    fn subscribe(&self, out: &mut Vec<u8>, transport: Transport, who: Who, resume: &str);

    /// What is said once a WebSocket is open, if anything has to be.
    fn greeting(&self, _who: Who) -> Option<Greeting> {
        None
    }

    /// Where the next poll goes on, from the answer to the last.
    ///
    /// # Errors
    /// What is wrong with the answer.
    fn resume(&self, head: &Head, body: &[u8], resume: &mut String) -> Result<(), String>;

    /// Writes a request that publishes.
    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str);

    /// Writes one request that publishes them all, each to its own place. False, and nothing is written, when
    /// the server has no such request.
    fn publish_together(&self, _out: &mut Vec<u8>, _messages: &[(Place, String)]) -> bool {
        false
    }
}

/// A port without a listener now.
fn free_port() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// So many of them, all different.
fn free_ports(count: usize) -> io::Result<Vec<SocketAddr>> {
    let listeners =
        (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(std::net::TcpListener::local_addr).collect()
}

/// Writes a POST.
fn post(out: &mut Vec<u8>, path: &str, host: SocketAddr, fields: &str, body: &str) {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    out.extend_from_slice(text.as_bytes());
}
