//! Encke itself.

use std::{
    cell::RefCell,
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header};
use serde::{Deserialize, Serialize};

use super::{Greeting, Kind, Part, Peer, Place, Transport, Who, bayeux, engine::Engine, post, pusher};
use crate::{
    http::Head,
    server::{Scratch, Server},
    tls::{self, Identity},
};

/// Encke.
pub(super) const KIND: Kind =
    Kind { name: "encke", open: |settings| Ok(Box::new(Encke::open(&settings.encke)?)) };
/// The engine that the server takes by itself.
const DEFAULT: &str = "default";
/// How long a poll is asked to be held, in seconds: the most that a server may be configured for.
const HOLD_S: u32 = 120;
/// How long an engine that has just begun may refuse, and how often it is tried.
const AGREED_WITHIN: Duration = Duration::from_secs(30);
const AGREED_LOOK: Duration = Duration::from_millis(200);
/// How long tokens are good, in seconds.
const TOKEN_S: u64 = 86_400;

/// The protocol that subscribers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Dialect {
    /// Encke's own.
    #[default]
    Native,
    /// Bayeux, whose long polls are connects.
    Bayeux,
    /// That of Pusher Channels, over WebSocket.
    Pusher,
}

/// Which Encke.
#[derive(Clone, Debug, clap::Args)]
pub struct EnckeOptions {
    /// The server's program, started on a free port with --dev; settings go through by ENCKE_… variables
    #[arg(long, value_name = "FILE", default_value = "target/release/encke")]
    pub server_bin: PathBuf,
    /// Where the started server keeps its logs: memory or log, or `default` for what it takes by itself;
    /// redis or nats, which are started too (three servers of NATS); or the address of such a one
    #[arg(long, value_name = "ENGINE", default_value = "memory")]
    pub engine: String,
    /// The processes of an engine that runs already, to measure what it uses
    #[arg(long, value_delimiter = ',')]
    pub engine_pid: Vec<u32>,
    /// How many nodes are started, on one engine; what is published for a user or session is published at
    /// another node than where it waits
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
    /// Everything is published at the first node, all subscribers wait at the second, and any others look on
    #[arg(long)]
    pub apart: bool,
    /// A server that runs already, at this address, or several nodes; needs its key and secret
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',', requires_all = ["api_key", "token_secret"])]
    pub url: Vec<SocketAddr>,
    /// The process of that server, or of each node, to measure what it uses
    #[arg(long, value_delimiter = ',', requires = "url")]
    pub pid: Vec<u32>,
    /// The key of its server API
    #[arg(long, env = "ENCKE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// The secret that its tokens are signed with
    #[arg(long, env = "ENCKE_TOKEN_SECRET", hide_env_values = true)]
    pub token_secret: Option<String>,
    /// The processor that the started server runs on
    #[arg(long)]
    pub server_cpu: Option<usize>,
    /// The processor that this program runs on
    #[arg(long)]
    pub own_cpu: Option<usize>,
    /// Publish to one user as a channel with one follower (/api/publish) instead of by /api/push, which keeps
    /// receipts
    #[arg(long)]
    pub users_as_channels: bool,
    /// How long the started server lets broadcasts gather, in milliseconds
    #[arg(long)]
    pub linger_ms: Option<u64>,
    /// The started server has as many workers as it likes, as its peers have; else one
    #[arg(long)]
    pub as_it_comes: bool,
    /// The protocol that subscribers speak; what is published goes to the channels of it
    #[arg(long, value_enum, default_value_t = Dialect::Native)]
    pub dialect: Dialect,
    /// All connections are secured by TLS 1.3, with a certificate that is made for the run
    #[arg(long, conflicts_with = "url")]
    pub tls: bool,
    /// Subscribers speak HTTP/2
    #[arg(long, requires = "tls")]
    pub http2: bool,
}

/// An Encke server: a node, or several on one engine.
pub struct Encke {
    /// At least one.
    nodes: Vec<Node>,
    api_key: String,
    key: EncodingKey,
    users_as_channels: bool,
    dialect: Dialect,
    apart: bool,
    /// Of all nodes.
    tls: Option<tls::Client>,
    // These end after the nodes, which need them to the last.
    engine: Engine,
    _certificate: Option<Scratch>,
    /// Tokens by user, made when they are first needed.
    tokens: RefCell<Vec<Option<Box<str>>>>,
}

