//! File descriptors run out, and come back: connections that are served notice nothing, new ones are told or
//! wait.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

const KEY: &str = "9b1d4e7f20c35a68";

/// The program, with so many file descriptors and no more.
struct Program {
    child: Child,
    address: SocketAddr,
    _data: tempfile::TempDir,
}

impl Program {
    fn start(descriptors: usize) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("ulimit -n {descriptors}; exec \"$@\""),
            "sh",
            env!("CARGO_BIN_EXE_encke"),
        ]);
        command
            .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory", "--data"])
            .arg(data.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
            command.env_remove(name);
        }
        command
            .env("ENCKE_API_KEY", KEY)
            .env("ENCKE_TOKEN_SECRET", "4f1c9be07d3a4f1c9be07d3a4f1c9be0")
            .env("ENCKE_WORKERS", "2");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { child, address, _data: data }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { socket, seen: String::new() }
    }

    /// A client that asks for a stream; whether it is served is still to be seen.
    fn ask(&self, token: &str) -> Client {
        let mut client = self.connect();
        let head = format!(
            "GET /v1/sse HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            self.address
        );
        // Who is refused at the door may find it shut already.
        let _ = client.socket.write_all(head.as_bytes());
        client
    }

    /// The same, served.
    fn listen(&self, token: &str) -> Client {
        let mut client = self.ask(token);
        client.until("event: opened\n");
        client
    }

    /// Leaves it so many file descriptors.
    fn leave(&self, count: usize) {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let mut open: Vec<u64> =
            open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
        open.sort_unstable();
        // The bound is on the number of the next one, and there may be gaps between those that are open.
        let limit = (0..).filter(|number| open.binary_search(number).is_err()).nth(count).unwrap();
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let before =
            prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(400) }).unwrap();
        assert_eq!(before.maximum, Some(400));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

struct Client {
    socket: TcpStream,
    seen: String,
}

impl Client {
    /// Reads until what has been seen holds `mark`; returns everything up to its end.
    fn until(&mut self, mark: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(mark) {
                let rest = self.seen.split_off(at + mark.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let mut buffer = [0; 4096];
            let count = self.socket.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed; seen so far: {}", self.seen);
            self.seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    }

    /// A request with a JSON body on this connection, which is kept; the answer's body.
    fn post(&mut self, path: &str, body: &str) -> String {
        let host = self.socket.peer_addr().unwrap();
        let head = format!("Host: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\n");
        let request = format!(
            "POST {path} HTTP/1.1\r\n{head}Authorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.socket.write_all(request.as_bytes()).unwrap();
        let answer = self.until("\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        self.until("}")
    }

    fn login(&mut self, user: &str) -> String {
        let answer = self.post("/v1/login", &format!("{{\"user\":\"{user}\"}}"));
        answer.split("\"token\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }
}

/// Waits for something that comes to be without a word.
fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..4_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it did not come to that within 20 seconds");
}

#[test]
fn a_client_that_finds_all_places_taken_is_told_so_and_gets_one_when_another_leaves() {
    // 128 are kept for the server itself, and 64 for operators.
    let program = Program::start(264);
    let mut backend = program.connect();
    let token = backend.login("alice");
    let mut served: Vec<Client> = (0..71).map(|_| program.listen(&token)).collect();
    for _ in 0..100 {
        let mut refused = program.ask(&token);
        let head = refused.until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: "), "{head}");
        assert!(refused.until("}}").contains("\"overloaded\""));
    }
    backend.post("/api/push", "{\"to\":[\"alice\"],\"data\":1}");
    served.iter_mut().for_each(|client| drop(client.until("\"data\":1}")));
    served.truncate(61);
    let mut newcomers = Vec::new();
    until(|| {
        let mut client = program.ask(&token);
        if client.until("\r\n\r\n").starts_with("HTTP/1.1 200 ") {
            client.until("event: opened\n");
            newcomers.push(client);
        }
        newcomers.len() == 10
    });
    backend.post("/api/push", "{\"to\":[\"alice\"],\"data\":2}");
    served.iter_mut().chain(&mut newcomers).for_each(|client| drop(client.until("\"data\":2}")));
}

#[test]
fn t9_when_the_kernel_gives_no_more_new_connections_wait_and_those_inside_notice_nothing() {
    let program = Program::start(400);
    let mut backend = program.connect();
    let token = backend.login("alice");
    let mut served: Vec<Client> = (0..20).map(|_| program.listen(&token)).collect();
    // Fewer than the server believes that there are; the connection limit lets in more.
    program.leave(5);
    served.extend((0..5).map(|_| program.listen(&token)));
    let mut waiting: Vec<Client> = (0..10).map(|_| program.ask(&token)).collect();
    for number in 0..50 {
        backend.post("/api/push", &format!("{{\"to\":[\"alice\"],\"data\":{number}}}"));
        served.iter_mut().for_each(|client| drop(client.until(&format!("\"data\":{number}}}"))));
    }
    for client in &waiting {
        client.socket.set_nonblocking(true).unwrap();
        assert!(
            (&client.socket)
                .read(&mut [0])
                .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "it was not let in"
        );
        client.socket.set_nonblocking(false).unwrap();
    }
    served.truncate(15);
    waiting.iter_mut().for_each(|client| drop(client.until("event: opened\n")));
    backend.post("/api/push", "{\"to\":[\"alice\"],\"data\":\"all\"}");
    served.iter_mut().chain(&mut waiting).for_each(|client| drop(client.until("\"data\":\"all\"}")));
}
