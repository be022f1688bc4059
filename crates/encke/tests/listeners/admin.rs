//! `admin_listen`: what operators use, apart from what clients use.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use crate::server::{Server, Wire, bearer, key, program};

const PUSH: &str = r#"{"to":["alice"],"data":1}"#;

/// What is asked, and whether it is served at `listen` and at `admin_listen`.
const SERVED: [(&str, &str, [bool; 2]); 21] = [
    ("GET", "/healthz", [true, true]),
    ("GET", "/readyz", [true, true]),
    ("GET", "/metrics", [false, true]),
    ("GET", "/api/openapi.json", [false, true]),
    ("GET", "/api/asyncapi.json", [false, true]),
    ("GET", "/api/users", [false, true]),
    ("GET", "/api/users/alice", [false, true]),
    ("GET", "/api/sessions", [false, true]),
    ("GET", "/api/channels", [false, true]),
    // The plainest form, which shards answer by themselves.
    ("POST", "/api/push", [false, true]),
    // One that they leave to the router.
    ("POST", "/api/push?", [false, true]),
    ("POST", "/api/publish", [false, true]),
    ("POST", "/api/close", [false, true]),
    ("GET", "/console", [false, true]),
    ("GET", "/", [true, false]),
    ("GET", "/client.js", [true, true]),
    ("GET", "/assets/style.css", [true, true]),
    ("GET", "/v1/poll?hold_s=0", [true, false]),
    ("POST", "/v1/ticket", [true, false]),
    ("POST", "/v1/login", [true, false]),
    ("GET", "/Comet/Push?u=alice", [false, false]),
];

fn check_served(server: &Server) {
    let token = bearer(&server.token("alice"));
    let connect = || [server.connect(), server.connect_admin()];
    // On one connection, which hyper has after the first of them; and each on one of its own, whose first
    // request a shard reads.
    let mut kept = connect();
    for (method, target, served) in SERVED {
        let fields = if target.starts_with("/v1/") { token.clone() } else { key() };
        let ask = |wires: &mut [Wire; 2]| {
            for (wire, served) in wires.iter_mut().zip(served) {
                let answer = match method {
                    "GET" => wire.get(target, &fields),
                    _ => wire.post(target, &fields, PUSH),
                };
                let is_nowhere = answer.status == 404 && answer.code() == "not_found";
                assert_eq!(is_nowhere, !served, "{method} {target}: {answer:?}");
            }
        };
        ask(&mut kept);
        ask(&mut connect());
    }
}

#[test]
fn t24_what_operators_use_is_served_at_admin_listen_alone() {
    let server = Server::start("admin_listen = \"127.0.0.1:0\"\n");
    check_served(&server);
}

#[test]
fn a_unix_socket_serves_operators_and_commands_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let settings = format!("admin_listen = \"unix:{}\"\n", path.display());
    let server = Server::start_in(dir, &settings);
    assert_eq!(server.admin, Some(format!("unix:{}", path.display())));
    check_served(&server);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let server_is = format!("unix:{}", path.display());
    let run = |args: &[&str]| -> Output {
        program(&server.dir, args).args(["--server", &server_is]).output().unwrap()
    };
    let pushed = run(&["push", "--to", "bob", "--data", "1"]);
    assert!(pushed.status.success(), "{pushed:?}");
    assert!(run(&["who"]).status.success());
    let nowhere = program(&server.dir, &["who", "--server", "unix:admin.sock"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    let second = Server::refused(&server.dir, &format!("listen = \"127.0.0.1:0\"\n{settings}"));
    assert_ne!(second.status.code(), Some(0));
    assert!(String::from_utf8(second.stderr).unwrap().contains("admin_listen"));
    assert_eq!(server.connect_admin().get("/healthz", "").status, 200, "the first is as it was");
    let dir = server.end("-TERM");
    assert!(!path.exists(), "the file goes with its server");
    let server = Server::start_in(dir, &settings);
    let dir = server.end("-KILL");
    assert!(path.exists());
    let server = Server::start_in(dir, &settings);
    assert_eq!(server.connect_admin().get("/healthz", "").status, 200, "what was left of it is no hindrance");
}

/// Clients take all connections that there are, and each is at work.
#[test]
fn t9_clients_that_fill_the_server_do_not_keep_operators_out() {
    let server = Server::start("admin_listen = \"127.0.0.1:0\"\nmax_connections = 4\n");
    let token = bearer(&server.token("alice"));
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\n{token}\r\n"));
        client.until("\"event\":\"open\"");
    }
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &token).status, 503, "it is full");
    // More than there are places in reserve, and on none is the connection ended.
    let mut operators: Vec<_> = (0..100).map(|_| server.connect_admin()).collect();
    for operator in &mut operators {
        for _ in 0..2 {
            assert_eq!(operator.post("/api/push", &key(), PUSH).status, 202);
            assert_eq!(operator.get("/metrics", &key()).status, 200);
        }
    }
}

#[test]
fn the_console_and_the_demo_can_be_switched_off() {
    let targets =
        ["/", "/assets/demo.js", "/console", "/assets/console.js", "/assets/console/users.js", "/client.js"];
    for (settings, statuses) in [
        ("", [200, 200, 200, 200, 200, 200]),
        ("demo = false\n", [404, 404, 200, 200, 200, 200]),
        ("console = false\n", [200, 200, 404, 404, 404, 200]),
    ] {
        let server = Server::start(settings);
        let mut wire = server.connect();
        assert_eq!(targets.map(|target| wire.get(target, "").status), statuses, "{settings}");
    }
}
