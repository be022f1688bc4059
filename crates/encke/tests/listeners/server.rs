//! A server process by a configuration of its own, and requests as they stand on the wire.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

pub const KEY: &str = "4f1c9be07d3a55d2-listeners";
pub const SECRET: &str = "9b1d4e7f20c35a6881e0d2f4b6a79c13";
/// How long a test waits for what has to come.
pub const WAIT: Duration = Duration::from_secs(30);

/// A server in a directory of its own, which is its working directory.
pub struct Server {
    pub dir: tempfile::TempDir,
    child: Child,
    /// Where it says that it listens, besides for operators.
    main: String,
    /// Where it says that it listens for operators.
    pub admin: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program in a directory, with nothing in its environment that belongs to it.
pub fn program(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(args).current_dir(dir.path());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
        command.env_remove(name);
    }
    command.env("ENCKE_API_KEY", KEY);
    command
}

fn serve(dir: &tempfile::TempDir, settings: &str) -> Command {
    let common = format!("engine = \"memory\"\nworkers = 2\ntoken_secret = \"{SECRET}\"\n");
    fs::write(dir.path().join("encke.toml"), format!("{common}{settings}")).unwrap();
    program(dir, &["serve", "--config", "encke.toml"])
}

impl Server {
    /// A server with these settings besides the common ones. `listen` is a free port unless they say it.
    pub fn start(settings: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings)
    }

    pub fn start_in(dir: tempfile::TempDir, settings: &str) -> Self {
        let listen = if settings.contains("\nlisten = ") { "" } else { "listen = \"127.0.0.1:0\"\n" };
        let mut command = serve(&dir, &format!("{listen}{settings}"));
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut main, mut admin) = (None, None);
        let expects_admin = settings.contains("admin_listen");
        while main.is_none() || (expects_admin && admin.is_none()) {
            let Some(Ok(line)) = lines.next() else {
                panic!("{}", fs::read_to_string(dir.path().join("log")).unwrap());
            };
            if let Some(at) = line.strip_prefix("listening on ").filter(|at| !at.starts_with("https:")) {
                main = Some(at.to_owned());
            }
            if let Some(at) = line.strip_prefix("admin listening on ") {
                admin = Some(at.to_owned());
            }
        }
        // What it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { dir, child, main: main.unwrap(), admin }
    }

    /// What becomes of a server that does not come up.
    pub fn refused(dir: &tempfile::TempDir, settings: &str) -> Output {
        serve(dir, settings).output().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// A connection to where it listens.
    pub fn connect(&self) -> Wire {
        connect(&self.main)
    }

    /// The port where it listens.
    pub fn address(&self) -> SocketAddr {
        self.main.strip_prefix("http://").unwrap().parse().unwrap()
    }

    /// The same from another address of this machine.
    pub fn connect_from(&self, source: &str) -> Wire {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect(&self.address().into()).unwrap();
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(WAIT)).unwrap();
        Wire::new(Box::new(socket))
    }

    /// A connection to where it listens for operators.
    pub fn connect_admin(&self) -> Wire {
        connect(self.admin.as_ref().unwrap())
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended, and gives its directory.
    pub fn end(mut self, signal: &str) -> tempfile::TempDir {
        self.signal(signal);
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < WAIT, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    /// A token for a user, which may all.
    pub fn token(&self, user: &str) -> String {
        let args = ["token", "--user", user, "--channel", "*", "--publish", "*"];
        let output = program(&self.dir, &args).env("ENCKE_TOKEN_SECRET", SECRET).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn connect(address: &str) -> Wire {
    if let Some(path) = address.strip_prefix("unix:") {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        return Wire::new(Box::new(socket));
    }
    let socket = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    Wire::new(Box::new(socket))
}

/// A connection, and what came on it beyond the answers that were taken.
pub struct Wire {
    socket: Box<dyn Stream>,
    seen: Vec<u8>,
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An answer with the length of its body in its head.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The code of a refusal.
    pub fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        json["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    pub fn new(socket: Box<dyn Stream>) -> Self {
        Self { socket, seen: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// The next bytes; none at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(count) => {
                self.seen.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.seen)),
        }
    }

    /// Whether the server has ended the connection and takes nothing more of it. Nothing is read for that.
    pub fn is_reset(&mut self) -> bool {
        self.socket.write_all(b"\r\n").is_err()
    }

    /// The status of the answer that comes next, which is left there.
    pub fn status(&mut self) -> u16 {
        while self.seen.len() < 12 {
            assert!(self.more(), "it ends before it answers");
        }
        String::from_utf8(self.seen[9..12].to_vec()).unwrap().parse().unwrap()
    }

    /// The next answer, or none if the connection ends before.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.seen.drain(..end + 4).collect()).unwrap();
        let mut answer =
            Answer { status: head[9..12].parse().unwrap(), head: head.clone(), body: String::new() };
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        while self.seen.len() < length {
            assert!(self.more(), "the body ends early: {head}");
        }
        answer.body = String::from_utf8(self.seen.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// The next answer, if all of it comes before the connection ends.
    pub fn answer_if_whole(&mut self) -> Option<Answer> {
        let mut whole = std::mem::take(&mut self.seen);
        let is_whole = loop {
            let head = whole.windows(4).position(|four| four == b"\r\n\r\n");
            let length = head.map(|end| {
                let head = String::from_utf8_lossy(&whole[..end]).to_ascii_lowercase();
                let line = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
                end + 4 + line.parse::<usize>().unwrap()
            });
            if length.is_some_and(|length| whole.len() >= length) {
                break true;
            }
            if !self.more() {
                break false;
            }
            whole.append(&mut self.seen);
        };
        self.seen = whole;
        if is_whole { self.answer() } else { None }
    }

    /// Asks by GET with these header lines.
    pub fn get(&mut self, target: &str, fields: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        self.answer().unwrap()
    }

    /// Asks by POST of JSON with these header lines.
    pub fn post(&mut self, target: &str, fields: &str, body: &str) -> Answer {
        self.send(post(target, fields, body));
        self.answer().unwrap()
    }

    /// Waits until this has come. What has come until then, and stays there.
    pub fn until(&mut self, text: &str) -> String {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            assert!(self.more(), "it ends: {}", String::from_utf8_lossy(&self.seen));
        }
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

pub fn post(target: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{fields}\r\n{body}"
    )
}

/// The header line with the key of the server API.
pub fn key() -> String {
    bearer(KEY)
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
