//! Two servers as processes of their own, which share an engine and are killed and started again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use encke_client::{Api, Client, Page, Push, ReceiptState};
use tempfile::TempDir;

use super::{
    hook_endpoint::{self, Endpoint},
    ports::free_port,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";
/// How long a story waits for what must come.
pub const WAIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// For how long a session without a connection is kept, in seconds.
pub const GRACE_S: u64 = 1;
pub const NODES: usize = 2;

/// Waits until something is so.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let ends = Instant::now() + WAIT;
    while !holds().await {
        assert!(Instant::now() < ends, "in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A shell that starts a node, and kills it (-9) when no process holds its standard input any more.
struct Running {
    shell: Child,
    held: Option<ChildStdin>,
    /// A server that cannot say where it listens ends.
    _said: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it, and waits until it serves. Its port may be that of a connection which another program has
    /// opened meanwhile, so it is started again until it has it.
    fn start(home: &Path) -> Self {
        let ends = Instant::now() + WAIT;
        loop {
            match Self::attempt(home) {
                Ok(running) => return running,
                Err(log) => assert!(log.contains("in use") && Instant::now() < ends, "it ended: {log}"),
            }
        }
    }

    /// Starts it once; what it has logged, if it ended before it served.
    fn attempt(home: &Path) -> Result<Self, String> {
        // The shell lets go of the output, which then ends with the server.
        let script = r#""$0" serve --dev --config encke.toml 2>log & pid=$!
            exec >&-; read -r _; kill -9 $pid; wait"#;
        let mut command = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
            command.env_remove(name);
        }
        let mut shell = command
            .args(["-c", script, env!("CARGO_BIN_EXE_encke")])
            .current_dir(home)
            .env("ENCKE_API_KEY", KEY)
            .env("ENCKE_DATA", home.join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let held = shell.stdin.take();
        let mut line = String::new();
        let mut said = BufReader::new(shell.stdout.take().expect("it is piped"));
        said.read_line(&mut line).expect("it is text");
        let running = Self { shell, held, _said: said };
        if line.contains("http://") {
            return Ok(running);
        }
        drop(running);
        Err(std::fs::read_to_string(home.join("log")).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.held.take());
        let _ = self.shell.wait();
    }
}

/// A node, which serves at one address however often it is killed.
struct Node {
    home: PathBuf,
    url: String,
    running: Mutex<Option<Running>>,
    /// When it was killed last.
    killed: Mutex<Option<Instant>>,
}

/// All nodes.
pub struct Nodes {
    nodes: Vec<Node>,
    next: AtomicUsize,
    _dir: TempDir,
}

impl Nodes {
    /// Nodes that share the engine at an address, and tell the endpoint everything.
    pub fn start(engine: &str, endpoint: &Endpoint) -> Arc<Self> {
        let dir = TempDir::new().expect("there is room for a directory");
        let (address, secret) = (endpoint.address, hook_endpoint::SECRET);
        let events = [
            "connected",
            "disconnected",
            "subscribed",
            "channel_occupied",
            "channel_vacated",
            "push_delivered",
            "push_shown",
            "push_expired",
        ];
        let nodes = (0..NODES).map(|number| {
            let home = dir.path().join(format!("node-{number}"));
            std::fs::create_dir(&home).expect("there is room for a directory");
            let listen = format!("127.0.0.1:{}", free_port());
            let config = format!(
                "engine = \"{engine}\"\nnode = \"node-{number}\"\nlisten = \"{listen}\"\nworkers = 1\n\
                 token_secret = \"{SECRET}\"\nsession_grace_s = {GRACE_S}\n\
                 [hooks]\nurl = \"http://{address}/hooks\"\nsecret = \"{secret}\"\n\
                 allow_private = true\nevents = {events:?}\n"
            );
            std::fs::write(home.join("encke.toml"), config).expect("there is room for a file");
            let running = Mutex::new(Some(Running::start(&home)));
            Node { home, url: format!("http://{listen}"), running, killed: Mutex::default() }
        });
        Arc::new(Self { nodes: nodes.collect(), next: AtomicUsize::default(), _dir: dir })
    }

    /// Kills a node with -9.
    pub fn kill(&self, node: usize) {
        let node = &self.nodes[node];
        // Before any client can notice.
        *node.killed.lock().expect("no test panics while it holds this") = Some(Instant::now());
        *node.running.lock().expect("no test panics while it holds this") = None;
    }

    /// Starts a node that was killed, and waits until it serves.
    pub async fn start_again(self: &Arc<Self>, node: usize) {
        let nodes = Arc::clone(self);
        let started = tokio::task::spawn_blocking(move || {
            let running = Running::start(&nodes.nodes[node].home);
            *nodes.nodes[node].running.lock().expect("no test panics while it holds this") = Some(running);
        });
        started.await.expect("it starts");
    }

    /// When a node was killed last.
    pub fn killed(&self, node: usize) -> Option<Instant> {
        *self.nodes[node].killed.lock().expect("no test panics while it holds this")
    }

    /// One node after the other.
    pub fn any(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % NODES
    }

    pub fn api(&self, node: usize) -> Api {
        Api::new(&self.nodes[node].url, KEY).expect("an address")
    }

    pub fn client(&self, node: usize, user: &str) -> Client {
        let claims = encke::auth::Claims {
            user: encke_proto::UserId::new(user).expect("a user's id"),
            expires_s: std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs() + 600,
            issued_s: None,
            jti: None,
            channels: encke::auth::Grant::all(),
            publish: encke::auth::Grant::none(),
        };
        let key = encke::auth::TokenKey::hs256(&encke::config::Secret::new(SECRET.to_owned()));
        let token = key.sign(&claims).expect("claims");
        Client::new(&self.nodes[node].url, &token).expect("an address")
    }

    /// Pushes by whichever node takes it, and gives the push's id.
    pub async fn push(&self, push: &Push) -> String {
        let ends = Instant::now() + WAIT;
        loop {
            match self.api(self.any()).push(push).await {
                Ok(accepted) => return accepted.id,
                Err(error) => assert!(error.is_temporary() && Instant::now() < ends, "{error}"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What has become of a push for its only user, as a node that answers says.
    pub async fn receipt(&self, push: &str) -> Option<ReceiptState> {
        let receipts = self.api(self.any()).receipts(push, &Page::default()).await.ok()?;
        receipts.receipts.first().map(|receipt| receipt.state)
    }

    /// The node that tells, once there is one.
    pub async fn teller(&self) -> usize {
        let ends = Instant::now() + WAIT;
        loop {
            let told = self.api(self.any()).hooks().await.ok().and_then(|status| status.events);
            if let Some(told) = told {
                return told.node.strip_prefix("node-").expect("a name").parse().expect("a number");
            }
            assert!(Instant::now() < ends, "none tells");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the nodes have logged.
    pub fn logs(&self) -> String {
        let log = |node: &Node| std::fs::read_to_string(node.home.join("log")).unwrap_or_default();
        self.nodes.iter().map(log).collect::<Vec<_>>().join("\n---\n")
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
