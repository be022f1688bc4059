//! Many pushes to a real server, by the Rust client and by the command: what is told of each holds, whatever
//! becomes of the server.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use encke_client::{Api, Error, Push, Target};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const KEY: &str = "9b1d4e7f20c35a689b1d4e7f20c35a68";

/// The program as a server on its embedded store.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = program(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).env("ENCKE_TOKEN_SECRET", "4f1c9be07d3a4f1c9be07d3a4f1c9be0");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address }
    }

    fn api(&self) -> Api {
        Api::new(&self.address, KEY).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// `encke push --stream` for it.
    fn push_stream(&self) -> Child {
        let mut command = program(&["push", "--stream", "--server", &self.address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Memory of the process that is resident, in bytes.
    fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
        command.env_remove(name);
    }
    command.env("ENCKE_API_KEY", KEY);
    command
}

fn push(user: &str, data: usize) -> Push {
    Push::data(Target::Users(vec![user.to_owned()]), &data).unwrap()
}

fn line(user: &str, data: usize) -> String {
    format!("{{\"to\":[\"{user}\"],\"data\":{data}}}\n")
}

/// All that is kept for a user, in its order.
async fn kept(api: &Api, user: &str) -> Vec<usize> {
    let (mut kept, mut cursor) = (Vec::new(), None);
    loop {
        let part = api.history(&format!("@{user}"), cursor.as_deref(), Some(1_000)).await.unwrap();
        if part.messages.is_empty() {
            return kept;
        }
        let data = part.messages.iter().map(|message| serde_json::from_str::<Value>(&message.to_json_line()));
        kept.extend(data.map(|message| usize::try_from(message.unwrap()["data"].as_u64().unwrap()).unwrap()));
        cursor = Some(part.cursor.clone());
    }
}

fn lines(output: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_backend_pushes_many_and_is_told_of_each() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let api = server.api();
    let mut pushes: Vec<Push> =
        (0..1_000).map(|number| push(&format!("user {}", number % 10), number)).collect();
    pushes[500] = Push::page(Target::All, "ftp://x.example/");
    let results = api.push_many(&pushes).await.unwrap();
    assert_eq!(results.len(), 1_000);
    for (number, result) in results.iter().enumerate() {
        match result {
            Ok(accepted) => assert_eq!((accepted.accepted, accepted.mode.as_str()), (1, "log")),
            Err(error) => assert_eq!((number, error.code()), (500, Some("bad_url"))),
        }
    }
    assert_eq!(kept(&api, "user 3").await, (0..100).map(|number| number * 10 + 3).collect::<Vec<_>>());
    let none = api.push_many(&[]).await.unwrap_err();
    assert_eq!(none.code(), Some("bad_request"));

    let mut stream = api.push_stream().await.unwrap();
    let first = stream.push(&push("alice", 0).id("k")).await.unwrap();
    let wrong = Push::data(Target::Users(Vec::new()), &1).unwrap();
    assert_eq!(stream.push(&wrong).await.unwrap_err().code(), Some("bad_request"));
    assert_eq!(stream.push(&push("alice", 0).id("k")).await.unwrap().id, first.id, "one key, one push");
    let other = stream.push(&push("alice", 7).id("k")).await.unwrap_err();
    assert_eq!(other.code(), Some("key_reused"));
    let (mut sender, mut results) = stream.split();
    let sending = tokio::spawn(async move {
        for number in 1..=900 {
            sender.send(&push("alice", number)).await.unwrap();
        }
    });
    for _ in 0..900 {
        assert_eq!(results.next().await.unwrap().unwrap().offline, 1);
    }
    sending.await.unwrap();
    assert!(results.next().await.is_none(), "the stream ends with its sender");
    assert_eq!(kept(&api, "alice").await, (0..=900).collect::<Vec<_>>());

    let stranger = Api::new(&server.address, "another").unwrap();
    assert!(matches!(stranger.push_stream().await, Err(Error::Unauthorized { .. })));
}

/// So many that the log of each keeps all that it gets.
const USERS: usize = 64;

#[tokio::test]
async fn what_was_accepted_before_the_server_stops_or_dies_is_there_afterwards() {
    for signal in [Signal::TERM, Signal::KILL] {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path());
        let (mut sender, mut results) = server.api().push_stream().await.unwrap().split();
        let sending = tokio::spawn(async move {
            let mut number = 0;
            while sender.send(&push(&format!("user {}", number % USERS), number)).await.is_ok() {
                number += 1;
            }
            number
        });
        let (mut accepted, mut refused, mut ends) = (0, 0, Vec::new());
        while let Some(result) = results.next().await {
            match result {
                Ok(_) => {
                    assert_eq!(refused, 0, "what is refused is refused from there on");
                    accepted += 1;
                    if accepted == 500 {
                        server.signal(signal);
                    }
                }
                Err(error) if error.code() == Some("shutting_down") => refused += 1,
                Err(error) => ends.push(error),
            }
        }
        drop(results);
        let sent = sending.await.unwrap();
        assert!(accepted >= 500 && accepted + refused <= sent, "{accepted} {refused} {sent}");
        assert!(ends.len() <= 1 && ends.iter().all(Error::is_temporary), "it ends once: {ends:?}");
        drop(server);
        let server = Server::start(data.path());
        let mut kept = Vec::new();
        for user in 0..USERS {
            let of_one = self::kept(&server.api(), &format!("user {user}")).await;
            assert!(of_one.is_sorted(), "in order");
            kept.extend(of_one);
        }
        kept.sort_unstable();
        assert!(kept.len() >= accepted, "{} of {accepted} are kept", kept.len());
        assert_eq!(kept, (0..kept.len()).collect::<Vec<_>>(), "each once, and none left out");
        if signal == Signal::TERM {
            assert_eq!(kept.len(), accepted, "what was not accepted is not kept");
        }
    }
}

#[test]
fn a_client_that_never_reads_takes_no_memory() {
    /// Far more than the sockets hold and far less than would come.
    const GROWTH_MAX_BYTES: usize = 24 << 20;
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut socket = TcpStream::connect(server.address.strip_prefix("http://").unwrap()).unwrap();
    write!(
        socket,
        "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/x-ndjson\r\nContent-Length: 999999999\r\n\r\n"
    )
    .unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let before = server.resident();
    let lines = "{}\n".repeat(10_000);
    let mut sent = 0;
    // Until it is held up; the server may have let it go by then.
    while let Ok(count) = socket.write(lines.as_bytes()) {
        sent += count;
        assert!(sent < 256 << 20, "it is not held up");
    }
    let grown = server.resident().saturating_sub(before);
    assert!(grown < GROWTH_MAX_BYTES, "{grown} bytes for {sent} that were sent");
}

/// The command with this on its standard input.
fn feed(server: &Server, input: &[u8]) -> Output {
    let mut child = server.push_stream();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let feeding = thread::spawn(move || {
        // A command that has failed reads no further.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

#[test]
fn the_command_pushes_what_comes_through_a_pipe() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let many: String = (0..3_000).map(|number| line("alice", number)).collect();
    let output = feed(&server, many.as_bytes());
    assert!(output.status.success(), "{output:?}");
    let results = lines(&output.stdout);
    assert_eq!(results.len(), 3_000);
    assert!(results.iter().all(|result| result["accepted"] == 1 && result["mode"] == "log"));

    let long = format!("{{\"to\":[\"alice\"],\"data\":\"{}\"}}\n", "x".repeat(300_000));
    let some = [&line("bob", 1), "\n", "nonsense\n", &long, "{\"to\":[\"bob\"],\"data\":2}"].concat();
    let output = feed(&server, some.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "encke: 2 of 4 pushes were not accepted\n");
    let codes: Vec<_> = lines(&output.stdout).iter().map(|result| result["error"]["code"].clone()).collect();
    assert_eq!(codes, [json!(null), json!("bad_request"), json!("too_large"), json!(null)]);
    let nothing = feed(&server, b"");
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{nothing:?}");
}

#[test]
fn the_command_tells_of_each_push_while_its_input_goes_on_and_of_a_server_that_stops() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let mut child = server.push_stream();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for number in 0..5 {
        stdin.write_all(line("alice", number).as_bytes()).unwrap();
        let mut result = String::new();
        stdout.read_line(&mut result).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&result).unwrap()["accepted"], 1);
    }
    server.signal(Signal::TERM);
    // It ends by itself, though its input does not.
    let reading = thread::spawn(move || {
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
    });
    while stdin.write_all(line("alice", 5).as_bytes()).is_ok() && child.try_wait().unwrap().is_none() {
        thread::yield_now();
    }
    reading.join().unwrap();
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{words}");
    assert!(words.starts_with("encke: ") && words.matches('\n').count() == 1, "{words:?}");
}

#[test]
fn the_command_takes_nothing_beside_a_stream() {
    for wrong in
        [&["--to", "a"][..], &["--url", "https://x.example/"], &["--data", "1"], &["--id", "k"], &["--all"]]
    {
        let output = program(&["push", "--stream"]).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    let output =
        program(&["push", "--stream", "--server", "127.0.0.1:1"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
}