/// A node.
struct Node {
    address: SocketAddr,
    /// When it was started here.
    server: Option<Server>,
    /// When it was not.
    pid: Option<u32>,
}

impl Node {
    fn pids(&self) -> Vec<u32> {
        self.server.as_ref().map_or_else(|| self.pid.into_iter().collect(), Server::pids)
    }
}

#[derive(Deserialize)]
struct DevKeys {
    api_key: String,
    token_secret: String,
}

#[derive(Serialize)]
struct Claims {
    sub: String,
    exp: u64,
    channels: [&'static str; 1],
}

/// What of a poll's answer is needed to go on.
#[derive(Deserialize)]
struct Answer<'a> {
    session: &'a str,
    cursor: &'a str,
    gaps: Vec<serde::de::IgnoredAny>,
    close: Option<serde::de::IgnoredAny>,
}

impl Encke {
    /// Starts a server, or takes the one that runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn open(options: &EnckeOptions) -> io::Result<Self> {
        if options.apart && options.nodes.max(options.url.len()) < 2 {
            return Err(io::Error::other("--apart needs two nodes at least"));
        }
        let (named, pids) = (&options.engine, &options.engine_pid);
        // Nodes that run have an engine.
        let engine =
            if options.url.is_empty() { Engine::open(named, pids)? } else { Engine::running(named, pids) };
        let certificate = options.tls.then(Scratch::new).transpose()?;
        let identity = certificate.as_ref().map(|scratch| Identity::make(scratch.path())).transpose()?;
        let (nodes, api_key, secret) = match (&options.api_key, &options.token_secret) {
            (Some(api_key), Some(secret)) if !options.url.is_empty() => {
                let pids = options.pid.iter().copied().map(Some).chain(std::iter::repeat(None));
                let nodes = options
                    .url
                    .iter()
                    .zip(pids)
                    .map(|(address, pid)| Node { address: *address, server: None, pid })
                    .collect();
                (nodes, api_key.clone(), secret.clone())
            }
            _ => start_all(options, &engine.url, identity.as_ref())?,
        };
        let tls = identity.map(|identity| identity.client(options.http2)).transpose()?;
        let key = EncodingKey::from_secret(secret.as_bytes());
        let EnckeOptions { users_as_channels, dialect, apart, .. } = *options;
        Ok(Self {
            nodes,
            api_key,
            key,
            users_as_channels,
            dialect,
            apart,
            tls,
            engine,
            _certificate: certificate,
            tokens: RefCell::default(),
        })
    }

    /// Kills the node that was started here, and starts it again on what it left; how long it took until it
    /// listened.
    ///
    /// # Errors
    /// When there are several nodes or none was started here, or it does not start again.
    pub fn crash(&mut self, options: &EnckeOptions) -> io::Result<Duration> {
        let [Node { server, .. }] = &mut self.nodes[..] else {
            return Err(io::Error::other("one node can be killed"));
        };
        let server =
            server.take().ok_or_else(|| io::Error::other("only what was started here can be killed"))?;
        let scratch = server.kill()?;
        let began = Instant::now();
        self.nodes = vec![start(options, &self.engine.url, None, None, scratch)?];
        Ok(began.elapsed())
    }

    /// The fields that say which user asks.
    fn with_token<T>(&self, user: u32, use_it: impl FnOnce(&str) -> T) -> T {
        let mut tokens = self.tokens.borrow_mut();
        let index = user as usize;
        if tokens.len() <= index {
            tokens.resize(index + 1, None);
        }
        let token = tokens[index].get_or_insert_with(|| self.sign(user).into_boxed_str());
        use_it(token)
    }

    fn sign(&self, user: u32) -> String {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims { sub: user_name(user), exp: now_s + TOKEN_S, channels: ["*"] };
        // Signing three plain claims with a shared secret cannot fail.
        jsonwebtoken::encode(&Header::default(), &claims, &self.key).unwrap_or_default()
    }

    /// A request of a user on the control connection.
    #[must_use]
    pub fn control(&self, user: u32, path: &str, body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let fields = self.with_token(user, |token| {
            format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
        });
        post(&mut out, path, self.address(), &fields, body);
        out
    }

    /// A poll that is answered at once, behind what [`Peer::resume`] has made of the answer before.
    #[must_use]
    pub fn poll_now(&self, user: u32, resume: &str) -> Vec<u8> {
        let address = self.address();
        self.with_token(user, |token| {
            format!("GET /v1/poll?hold_s=0&{resume} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n")
        })
        .into_bytes()
    }

    /// A question to the server API.
    #[must_use]
    pub fn question(&self, path: &str) -> Vec<u8> {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.address(),
            self.api_key
        )
        .into_bytes()
    }

    /// A wish to the server API.
    #[must_use]
    pub fn api_request(&self, path: &str, body: &str) -> Vec<u8> {
        let mut out = Vec::new();
        post(&mut out, path, self.address(), &self.api_fields(), body);
        out
    }

    /// The channel that a place is; none for a user who is pushed to.
    fn channel(&self, place: Place) -> Option<String> {
        let root = if self.dialect == Dialect::Bayeux { "/" } else { "" };
        match place {
            Place::Channel(channel) => Some(format!("{root}c{channel}")),
            Place::User(user) if self.users_as_channels => Some(format!("{root}p{user}")),
            Place::User(_) => None,
        }
    }

    /// A message as the server API takes it.
    fn message(&self, to: Place, payload: &str) -> String {
        match (self.channel(to), to) {
            (Some(channel), _) => format!("{{\"channel\":\"{channel}\",\"data\":{payload}}}"),
            (None, Place::User(user) | Place::Channel(user)) => {
                format!("{{\"to\":[\"{}\"],\"data\":{payload}}}", user_name(user))
            }
        }
    }

    fn api_fields(&self) -> String {
        format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", self.api_key)
    }
}

