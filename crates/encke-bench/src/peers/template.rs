//! Any other server whose streams and publishing can be said by URL patterns.

use std::{io, net::SocketAddr};

use super::{Kind, Peer, Place, Transport, Who, post};
use crate::http::Head;

/// Whatever is described.
pub(super) const KIND: Kind = Kind {
    name: "template",
    open: |settings| {
        if settings.encke.tls {
            let why = "a server that is described is not measured over TLS";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let peer = Template::open(&settings.template);
        Ok(Box::new(peer.ok_or_else(|| io::Error::other("--peer-address is missing"))?))
    },
};

/// Which server, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct TemplateOptions {
    /// Where it listens
    #[arg(long, value_name = "ADDR:PORT")]
    pub peer_address: Option<SocketAddr>,
    /// Its process, to measure what it uses
    #[arg(long)]
    pub peer_pid: Option<u32>,
    /// The path of its event stream, with {channel} and {user} in it
    #[arg(long, value_name = "PATH")]
    pub peer_sse: Option<String>,
    /// The path of its WebSocket endpoint, likewise
    #[arg(long, value_name = "PATH")]
    pub peer_ws: Option<String>,
    /// The path that is posted to, likewise
    #[arg(long, value_name = "PATH", default_value = "/publish/{channel}")]
    pub peer_publish: String,
    /// What is posted, with {channel} and {payload} in it; the payload is a JSON string
    #[arg(long, value_name = "TEXT", default_value = "{payload}")]
    pub peer_body: String,
    /// Fields of every request, each "Name: value"
    #[arg(long, value_name = "FIELD")]
    pub peer_field: Vec<String>,
}

/// A server that runs already.
#[derive(Debug)]
struct Template {
    address: SocketAddr,
    options: TemplateOptions,
    fields: String,
}

impl Template {
    /// The server that the options name, if they do.
    fn open(options: &TemplateOptions) -> Option<Self> {
        let fields = options.peer_field.iter().map(|field| format!("{field}\r\n")).collect();
        Some(Self { address: options.peer_address?, options: options.clone(), fields })
    }

    fn fill(pattern: &str, place: Place, user: u32) -> String {
        let channel = match place {
            Place::Channel(channel) => format!("c{channel}"),
            Place::User(user) => format!("u{user}"),
        };
        pattern.replace("{channel}", &channel).replace("{user}", &format!("u{user}"))
    }
}

impl Peer for Template {
    fn name(&self) -> String {
        format!("the server at {}", self.address)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn pids(&self) -> Vec<u32> {
        self.options.peer_pid.map(crate::procfs::family).unwrap_or_default()
    }

    fn speaks(&self, transport: Transport) -> bool {
        match transport {
            Transport::Poll => false,
            Transport::Sse => self.options.peer_sse.is_some(),
            Transport::Ws => self.options.peer_ws.is_some(),
        }
    }

    fn subscribe(&self, out: &mut Vec<u8>, transport: Transport, who: Who, _: &str) {
        let (pattern, upgrade) = match transport {
            Transport::Ws => (&self.options.peer_ws, crate::websocket::UPGRADE),
            Transport::Sse | Transport::Poll => (&self.options.peer_sse, "Accept: text/event-stream\r\n"),
        };
        let path = Self::fill(pattern.as_deref().unwrap_or("/"), who.place, who.user);
        out.extend_from_slice(
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{upgrade}{}\r\n", self.address, self.fields)
                .as_bytes(),
        );
    }

    fn resume(&self, _: &Head, _: &[u8], _: &mut String) -> Result<(), String> {
        Err("long polls cannot be said by a pattern".to_owned())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        let user = if let Place::User(user) = to { user } else { 0 };
        let body = Self::fill(&self.options.peer_body, to, user).replace("{payload}", payload);
        let fields = format!("Content-Type: application/json\r\n{}", self.fields);
        post(out, &Self::fill(&self.options.peer_publish, to, user), self.address, &fields, &body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_filled() {
        assert_eq!(Template::fill("/a/{channel}?u={user}", Place::Channel(3), 4), "/a/c3?u=u4");
        assert_eq!(Template::fill("/{channel}", Place::User(3), 3), "/u3");
    }
}
