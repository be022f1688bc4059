//! The log store as an operator meets it: a server that is copied while it runs, comes back from the copy,
//! and takes over what another engine has kept.

#![allow(clippy::unwrap_used)]

mod site;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::site::{Site, error};

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

#[cfg(feature = "sqlite")]
#[test]
fn a_store_of_the_engine_sqlite_is_taken_over_and_not_passed_over() {
    let site = Site::new();
    let server = site.serve(&["--engine", "sqlite"]);
    let first = site.publish(&server);
    assert_eq!(first["mode"], "sqlite");
    assert!(error(&site.run(&["store", "import"])).contains("another process"), "not while it is open");
    drop(server);
    let refused = error(&site.run(&["serve", "--dev", "--listen", "127.0.0.1:0"]));
    assert!(refused.contains("encke store import"), "{refused}");
    assert!(site.done(&["store", "import"]).contains("1 messages"));
    let server = site.serve(&[]);
    let second = site.publish(&server);
    assert_eq!((&second["mode"], &second["offset"]), (&"log".into(), &2.into()));
    assert_eq!(second["epoch"], first["epoch"], "cursors stay good");
}
