//! What the commands do with a real server: addresses, inputs, outputs and exit statuses. What they do with a
//! server that a test plays is in `cli/main.rs`.
#![allow(clippy::unwrap_used)]

mod unheard;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use unheard::Unheard;

/// A server in dev mode, in a directory where the commands find its keys.
struct Server {
    dir: tempfile::TempDir,
    _running: Running,
    /// Its host and port.
    address: String,
}

/// A process that ends with its test, whatever becomes of that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_encke"));
    command.args(args).current_dir(dir.path());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ENCKE_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"];
        let mut child = program(&dir, &args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line =
            lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("http://"))).unwrap().unwrap();
        let address = line.split("http://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        // What it says later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { dir, _running: Running(child), address }
    }

    /// A command that is told where the server is without a scheme.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(&self.dir, args);
        command.args(["--server", &self.address]);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The same with this on its standard input.
    fn feed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that has read enough does not read the rest.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// A command that goes on until it is ended.
    fn listen(&self, args: &[&str]) -> Running {
        Running(self.command(args).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// What the user was sent last.
    fn last_data(&self, user: &str) -> Value {
        let mut listener = self.listen(&["listen", "--user", user, "--transport", "poll"]);
        let mut line = String::new();
        BufReader::new(listener.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["data"].clone()
    }
}

/// The objects that a run printed, which must have ended well.
fn objects(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    printed(output)
}

fn printed(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The one line that a run ended with, which must have this status.
fn error(output: &Output, status: i32) -> String {
    let words = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{words}");
    assert!(words.starts_with("encke: ") && words.matches('\n').count() == 1, "{words:?}");
    words
}

#[test]
fn a_host_and_a_port_are_an_address() {
    let server = Server::start();
    assert_eq!(objects(&server.run(&["who"])), Vec::<Value>::new());
    let by_environment =
        program(&server.dir, &["who"]).env("ENCKE_URL", format!("{}/", server.address)).output().unwrap();
    assert_eq!(objects(&by_environment), Vec::<Value>::new());
    let port = server.address.split(':').nth(1).unwrap();
    objects(&program(&server.dir, &["who", "--server", &format!("localhost:{port}")]).output().unwrap());
    for nonsense in ["nowhere", ":80", "ftp://127.0.0.1:80", "host:port"] {
        error(&program(&server.dir, &["who", "--api-key", "k", "--server", nonsense]).output().unwrap(), 2);
    }
}

#[test]
fn a_key_is_taken_from_the_first_line_of_a_file() {
    let server = Server::start();
    let path = |name: &str, text: &str| {
        let path = server.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let keys = std::fs::read(server.dir.path().join("encke-data/dev-keys.json")).unwrap();
    let key = serde_json::from_slice::<Value>(&keys).unwrap()["api_key"].as_str().unwrap().to_owned();
    let who = |file: &str| server.run(&["who", "--api-key-file", file]);
    objects(&who(&path("key", &format!("  {key}\nwhat stands below is a note\n"))));
    assert!(error(&who(&path("other", "4f1c9be07d3a4f1c\n")), 1).contains("this is not the API key"));
    assert!(error(&who(&path("empty", "\n")), 64).contains("its first line holds no key"));
    assert!(error(&who("nowhere"), 64).contains("nowhere: No such file"));
}

#[test]
fn a_server_that_cannot_be_reached_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let unheard = Unheard::new();
    let address = &unheard.address;
    for args in [&["who", "--api-key", "k"][..], &["listen", "--user", "alice", "--token", "t"]] {
        let output = program(&dir, args).args(["--server", address]).output().unwrap();
        assert_eq!(
            error(&output, 69),
            format!("encke: cannot reach http://{address}: connection refused\n"),
            "{args:?}"
        );
    }
}

#[test]
fn a_wrong_scheme_and_a_certificate_that_does_not_verify_are_explained() {
    let server = Server::start();
    let plain =
        program(&server.dir, &["who", "--server", &format!("https://{}", server.address)]).output().unwrap();
    let words = error(&plain, 69);
    assert!(words.contains(&format!("https://{}: the TLS handshake was refused", server.address)), "{words}");
    assert!(words.contains("try http://"), "{words}");

    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut serve = program(&dir, &["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
    serve
        .env("ENCKE_TLS_LISTEN", "127.0.0.1:0")
        .env("ENCKE_TLS_CERT", "cert.pem")
        .env("ENCKE_TLS_KEY", "key.pem");
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line =
        lines.find(|line| line.as_ref().map_or(true, |line| line.contains("https://"))).unwrap().unwrap();
    let address = line.split("https://").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    std::thread::spawn(move || lines.for_each(drop));
    let by_tls = program(&dir, &["who", "--server", &format!("https://{address}")]).output().unwrap();
    let by_name = format!("https://localhost:{}", address.split(':').nth(1).unwrap());
    let known =
        program(&dir, &["who", "--server", &by_name]).env("SSL_CERT_FILE", "cert.pem").output().unwrap();
    let without = program(&dir, &["who", "--server", &address]).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let words = error(&by_tls, 69);
    assert!(words.contains("the certificate does not verify") && words.contains("SSL_CERT_FILE"), "{words}");
    assert!(known.status.success(), "what the error proposes helps: {known:?}");
    let words = error(&without, 69);
    assert!(words.contains("try https://"), "{words}");
}

#[test]
fn closing_nothing_is_a_failure() {
    let server = Server::start();
    for (args, name) in [
        (["close", "--user", "unknown"], "user \"unknown\""),
        (["close", "--session", "s1"], "session \"s1\""),
    ] {
        let output = server.run(&args);
        assert!(error(&output, 1).contains(&format!("nothing was closed: {name}")), "{output:?}");
        assert_eq!(printed(&output), [json!({"closed": 0})]);
    }
}

#[test]
fn users_with_commas_between_them_are_refused_with_a_hint() {
    let server = Server::start();
    let words = error(&server.run(&["push", "--data", "1", "--to", "alice,bob"]), 2);
    assert!(words.contains("--to alice bob"), "{words}");
    assert_eq!(objects(&server.run(&["push", "--data", "1", "--to", "alice", "bob"]))[0]["accepted"], 2);
}

#[test]
fn seconds_to_wait_and_messages_that_stand_alone_are_refused_with_a_hint() {
    let server = Server::start();
    let push = ["push", "--to", "alice", "--data", "1"];
    let words = error(&server.run(&[&push[..], &["--wait", "10"]].concat()), 2);
    assert!(words.contains("--wait=10"), "{words}");
    let words = error(&server.run(&["publish", "--channel", "news", "{\"a\":1}"]), 2);
    assert!(words.contains("follows --data"), "{words}");
}

#[test]
fn a_message_comes_from_the_command_line_a_file_or_the_standard_input() {
    let server = Server::start();
    std::fs::write(server.dir.path().join("message.json"), "{\"from\": [\"a file\"]}\n").unwrap();
    objects(&server.run(&["push", "--to", "a", "--file", "message.json"]));
    assert_eq!(server.last_data("a"), json!({"from": ["a file"]}));
    for (user, args) in [
        ("b", &["push", "-", "--to", "b"][..]),
        ("c", &["push", "--to", "c", "--data", "-"]),
        ("d", &["push", "--to", "d", "--file", "-"]),
    ] {
        objects(&server.feed(args, b"{\"from\": \"stdin\"}\n"));
        assert_eq!(server.last_data(user), json!({"from": "stdin"}), "{args:?}");
    }
    assert_eq!(objects(&server.feed(&["publish", "-", "--channel", "news"], b"[1]"))[0]["offset"], 1);
    assert!(
        error(&server.run(&["push", "--to", "a", "--file", "nowhere"]), 1).contains("cannot read nowhere")
    );
    assert!(error(&server.feed(&["push", "-", "--to", "a"], b"hello"), 2).contains("not JSON"));
    assert!(error(&server.feed(&["push", "-", "--to", "a"], &[b' '; 70_000]), 2).contains("65536 bytes"));
    for args in [
        &["push", "-", "--to", "a", "--data", "1"][..],
        &["push", "--to", "a", "-"],
        &["publish", "--channel", "c"],
    ] {
        error(&server.run(args), 2);
    }
}

#[test]
fn one_id_gives_one_push_and_one_message() {
    let server = Server::start();
    let push = || {
        objects(&server.run(&["push", "--to", "alice", "--data", "1", "--id", "order-7"]))[0]["id"].clone()
    };
    assert_eq!(push(), push());
    let publish = || {
        objects(&server.run(&["publish", "--channel", "news", "--data", "1", "--id", "k"]))[0]["offset"]
            .clone()
    };
    assert_eq!((publish(), publish()), (json!(1), json!(1)));
}

#[test]
fn a_push_to_those_who_are_online_leaves_others_out() {
    let server = Server::start();
    objects(&server.run(&["push", "--to", "away", "--data", "0"]));
    let mut here = server.listen(&["listen", "--user", "here", "--transport", "sse"]);
    let mut tries = 0;
    while objects(&server.run(&["who"])).is_empty() {
        tries += 1;
        assert!(tries < 200, "the listener does not come");
    }
    let pushed = objects(&server.run(&["push", "--online", "--data", "1"]));
    assert_eq!((&pushed[0]["online"], &pushed[0]["offline"]), (&json!(["here"]), &json!([])));
    let mut line = String::new();
    BufReader::new(here.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"data\":1"), "{line}");
}

#[test]
fn a_push_that_an_operator_has_looked_at_still_comes_to_the_user() {
    let server = Server::start();
    let push = |data: &str| {
        let pushed = objects(&server.run(&["push", "--to", "alice", "--data", data]));
        (pushed[0]["id"].as_str().unwrap().to_owned(), pushed[0]["online"].clone())
    };
    let state = |id: &str| objects(&server.run(&["receipts", id]))[0]["state"].clone();
    let (first, _) = push("1");
    let mut looks_on = server.listen(&["listen", "--user", "alice"]);
    let mut seen = BufReader::new(looks_on.0.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        seen.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["data"].clone()
    };
    assert_eq!(next(), json!(1), "what waits comes first");
    let (second, online) = push("2");
    assert_eq!(online, json!([]), "alice is not online by it");
    assert_eq!(next(), json!(2), "and then what comes");
    assert_eq!((state(&first), state(&second)), (json!("queued"), json!("queued")));
    assert!(objects(&server.run(&["sessions"])).is_empty());

    let mut alice = server.listen(&["listen", "--user", "alice", "--transport", "sse"]);
    let mut lines = BufReader::new(alice.0.stdout.take().unwrap()).lines();
    for expected in [json!(1), json!(2)] {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["data"], expected);
    }
    let began = std::time::Instant::now();
    while state(&second) != json!("delivered") {
        assert!(began.elapsed().as_secs() < 60, "no receipt of what alice was given");
    }
}

#[test]
fn waiting_for_receipts_has_a_bound() {
    let server = Server::start();
    let output = server.run(&["push", "--to", "away", "--data", "1", "--wait=3"]);
    assert!(error(&output, 1).contains("after 3 s 1 of the users"), "{output:?}");
    assert_eq!(printed(&output)[1]["state"], "queued");
    error(&server.run(&["push", "--to", "away", "--data", "1", "--wait=0"]), 2);
    let settled = objects(&server.run(&["push", "--to", "away", "--data", "1", "--ttl", "1", "--wait=60"]));
    assert_eq!(settled.last().unwrap()["state"], "expired");
}

#[test]
fn every_command_that_prints_can_print_json() {
    let server = Server::start();
    for args in [
        &["push", "--json", "--to", "alice", "--data", "1"][..],
        &["publish", "--json", "--channel", "news", "--data", "1"],
        &["who", "--json"],
        &["sessions", "--json"],
        &["channels", "--json"],
        &["history", "news", "--json"],
    ] {
        objects(&server.run(args));
    }
    printed(&server.run(&["close", "--json", "--user", "alice"]));
    let token =
        objects(&program(&server.dir, &["token", "--json", "--user", "alice"]).output().unwrap()).remove(0);
    assert_eq!(token["user"], "alice");
    assert!(
        token["token"].as_str().unwrap().split('.').count() == 3
            && token["expires"].as_str().unwrap().ends_with('Z'),
        "{token}"
    );
}

#[test]
fn there_are_no_colours_where_there_is_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = program(&dir, &["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
    let mut child =
        child.env("ENCKE_LOG", "debug").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    let mut log = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut log).unwrap();
    child.wait().unwrap();
    let outputs = [&["--help"][..], &["push", "--help"], &["push"], &["dance"]]
        .map(|args| program(&dir, args).output().unwrap());
    let texts = outputs.iter().flat_map(|output| [&output.stdout, &output.stderr]).chain([&log]);
    for text in texts {
        assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn what_is_deleted_is_gone() {
    let server = Server::start();
    server.run(&["push", "--to", "alice", "--data", "1"]);
    server.run(&["publish", "--channel", "news", "--data", "1"]);
    for (args, name) in
        [(["delete", "--user", "alice"], "user"), (["delete", "--channel", "news"], "channel")]
    {
        let output = server.run(&args);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(printed(&output), [json!({"deleted": true})]);
        let again = error(&server.run(&args), 1);
        assert!(again.contains(&format!("no such {name}")), "{again}");
    }
    let both = ["delete", "--user", "alice", "--channel", "news"];
    assert!(error(&server.run(&both), 2).contains("cannot be used with"));
}

#[test]
fn channels_history_and_receipts_are_shown() {
    let server = Server::start();
    for n in 1..=5 {
        objects(&server.run(&["publish", "--channel", "news", "--data", &n.to_string()]));
    }
    let channels = objects(&server.run(&["channels"]));
    assert_eq!(
        (channels.len(), &channels[0]["channel"], &channels[0]["head"]),
        (1, &json!("news"), &json!(5))
    );
    let shown = |args: &[&str]| -> Vec<Value> {
        objects(&server.run(args)).into_iter().map(|message| message["data"].clone()).collect()
    };
    assert_eq!(shown(&["history", "news"]), [json!(1), json!(2), json!(3), json!(4), json!(5)]);
    assert_eq!(shown(&["history", "news", "--last", "2"]), [json!(4), json!(5)]);
    assert_eq!(shown(&["history", "news", "--all"]).len(), 5);
    let pushed = objects(&server.run(&["push", "--to", "alice", "bob", "--data", "7"])).remove(0);
    assert_eq!(shown(&["history", "@alice"]), [json!(7)]);
    let receipts = objects(&server.run(&["receipts", pushed["id"].as_str().unwrap()]));
    let states = receipts.iter().map(|one| (one["user"].as_str().unwrap(), one["state"].as_str().unwrap()));
    assert_eq!(states.collect::<Vec<_>>(), [("alice", "queued"), ("bob", "queued")]);
    error(&server.run(&["receipts", "absent"]), 1);
    for args in
        [&["history"][..], &["history", "news", "--last", "0"], &["history", "a", "--all", "--last", "1"]]
    {
        error(&server.run(args), 2);
    }
}

#[test]
fn a_token_of_another_user_is_told_before_anything_is_asked() {
    let server = Server::start();
    let token = program(&server.dir, &["token", "--user", "alice"]).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap().trim().to_owned();
    let words = error(&server.run(&["listen", "--user", "bob", "--token", &token]), 2);
    assert!(
        words.contains("the token is of the user \"alice\", not of \"bob\": give --user alice"),
        "{words}"
    );
    let words = error(&server.run(&["listen", "--user", "bob", "--token", "nonsense"]), 1);
    assert!(words.contains("unauthorized"), "{words}");
}

#[test]
fn a_store_is_backed_up_and_restored_and_says_so_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "log"];
    let child = program(&dir, &args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = Running(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let run = |args: &[&str]| program(&dir, args).output().unwrap();
    let copied = objects(&run(&["backup", "copy", "--json"])).remove(0);
    assert_eq!(copied["directory"], "copy");
    assert!(copied["bytes"].as_u64().unwrap() > 0);
    assert!(
        String::from_utf8(run(&["store", "backup", "other"]).stdout).unwrap().ends_with("bytes in other\n")
    );
    assert_eq!(objects(&run(&["store", "check", "copy", "--json"]))[0]["damages"], json!([]));
    drop(server);
    let restored = objects(&run(&["restore", "copy", "--data", "new", "--json"])).remove(0);
    assert_eq!((&restored["bytes"], &restored["directory"]), (&copied["bytes"], &json!("new/log")));
}

/// A shell reads what it is given: bash is there wherever the tests run.
#[test]
fn shells_and_man_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let printed = |args: &[&str]| {
        let output = program(&dir, args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let completions = printed(&["completions", shell]);
        for word in ["history", "check-config", "receipts"] {
            assert!(completions.contains(word), "{shell}: {word}");
        }
    }
    std::fs::write(dir.path().join("encke.bash"), printed(&["completions", "bash"])).unwrap();
    let script = "source ./encke.bash; COMP_WORDS=(encke hist); COMP_CWORD=1; _encke encke hist encke; \
                  echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").args(["-c", script]).current_dir(dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "history\n", "{completed:?}");
    error(&program(&dir, &["completions", "tcsh"]).output().unwrap(), 2);
    assert!(printed(&["man"]).contains(".TH encke 1"));
    assert_eq!(printed(&["man", "--dir", "man1"]), "");
    for (page, word) in
        [("encke.1", "Exit status"), ("encke-push.1", "Examples"), ("encke-config-show.1", "masked")]
    {
        let text = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap_or_default();
        assert!(text.contains(word), "{page}: {text}");
    }
}