/// Starts all nodes; they share the keys that the first has made.
fn start_all(
    options: &EnckeOptions,
    engine: &str,
    identity: Option<&Identity>,
) -> io::Result<(Vec<Node>, String, String)> {
    let ends = Instant::now() + AGREED_WITHIN;
    // Servers that have just begun take a moment to agree who leads, and requests before that are refused.
    let first = loop {
        match start(options, engine, identity, None, Scratch::new()?) {
            Err(_) if engine.contains("://") && Instant::now() < ends => std::thread::sleep(AGREED_LOOK),
            other => break other?,
        }
    };
    let data = first.server.as_ref().map(|server| server.scratch.path().join("data")).unwrap_or_default();
    let keys: DevKeys = serde_json::from_str(&fs::read_to_string(data.join("dev-keys.json"))?)?;
    let mut nodes = vec![first];
    for _ in 1..options.nodes {
        nodes.push(start(options, engine, identity, Some(&keys), Scratch::new()?)?);
    }
    Ok((nodes, keys.api_key, keys.token_secret))
}

fn start(
    options: &EnckeOptions,
    engine: &str,
    identity: Option<&Identity>,
    keys: Option<&DevKeys>,
    scratch: Scratch,
) -> io::Result<Node> {
    let data = scratch.path().join("data");
    let mut command = Command::new(&options.server_bin);
    command.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(&data).stdout(Stdio::piped());
    if engine != DEFAULT {
        command.args(["--engine", engine]);
    }
    // All load comes from this machine, so that a bound for each address would only be in the way.
    let workers = ("ENCKE_WORKERS", "1");
    for (name, value) in [workers, ("ENCKE_LOG", "warn"), ("ENCKE_MAX_CONNECTIONS_PER_ADDRESS", "0")] {
        if std::env::var_os(name).is_none() && !(options.as_it_comes && name == workers.0) {
            command.env(name, value);
        }
    }
    if let Some(identity) = identity {
        let files = [("ENCKE_TLS_CERT", &identity.certificate), ("ENCKE_TLS_KEY", &identity.key)];
        command.envs(files).env("ENCKE_TLS_LISTEN", "127.0.0.1:0");
    }
    match options.dialect {
        Dialect::Native => {}
        Dialect::Bayeux => {
            command.env("ENCKE_DIALECTS_BAYEUX", "true").env("ENCKE_HOLD_S", HOLD_S.to_string());
        }
        Dialect::Pusher => {
            let (id, key, secret) = (pusher::APP_ID, pusher::KEY, pusher::SECRET);
            let app = format!("[{{ id = \"{id}\", key = \"{key}\", secret = \"{secret}\" }}]");
            command.env("ENCKE_DIALECTS_PUSHER", "true").env("ENCKE_PUSHER_APPS", app);
        }
    }
    if let Some(linger_ms) = options.linger_ms {
        command.env("ENCKE_LINGER_MS", linger_ms.to_string());
    }
    // A server that is started first makes keys of its own.
    command.env_remove("ENCKE_API_KEY").env_remove("ENCKE_TOKEN_SECRET");
    if let Some(DevKeys { api_key, token_secret }) = keys {
        command.env("ENCKE_API_KEY", api_key).env("ENCKE_TOKEN_SECRET", token_secret);
    }
    let mut server = Server::start(command, scratch, options.server_cpu, options.own_cpu)?;
    let url =
        server.line(if identity.is_some() { "listening on https://" } else { "listening on http://" })?;
    let address = url.parse().map_err(|_| io::Error::other(format!("{url:?} is no address")))?;
    Ok(Node { address, server: Some(server), pid: None })
}

