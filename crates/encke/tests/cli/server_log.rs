//! What the server says in its log: warnings of its settings, and of what clients do.

use std::{
    io::{BufRead, Read, Write},
    net::TcpStream,
};

use super::{Program, start, stdout};

/// The lines of a server's log until it has answered a request, when it was told to log so.
fn logged(variables: &[(&str, &str)]) -> Vec<String> {
    let program = Program::new();
    let mut command = program.command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
    let (mut child, mut stdout) = start(command.envs(variables.iter().copied()));
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it says where it listens");
        let port = line
            .split("http://127.0.0.1:")
            .nth(1)
            .map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        if let Some(port) = port {
            break format!("127.0.0.1:{port}");
        }
    };
    let mut socket = TcpStream::connect(&address).unwrap();
    write!(socket, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_server_starts_with_a_key_of_a_former_version_and_says_that_it_has_no_effect() {
    let words = "ENCKE_TURN_US: turn_us: has no effect and can be taken out: ";
    assert!(logged(&[("ENCKE_TURN_US", "1000")]).iter().any(|line| line.contains(words)));
    assert!(!logged(&[]).iter().any(|line| line.contains("turn_us")));
    let program = Program::new();
    let old = program.write("old.toml", "dev = true\nturn_us = 1000\n");
    let output = program.run(&["check-config", &old]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "ok\n"));
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("old.toml:2:1: turn_us: has no effect"), "{note}");
}

#[test]
fn a_listener_that_others_reach_in_plain_text_is_told() {
    let program = Program::new();
    let open = program.write("open.toml", "dev = false\nlisten = \"0.0.0.0:8080\"\n");
    let output = program.run(&["check-config", &open]);
    assert_eq!(stdout(&output), "ok\n");
    let note = String::from_utf8(output.stderr).unwrap();
    assert!(note.contains("open.toml:2:1: listen: ") && note.contains("plain text"), "{note}");
    assert!(!logged(&[]).iter().any(|line| line.contains("plain text")));
}

#[test]
fn variables_that_are_no_settings_are_told() {
    let names = ["ENCKE_DIALECTS_FOO", "ENCKE_HOLD", "ENCKE_SERVICE_HOST", "ENCKE_EMPTY"];
    let values = ["true", "3", "10.0.0.1", ""];
    let variables: Vec<(&str, &str)> = names.into_iter().zip(values).collect();
    let told = logged(&variables);
    let lines: Vec<&String> = told.iter().filter(|line| line.contains("is no setting")).collect();
    assert_eq!(lines.len(), 2, "{told:?}");
    assert!(lines.iter().all(|line| line.contains(" WARN ")), "{lines:?}");
    assert!(lines[0].contains("`ENCKE_DIALECTS_FOO`"), "{lines:?}");
    assert!(
        lines[1].ends_with("`ENCKE_HOLD` in the environment is no setting; did you mean `ENCKE_HOLD_S`?")
    );

    let program = Program::new();
    let good = program.write("good.toml", "dev = true\n");
    let check = |variables: &[(&str, &str)]| {
        program.command(&["check-config", &good]).envs(variables.iter().copied()).output().unwrap()
    };
    let noted = check(&variables);
    assert_eq!(noted.status.code(), Some(0));
    let notes = String::from_utf8(noted.stderr).unwrap();
    assert!(notes.contains("note: `ENCKE_DIALECTS_FOO` in the environment is no setting"), "{notes}");
    let others = ["ENCKE_SERVICE_HOST", "ENCKE_URL", "ENCKE_CONFIG", "ENCKE_HOLD_S", "ENCKE_TURN_US"];
    assert_eq!(check(&others.map(|name| (name, "1"))).status.code(), Some(0));
}

/// Clients that speak what TLS has no place for make its library write warnings.
#[test]
fn lines_that_clients_provoke_are_one_a_second_with_the_count_of_the_others() {
    const CLIENTS: u64 = 100;
    let program = Program::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = program.write("cert.pem", &made.cert.pem());
    let key = program.write("key.pem", &made.signing_key.serialize_pem());
    let began = std::time::Instant::now();
    let mut command = program.command(&["serve", "--dev", "--listen", "127.0.0.1:0", "--engine", "memory"]);
    command.env("ENCKE_TLS_CERT", cert).env("ENCKE_TLS_KEY", key).env("ENCKE_TLS_LISTEN", "127.0.0.1:0");
    command.env("ENCKE_LOG_FORMAT", "json");
    let (mut child, mut stdout) = start(&mut command);
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it says where it listens for TLS");
        if let Some(address) = line.trim().split("https://").nth(1) {
            break address.to_owned();
        }
    };
    for _ in 0..CLIENTS {
        let mut socket = TcpStream::connect(&address).unwrap();
        // A record of application data before the handshake.
        socket.write_all(b"\x17\x03\x03\x00\x05hello").unwrap();
        // Its end says that it was looked at.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let warned: Vec<serde_json::Value> = lines.filter(|line| line["log.target"] == "rustls::check").collect();
    assert!(!warned.is_empty(), "the library warns of it: {text}");
    // However slow the machine is: a second more has one line more.
    assert!(warned.len() as u64 <= began.elapsed().as_secs() + 1, "{text}");
    let left_out: u64 = warned.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert!(warned.len() as u64 + left_out <= CLIENTS, "{text}");
}

#[test]
fn what_is_logged_and_how_is_as_configured() {
    let is_json =
        |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object());
    for (level, requests) in [("info", false), ("debug", true), ("info,encke::router=debug", true)] {
        let text = logged(&[("ENCKE_LOG", level)]);
        let json = logged(&[("ENCKE_LOG", level), ("ENCKE_LOG_FORMAT", "json")]);
        assert!(!text.iter().any(is_json) && json.iter().all(is_json), "{text:?} {json:?}");
        for lines in [text, json] {
            assert!(lines.iter().any(|line| line.contains("the server is up")), "{level} {lines:?}");
            assert_eq!(lines.iter().any(|line| line.contains("/healthz")), requests, "{level} {lines:?}");
        }
    }
    for format in ["text", "json"] {
        let errors = logged(&[("ENCKE_LOG", "error"), ("ENCKE_LOG_FORMAT", format)]);
        assert_eq!(errors, Vec::<String>::new(), "nothing is wrong");
    }
}
