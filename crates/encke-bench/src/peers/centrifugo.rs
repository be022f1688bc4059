//! Centrifugo: one node with its memory engine, or several on one Redis.

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{
    Kind, Part, Peer, PeerSettings, Place, Transport, Who, engine::Engine, free_ports, installed, post,
};
use crate::{
    http::Head,
    server::{Scratch, Server},
    tls::{self, Identity},
};

/// Centrifugo.
pub(super) const KIND: Kind =
    Kind { name: "centrifugo", open: |settings| Ok(Box::new(Centrifugo::start(settings)?)) };
/// The program, and the variable that names another one.
const PROGRAM: &str = "centrifugo";
const VARIABLE: &str = "ENCKE_CENTRIFUGO";
/// The key of its server API. It listens at no address but this machine's own.
const API_KEY: &str = "bench";

/// A node, or several.
#[derive(Debug)]
struct Centrifugo {
    /// At least one, each with its address.
    nodes: Vec<(Server, SocketAddr)>,
    apart: bool,
    tls: Option<tls::Client>,
    // These end after the nodes, which need them to the last.
    engine: Engine,
    _certificate: Option<Scratch>,
    name: String,
}

impl Centrifugo {
    /// Starts nodes at their defaults, but for what lets clients connect and subscribe without a token.
    fn start(settings: &PeerSettings) -> io::Result<Self> {
        let (program, encke) = (installed::program(VARIABLE, PROGRAM)?, &settings.encke);
        let redis = encke.nodes > 1;
        let engine = if redis { Engine::open("redis", &[])? } else { Engine::running("memory", &[]) };
        let certificate = encke.tls.then(Scratch::new).transpose()?;
        let identity = certificate.as_ref().map(|scratch| Identity::make(scratch.path())).transpose()?;
        let mut nodes = Vec::new();
        for address in free_ports(encke.nodes)? {
            let scratch = Scratch::new()?;
            let file = scratch.path().join("config.json");
            fs::write(&file, configuration(address, redis.then_some(&engine.url), identity.as_ref()))?;
            let mut command = Command::new(&program);
            command.arg("--config").arg(&file).stdout(Stdio::null());
            let mut server = Server::start(command, scratch, encke.server_cpu, encke.own_cpu)?;
            server.await_port(address)?;
            nodes.push((server, address));
        }
        let tls = identity.map(|identity| identity.client(encke.http2)).transpose()?;
        let name = format!(
            "Centrifugo {}{}",
            installed::module_version(&program),
            if redis { ", Redis" } else { "" }
        );
        Ok(Self { nodes, apart: encke.apart, tls, engine, _certificate: certificate, name })
    }
}

fn configuration(address: SocketAddr, redis: Option<&String>, identity: Option<&Identity>) -> String {
    let path = |path: &Path| path.display().to_string();
    let mut config = json!({
        "http_server": { "address": address.ip().to_string(), "port": address.port() },
        "http_api": { "key": API_KEY },
        "uni_sse": { "enabled": true },
        "uni_websocket": { "enabled": true },
        "client": { "allow_anonymous_connect_without_token": true },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
            },
        },
        "log": { "level": "error" },
    });
    if let Some(url) = redis {
        config["engine"] = json!({ "type": "redis", "redis": { "address": url } });
    }
    if let Some(Identity { certificate, key, .. }) = identity {
        config["http_server"]["tls"] =
            json!({ "enabled": true, "cert_pem": path(certificate), "key_pem": path(key) });
    }
    config.to_string()
}

fn channel(place: Place) -> String {
    match place {
        Place::Channel(channel) => format!("c{channel}"),
        Place::User(user) => format!("u{user}"),
    }
}

impl Peer for Centrifugo {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn address(&self) -> SocketAddr {
        self.nodes[0].1
    }

    fn wait_at(&self, number: usize) -> SocketAddr {
        self.nodes[if self.apart { 1 } else { number } % self.nodes.len()].1
    }

    fn publish_at(&self, number: usize) -> SocketAddr {
        self.nodes[if self.apart { 0 } else { number + 1 } % self.nodes.len()].1
    }

    fn tls(&self) -> Option<&tls::Client> {
        self.tls.as_ref()
    }

    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().flat_map(|(server, _)| server.pids()).collect()
    }

    fn parts(&self) -> Vec<Part> {
        if self.nodes.len() == 1 {
            return Vec::new();
        }
        let part = |(at, (server, _)): (usize, &(Server, SocketAddr))| Part {
            name: format!("node {}", at + 1),
            pids: server.pids(),
        };
        self.nodes.iter().enumerate().map(part).chain(self.engine.part()).collect()
    }

    fn speaks(&self, transport: Transport) -> bool {
        transport != Transport::Poll
    }

    fn subscribe(&self, out: &mut Vec<u8>, transport: Transport, who: Who, _: &str) {
        let (path, fields) = match transport {
            Transport::Ws => ("uni_websocket", crate::websocket::UPGRADE),
            Transport::Sse | Transport::Poll => ("uni_sse", "Accept: text/event-stream\r\n"),
        };
        // {"subs":{"CHANNEL":{}}}
        let connect = format!("%7B%22subs%22%3A%7B%22{}%22%3A%7B%7D%7D%7D", channel(who.place));
        let host = self.address();
        let text =
            format!("GET /connection/{path}?cf_connect={connect} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        out.extend_from_slice(text.as_bytes());
    }

    fn resume(&self, _: &Head, _: &[u8], _: &mut String) -> Result<(), String> {
        Err("it has no polls".to_owned())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        let body = format!("{{\"channel\":\"{}\",\"data\":{payload}}}", channel(to));
        post(
            out,
            "/api/publish",
            self.address(),
            &format!("X-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n"),
            &body,
        );
    }

    fn publish_together(&self, out: &mut Vec<u8>, messages: &[(Place, String)]) -> bool {
        let command = |(to, payload): &(Place, String)| {
            format!("{{\"publish\":{{\"channel\":\"{}\",\"data\":{payload}}}}}", channel(*to))
        };
        let commands: Vec<String> = messages.iter().map(command).collect();
        let body = format!("{{\"commands\":[{}]}}", commands.join(","));
        post(
            out,
            "/api/batch",
            self.address(),
            &format!("X-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n"),
            &body,
        );
        true
    }
}
