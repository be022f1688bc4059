//! `encke listen`: what it prints, how it goes on, how it ends, and the tokens that it takes.

use super::*;

#[cfg(unix)]
#[test]
fn listen_prints_lines_and_closes_its_session_when_it_is_told_to_stop() {
    for signal in ["-INT", "-TERM"] {
        let program = Program::new();
        let (address, asked) = play(|line| match line.split(' ').nth(1).unwrap() {
            "/v1/login" => (200, r#"{"token":"t1","user":"alice","expires":"2026-01-02T03:04:05Z"}"#.into()),
            "/v1/close" => (200, r#"{"closed":true}"#.into()),
            _ => (200, STREAM.into()),
        });
        let (mut child, mut lines) = start(&mut program.command(&[
            "listen",
            "--server",
            &address,
            "--user",
            "alice",
            "--channel",
            "news",
        ]));
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.ends_with("\"type\":\"message\",\"data\":{\"n\":1.0}}\n"), "{line}");
        assert_eq!(asked.recv().unwrap().body, r#"{"user":"alice"}"#);
        let data = asked.recv().unwrap();
        assert!(
            data.line.contains("/v1/sse?channels=news ")
                && data.head.to_ascii_lowercase().contains("bearer t1"),
            "{data:?}"
        );
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let close = asked.recv().unwrap();
        assert!(
            close.line.starts_with("POST /v1/close") && close.body.contains("\"session\":\"s1\""),
            "{close:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn listen_of_an_operator_looks_on_and_has_no_session_to_close() {
    let program = Program::new();
    let (address, asked) = play(|_| (200, STREAM.into()));
    let args = ["listen", "--server", &address, "--user", "a/b"];
    let (mut child, mut lines) = start(program.command(&args).env("ENCKE_API_KEY", "k1"));
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.ends_with("\"type\":\"message\",\"data\":{\"n\":1.0}}\n"), "{line}");
    let data = asked.recv().unwrap();
    assert!(
        data.line.contains("GET /api/users/a%2Fb/messages ") && data.head.contains("Bearer k1"),
        "{data:?}"
    );
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(asked.try_recv().is_err(), "nothing is closed");
}

#[test]
fn listen_goes_on_by_websocket_where_it_was() {
    let program = Program::new();
    let connections = std::sync::atomic::AtomicUsize::new(0);
    let event = |n: u64| {
        let place = format!(r#""channel":"@alice","offset":{n},"epoch":"e","time":"2026-01-02T03:04:05Z""#);
        format!(r#"{{"event":"message","id":"m{n}",{place},"type":"message","data":{n}}}"#)
    };
    let (address, asked) = play(move |_| {
        let open = r#"{"event":"open","session":"s1","cursor":"1~e~@alice~0","heartbeat_s":20}"#;
        match connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => (
                101,
                [
                    open,
                    &event(1),
                    r#"{"event":"close","code":"slow","reason":"for the test","reconnect":true}"#,
                ]
                .join("\n"),
            ),
            _ => (
                101,
                [
                    open,
                    &event(1),
                    &event(2),
                    r#"{"event":"close","code":"operator","reason":"tidy","reconnect":false}"#,
                ]
                .join("\n"),
            ),
        }
    });
    let args = ["listen", "--server", &address, "--user", "alice", "--token", "t", "--transport", "ws"];
    let output = program.run(&args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let ids: Vec<_> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["m1", "m2"], "what is repeated is printed once");
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("encke: closed (operator): tidy\n"));
    let (first, second) = (asked.recv().unwrap(), asked.recv().unwrap());
    assert!(
        first.line.starts_with("GET /v1/ws ") && first.head.contains("authorization: Bearer t"),
        "{first:?}"
    );
    assert!(second.line.starts_with("GET /v1/ws?cursor=1~e~%40alice~1 "), "{second:?}");
}

#[test]
fn listen_signs_its_own_token_when_it_has_the_secret() {
    let program = Program::new();
    let (address, asked) = play(|_| {
        (410, r#"{"error":{"code":"session_closed","message":"for the test"},"reconnect":false}"#.into())
    });
    let args =
        ["listen", "--server", &address, "--user", "alice", "--channel", "news", "--transport", "poll"];
    let output = program.command(&args).env("ENCKE_TOKEN_SECRET", SECRET).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "encke: closed (session_closed): for the test\n");
    let head = asked.recv().unwrap().head;
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let key = encke::auth::TokenKey::hs256(&encke::config::Secret::new(SECRET.into()));
    let claims = key.verify(token, now.as_secs()).unwrap();
    assert!(claims.channels.allows("news") && !claims.channels.allows("rain"));
}

#[test]
fn listen_goes_on_with_a_new_token_when_its_own_has_expired() {
    let program = Program::new();
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let (address, asked) = play(move |_| match polls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => (200, r#"{"session":"s1","cursor":"1~e~@alice~4","messages":[],"gaps":[],"close":null}"#.into()),
        1 => (401, r#"{"error":{"code":"token_expired","message":"for the test"}}"#.into()),
        _ => (401, r#"{"error":{"code":"unauthorized","message":"for the test"}}"#.into()),
    });
    let args = ["listen", "--server", &address, "--user", "alice", "--transport", "poll"];
    let output = program.command(&args).env("ENCKE_TOKEN_SECRET", SECRET).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        words,
        "encke: the token has expired; going on with a new one\nencke: unauthorized: for the test\n"
    );
    let lines: Vec<_> = (0..3).map(|_| asked.recv().unwrap().line).collect();
    assert!(lines[2].contains("session=s1&cursor=1~e~%40alice~4"), "{lines:?}");
}

#[test]
fn listen_says_what_to_do_where_a_login_needs_proof() {
    let (address, _asked) = play(|_| (403, r#"{"error":{"code":"login_disabled","message":"no"}}"#.into()));
    let words = error(&Program::new().run(&["listen", "--server", &address, "--user", "alice"]), 64);
    assert!(words.contains("--token"), "{words}");
}