/// A user's name.
#[must_use]
pub fn user_name(user: u32) -> String {
    format!("u{user}")
}

impl Peer for Encke {
    fn name(&self) -> String {
        match self.nodes.len() {
            1 => format!("Encke ({})", self.engine.name),
            count => format!("Encke ({count} nodes, {})", self.engine.name),
        }
    }

    fn address(&self) -> SocketAddr {
        self.nodes[0].address
    }

    fn wait_at(&self, number: usize) -> SocketAddr {
        self.nodes[if self.apart { 1 } else { number % self.nodes.len() }].address
    }

    fn publish_at(&self, number: usize) -> SocketAddr {
        // A subscriber of the same number waits at the node before, so that what is published goes from node
        // to node.
        self.nodes[if self.apart { 0 } else { (number + 1) % self.nodes.len() }].address
    }

    fn tls(&self) -> Option<&tls::Client> {
        self.tls.as_ref()
    }

    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().flat_map(Node::pids).collect()
    }

    fn parts(&self) -> Vec<Part> {
        let engine = self.engine.part();
        if self.nodes.len() == 1 && engine.is_none() {
            return Vec::new();
        }
        let nodes = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| Part { name: format!("node {}", index + 1), pids: node.pids() });
        nodes.chain(engine).collect()
    }

    fn speaks(&self, transport: Transport) -> bool {
        match self.dialect {
            Dialect::Native => true,
            Dialect::Bayeux => transport == Transport::Poll,
            Dialect::Pusher => transport == Transport::Ws,
        }
    }

    fn answers_at_once(&self, resume: &str) -> bool {
        match self.dialect {
            Dialect::Native | Dialect::Pusher => resume.is_empty(),
            Dialect::Bayeux => bayeux::is_answered_at_once(resume),
        }
    }

    fn subscribe(&self, out: &mut Vec<u8>, transport: Transport, who: Who, resume: &str) {
        let address = self.address();
        if self.dialect == Dialect::Pusher {
            return pusher::open(out, address);
        }
        if self.dialect == Dialect::Bayeux {
            let channel = self.channel(who.place).unwrap_or_default();
            return self.with_token(who.user, |token| {
                let fields = format!("Authorization: Bearer {token}\r\n");
                bayeux::subscribe(out, (address, "/bayeux"), &fields, &channel, resume);
            });
        }
        let path = match transport {
            Transport::Poll => "poll",
            Transport::Sse => "sse",
            Transport::Ws => "ws",
        };
        let mut query = resume.to_owned();
        if resume.is_empty() {
            query = self.channel(who.place).map_or("_=0".to_owned(), |channel| format!("channels={channel}"));
        }
        if transport == Transport::Poll {
            // The first poll only asks where the logs end, so that nothing can be missed from then on.
            query.push_str(&format!("&hold_s={}", if resume.is_empty() { 0 } else { HOLD_S }));
        }
        let upgrade = if transport == Transport::Ws { crate::websocket::UPGRADE } else { "" };
        let text = self.with_token(who.user, |token| {
            format!("GET /v1/{path}?{query} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{upgrade}\r\n")
        });
        out.extend_from_slice(text.as_bytes());
    }

    fn greeting(&self, who: Who) -> Option<Greeting> {
        let channel = self.channel(who.place).filter(|_| self.dialect == Dialect::Pusher)?;
        Some(pusher::greeting(&channel))
    }

    fn resume(&self, _: &Head, body: &[u8], resume: &mut String) -> Result<(), String> {
        if self.dialect == Dialect::Bayeux {
            return bayeux::resume(body, resume);
        }
        let answer: Answer<'_> =
            serde_json::from_slice(body).map_err(|error| format!("a poll's answer: {error}"))?;
        if !answer.gaps.is_empty() || answer.close.is_some() {
            return Err("a gap or a close that was not asked for".to_owned());
        }
        resume.clear();
        resume.extend(["session=", answer.session, "&cursor=", answer.cursor]);
        Ok(())
    }

    fn publish(&self, out: &mut Vec<u8>, to: Place, payload: &str) {
        let (path, body) = match self.channel(to) {
            Some(channel) if self.dialect == Dialect::Pusher => {
                return pusher::publish(out, self.address(), &channel, payload);
            }
            Some(_) => ("/api/publish", self.message(to, payload)),
            None => ("/api/push", self.message(to, payload)),
        };
        post(out, path, self.address(), &self.api_fields(), &body);
    }

    fn publish_together(&self, out: &mut Vec<u8>, messages: &[(Place, String)]) -> bool {
        let (publishes, pushes): (Vec<_>, Vec<_>) =
            messages.iter().partition(|(place, _)| self.channel(*place).is_some());
        let all = |messages: &[&(Place, String)]| {
            let each: Vec<String> =
                messages.iter().map(|(place, payload)| self.message(*place, payload)).collect();
            each.join(",")
        };
        let (path, body) = match (publishes.is_empty(), pushes.is_empty()) {
            (false, true) => ("/api/publish", format!("{{\"messages\":[{}]}}", all(&publishes))),
            (true, false) => ("/api/push", format!("{{\"pushes\":[{}]}}", all(&pushes))),
            _ => return false,
        };
        post(out, path, self.address(), &self.api_fields(), &body);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(nodes: u16, apart: bool) -> Encke {
        Encke {
            nodes: (1..=nodes)
                .map(|port| Node { address: ([127, 0, 0, 1], port).into(), server: None, pid: None })
                .collect(),
            api_key: String::new(),
            key: EncodingKey::from_secret(b""),
            users_as_channels: false,
            dialect: Dialect::Native,
            apart,
            tls: None,
            engine: Engine::running("redis://127.0.0.1/", &[]),
            _certificate: None,
            tokens: RefCell::default(),
        }
    }

    #[test]
    fn what_is_published_crosses_nodes() {
        for nodes in [2, 4] {
            let peer = cluster(nodes, false);
            // Sixteen publishers, as `targeted` has them, each of whom publishes for the users of its number.
            assert!((0..1000).all(|user| peer.wait_at(user) != peer.publish_at(user % 16)));
            let waits: std::collections::BTreeSet<_> = (0..1000).map(|user| peer.wait_at(user)).collect();
            assert_eq!(waits.len(), usize::from(nodes), "all nodes are waited at");
        }
        let apart = cluster(4, true);
        assert!((0..9).all(|user| apart.wait_at(user).port() == 2 && apart.publish_at(user).port() == 1));
        let alone = cluster(1, false);
        assert_eq!(alone.wait_at(3), alone.publish_at(3));
    }

    #[test]
    fn parts_are_told_only_where_there_are_several() {
        assert!(cluster(1, false).parts().is_empty());
        let names: Vec<_> = cluster(2, false).parts().into_iter().map(|part| part.name).collect();
        assert_eq!(names, ["node 1", "node 2"], "of the engine no process is known");
    }
}
