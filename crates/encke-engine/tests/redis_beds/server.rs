//! Redis servers for the tests: on free ports of loopback, in directories of their own, ended with the test's
//! process however that ends.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::ports::free_port;

/// How long the tests wait for what is to become true.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The program of a server, as `ENCKE_REDIS_SERVER` names it, or Debian's.
fn program() -> String {
    std::env::var("ENCKE_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A running server.
pub struct RedisServer {
    pub port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    running: Option<Running>,
}

/// A shell that starts the server, and ends it when no process holds its standard input any more.
struct Running {
    shell: Child,
    pid: u32,
    _held: ChildStdin,
}

impl Running {
    fn start(dir: &Path, arguments: &[String]) -> Self {
        let script = r#""$@" >>log 2>&1 & pid=$!; echo $pid; read -r _; kill -9 $pid; wait $pid"#;
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It says only that what it started was killed.
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("the shell says who it started");
        let held = shell.stdin.take().expect("it is piped");
        Self { pid: line.trim().parse().expect("a process id"), shell, _held: held }
    }
}

impl RedisServer {
    /// A server that appends to its file and keeps it through restarts, with more settings as its command
    /// line has them.
    pub fn start(more: &[&str]) -> Self {
        let port = free_port();
        let text = |text: &str| text.to_owned();
        let mut arguments: Vec<String> = vec![program(), text("--port"), port.to_string()];
        arguments.extend(
            [
                "--bind",
                "127.0.0.1",
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--save",
                "",
                "--repl-diskless-sync-delay",
                "0",
            ]
            .map(text),
        );
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        Self::with(port, arguments)
    }

    /// A server that takes connections by TLS only, with this certificate and key in its directory, and no
    /// user but one.
    pub fn with_tls(certificate: &str, key: &str, user: &str) -> Self {
        let port = free_port();
        let text = |text: &str| text.to_owned();
        let mut arguments: Vec<String> =
            vec![program(), text("--port"), text("0"), text("--tls-port"), port.to_string()];
        arguments.extend(["--bind", "127.0.0.1", "--save", "", "--tls-auth-clients", "no"].map(text));
        arguments.extend(
            ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"]
                .map(text),
        );
        // A setting's words are arguments of their own.
        arguments.extend(["--user", "default", "off", "--user"].map(text));
        arguments.extend(user.split(' ').map(text));
        let mut server = Self {
            port,
            dir: TempDir::new().expect("there is room for a directory"),
            arguments,
            running: None,
        };
        for (name, content) in [("cert.pem", certificate), ("key.pem", key)] {
            std::fs::write(server.dir.path().join(name), content).expect("the file can be written");
        }
        server.begin();
        server
    }

    fn with(port: u16, arguments: Vec<String>) -> Self {
        let mut server = Self {
            port,
            dir: TempDir::new().expect("there is room for a directory"),
            arguments,
            running: None,
        };
        server.begin();
        server
    }

    /// A sentinel that looks after a master.
    pub fn sentinel(master: u16) -> Self {
        let port = free_port();
        let dir = TempDir::new().expect("there is room for a directory");
        let file = dir.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
        );
        std::fs::write(&file, text).expect("the file can be written");
        let arguments = vec![program(), file.display().to_string(), "--sentinel".to_owned()];
        let mut server = Self { port, dir, arguments, running: None };
        server.begin();
        server
    }

    /// Starts it, after it was ended.
    pub fn begin(&mut self) {
        let program = program();
        let found = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        assert!(
            found.is_ok_and(|status| status.success()),
            "these tests need {program} (Debian: apt-get install redis-server)"
        );
        self.running = Some(Running::start(self.dir.path(), &self.arguments));
        let port = self.port;
        until("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        if !self.arguments.iter().any(|argument| argument == "--tls-port") {
            // Another process may have been faster to take the port.
            let me = format!("process_id:{}", self.running.as_ref().expect("it runs").pid);
            until("it is this server that listens", || self.ask(&["INFO", "server"]).contains(&me));
            until("the server has its data", || self.ask(&["PING"]) == "PONG");
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.running.as_ref().expect("it runs").pid.to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("there is kill").success());
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.signal("-KILL");
        if let Some(mut running) = self.running.take() {
            drop(running._held);
            running.shell.wait().expect("the shell ends");
        }
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// What it answers, as `redis-cli` shows it.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(command)
            .output();
        let output = output.expect("these tests need redis-cli (Debian: apt-get install redis-tools)");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running._held);
            drop(running.shell.wait());
        }
    }
}

/// Servers that are a cluster: so many masters, and no replicas.
pub fn cluster(masters: usize) -> Vec<RedisServer> {
    cluster_with(masters, &[])
}

/// The same, with more settings.
pub fn cluster_with(masters: usize, more: &[&str]) -> Vec<RedisServer> {
    let servers: Vec<RedisServer> = (0..masters)
        .map(|_| {
            let port = free_port().to_string();
            let mut settings =
                vec!["--cluster-enabled", "yes", "--cluster-port", &port, "--cluster-node-timeout", "2000"];
            settings.extend(more);
            RedisServer::start(&settings)
        })
        .collect();
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let made = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .expect("there is redis-cli");
    assert!(
        made.status.success(),
        "{}{}",
        String::from_utf8_lossy(&made.stdout),
        String::from_utf8_lossy(&made.stderr)
    );
    for server in &servers {
        until("the cluster is one", || server.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    }
    servers
}
