//! The log store as an operator meets it: a server that is copied while it runs, comes back from the copy,
//! and takes over what a former engine has kept.

#![allow(clippy::unwrap_used)]

#[path = "store/devices.rs"]
mod devices;
mod hook_endpoint;
#[path = "store/hook_events.rs"]
mod hook_events;
mod site;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::site::{Server, Site, error};

/// The newest segment of a store.
fn newest(store: &Path) -> PathBuf {
    let names = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

#[test]
fn a_server_is_copied_while_it_runs_and_comes_back_with_another_epoch() {
    let site = Site::new();
    let server = site.serve(&[]);
    let first = site.publish(&server);
    assert_eq!((&first["mode"], &first["offset"]), (&"log".into(), &1.into()), "the default engine");
    site.done(&["store", "backup", "copy"]);
    assert_eq!(site.publish(&server)["offset"], 2);
    assert!(site.done(&["store", "check"]).contains("2 messages, 0 damaged"), "beside the server");
    assert!(
        error(&site.run(&["store", "restore", "copy"])).contains("not empty"),
        "a store is not overwritten"
    );
    drop(server);

    let again = site.serve(&[]);
    let third = site.publish(&again);
    assert_eq!((&third["offset"], &third["epoch"]), (&3.into(), &first["epoch"]), "a killed server goes on");
    drop(again);

    fs::rename(site.path("data/log"), site.path("old")).unwrap();
    site.done(&["store", "restore", "copy"]);
    let restored = site.serve(&[]);
    let second = site.publish(&restored);
    assert_eq!(second["offset"], 2, "the copy has one message");
    assert_ne!(second["epoch"], first["epoch"], "and its offsets are given again, so in another epoch");
}

/// What a server answers to a ticket that is asked for with a token: the status, and the code of a refusal.
fn asked(server: &Server, token: &str) -> (u16, String) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        socket,
        "POST /v1/ticket HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    (head[9..12].parse().unwrap(), body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn what_was_revoked_stays_so_when_the_server_is_killed_and_comes_back() {
    let site = Site::new();
    let server = site.serve(&[]);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|user| {
        let token = site.done(&["token", "--user", user]);
        token.trim().to_owned()
    });
    let done = |args: &[&str]| -> Value {
        let output = site.command(args).env("ENCKE_URL", &server.url).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(done(&["revoke", "--user", "alice"]), serde_json::json!({"revoked": true, "closed": 0}));
    assert_eq!(done(&["close", "--user", "bob", "--ban", "600"]), serde_json::json!({"closed": 0}));
    done(&["close", "--user", "carol", "--ban", "600"]);
    done(&["close", "--user", "carol", "--ban", "0"]);
    let all = |server: &Server| {
        assert_eq!(asked(server, &alice), (401, "revoked".into()));
        assert_eq!(asked(server, &bob), (403, "banned".into()));
        assert_eq!(asked(server, &carol).0, 200);
    };
    all(&server);
    drop(server);
    let again = site.serve(&[]);
    all(&again);
    drop(again);
    assert!(site.done(&["store", "check"]).contains("0 damaged"));
    site.done(&["store", "dump"]);
}

#[test]
fn what_is_damaged_is_named_and_not_served() {
    let site = Site::new();
    let server = site.serve(&[]);
    for _ in 0..3 {
        site.publish(&server);
    }
    drop(server);
    let lines = site.done(&["store", "dump"]);
    let messages = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let messages: Vec<Value> = messages.filter(|line| line["record"] == "message").collect();
    assert_eq!(messages.len(), 3);
    assert_eq!(
        (&messages[2]["targets"][0]["channel"], &messages[2]["data"]["n"]),
        (&"news".into(), &1.into())
    );
    let segment = newest(&site.path("data/log"));
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(5).position(|window| window == b"\"n\":1").unwrap();
    bytes[at + 4] = b'2';
    fs::write(&segment, bytes).unwrap();
    let checked = site.run(&["store", "check"]);
    assert!(error(&checked).contains("the store is damaged"));
    assert!(String::from_utf8(checked.stdout).unwrap().contains("segment 1 at byte"));
    let refused = error(&site.run(&["serve", "--dev", "--listen", "127.0.0.1:0"]));
    assert!(refused.contains("damaged") && refused.contains("segment 1 at byte"), "{refused}");
}

/// What the former engine `sqlite` has left, in the data directory.
#[cfg(feature = "sqlite-import")]
fn old_store(site: &Site) {
    fs::create_dir(site.path("data")).unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../encke-engine/tests/sqlite_store");
    for file in ["encke.sqlite3", "encke.sqlite3-wal"] {
        fs::copy(from.join(file), site.path("data").join(file)).unwrap();
    }
}

#[cfg(feature = "sqlite-import")]
#[test]
fn what_the_former_engine_kept_is_taken_over_and_not_passed_over() {
    let site = Site::new();
    old_store(&site);
    for engine in [&["--engine", "log"][..], &["--engine", "sqlite"], &[]] {
        let output = site.run(&[&["serve", "--dev", "--listen", "127.0.0.1:0"], engine].concat());
        assert_eq!(output.status.code(), Some(64), "{engine:?} {output:?}");
        let refused = String::from_utf8(output.stderr).unwrap();
        let command = format!("`encke store import --data {}`", site.path("data").display());
        assert!(refused.contains(&command) && refused.contains("`data`"), "{refused}");
    }
    // The memory engine keeps nothing there.
    drop(site.serve(&["--engine", "memory"]));
    let printed = site.done(&["store", "import", "--data", site.path("data").to_str().unwrap()]);
    assert!(printed.contains("8 channels and users, 45 messages, 20 keys"), "{printed}");
    let server = site.serve(&[]);
    let args = ["publish", "--channel", "room-2", "--data", "1"];
    let output = site.command(&args).env("ENCKE_URL", &server.url).output().unwrap();
    let next: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&next["mode"], &next["offset"]), (&"log".into(), &17.into()));
    assert_eq!(next["epoch"], "1", "cursors stay good");
    assert!(error(&site.run(&["store", "import"])).contains("already"), "it is taken over once");
}

#[test]
fn the_engine_sqlite_is_an_older_name_of_the_log() {
    let site = Site::new();
    let mut server = site.serve(&["--engine", "sqlite"]);
    assert_eq!(site.publish(&server)["mode"], "log");
    server.child.kill().unwrap();
    let mut log = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("`sqlite`")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("WARN") && told[0].contains("it is now `log`"), "{told:?}");
    drop(server);
    let server = site.serve(&[]);
    assert_eq!(site.publish(&server)["offset"], 2, "both names are of one store");
}
