//! Copies of a store as an operator meets them: on a disk that fills up, on one that is read only, changed on
//! their way, and made beside a server. What a command refuses it names, and it leaves nothing half made.

#![allow(clippy::unwrap_used)]

mod site;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use encke_engine::{
    Append, Engine, Retention, RetentionTable, Targets,
    log::{LogEngine, LogOptions},
};
use encke_proto::{Body, ChannelName, Epoch, MessageId, Time};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::site::{Site, error};

/// So small that a store has many segments.
const SMALL: LogOptions = LogOptions { segment_bytes: 4096, checkpoint_bytes: 1 << 20 };

/// A site whose server has taken some messages and ended, with a copy of them.
fn copied() -> Site {
    let site = Site::new();
    let server = site.serve(&[]);
    for _ in 0..5 {
        site.publish(&server);
    }
    drop(server);
    site.done(&["store", "backup", "copy"]);
    site
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs a command under a limit of the operating system.
fn run_limited(site: &Site, limit: &str, args: &[&str]) -> Output {
    let command = site.command(args);
    let mut limited = Command::new("prlimit");
    limited.arg(limit).arg(command.get_program()).args(command.get_args());
    limited.current_dir(site.path("."));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.output().unwrap()
}

#[test]
fn a_copy_that_was_changed_is_not_restored() {
    let site = copied();
    let copy = site.path("copy");
    let mut kinds = 0;
    for name in names(&copy) {
        let path = copy.join(&name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let longer = [&whole[..], &[0; 16]].concat();
        let harms = [
            ("cut", Some(whole[..whole.len() - 1].to_vec())),
            ("halved", Some(whole[..whole.len() / 2].to_vec())),
            ("empty", Some(Vec::new())),
            ("flipped", Some(flipped)),
            ("longer", Some(longer)),
            ("gone", None),
        ];
        for (harm, bytes) in harms {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let restored = site.run(&["store", "restore", "copy", "--data", "other"]);
            assert_eq!(restored.status.code(), Some(1), "{name} {harm}: {restored:?}");
            assert!(!site.path("other/log").exists(), "{name} {harm}: nothing is left of it");
            let checked = site.run(&["store", "check", "copy"]);
            assert_eq!(checked.status.code(), Some(1), "{name} {harm}: {checked:?}");
            fs::write(&path, &whole).unwrap();
            kinds += 1;
        }
    }
    assert!(kinds >= 12, "{kinds}");
    let mut check = site.command(&["store", "check", "copy"]);
    let checked = check.env("ENCKE_CONFIG", "of-the-server.toml").output().unwrap();
    assert!(String::from_utf8(checked.stdout).unwrap().contains("5 messages, 0 damaged"));
    site.done(&["store", "restore", "copy", "--data", "other"]);
    assert!(site.done(&["store", "check", "--data", "other"]).contains("5 messages, 0 damaged"));
}

#[test]
fn a_copy_that_is_not_finished_is_told_as_such() {
    let site = copied();
    fs::remove_file(site.path("copy/BACKUP")).unwrap();
    for args in [&["store", "restore", "copy", "--data", "other"][..], &["store", "check", "copy"]] {
        let output = site.run(args);
        let told = [&output.stdout[..], &output.stderr].concat();
        assert!(String::from_utf8(told).unwrap().contains("not finished"), "{args:?}: {output:?}");
        assert_eq!(output.status.code(), Some(1));
    }
    fs::create_dir_all(site.path("moved")).unwrap();
    fs::rename(site.path("copy"), site.path("moved/log")).unwrap();
    let opened = site.run(&["serve", "--dev", "--listen", "127.0.0.1:0", "--data", "moved"]);
    assert!(error(&opened).contains("not finished"), "{opened:?}");
}

#[test]
fn a_copy_that_failed_is_in_no_way_of_the_next() {
    let site = copied();
    let failed = run_limited(&site, "--fsize=100", &["store", "backup", "second"]);
    assert_ne!(failed.status.code(), Some(0), "{failed:?}");
    assert!(!site.path("second").exists(), "what is not whole has another name");
    // What one that was killed has left.
    fs::create_dir_all(site.path("second.partial")).unwrap();
    for name in ["0000000001.log", "0000000009.log", "MANIFEST"] {
        fs::write(site.path("second.partial").join(name), "some of it").unwrap();
    }
    site.done(&["store", "backup", "second"]);
    assert_eq!(names(&site.path("second")), names(&site.path("copy")));
    site.done(&["store", "check", "second"]);
    assert!(!site.path("second.partial").exists());

    fs::create_dir_all(site.path("third.partial")).unwrap();
    fs::write(site.path("third.partial/letters.txt"), "mine").unwrap();
    assert!(error(&site.run(&["store", "backup", "third"])).contains("letters.txt"), "not all is removed");
    assert!(site.path("third.partial/letters.txt").exists());

    let failed = run_limited(&site, "--fsize=100", &["store", "restore", "copy", "--data", "other"]);
    assert_ne!(failed.status.code(), Some(0), "{failed:?}");
    assert!(!site.path("other/log").exists());
    site.done(&["store", "restore", "copy", "--data", "other"]);
}

#[test]
fn what_is_no_store_is_looked_at_before_anything_is_made() {
    let site = copied();
    for args in [
        &["store", "restore", "nothing", "--data", "other"][..],
        &["store", "restore", "data/log", "--data", "other"],
        &["store", "backup", "second", "--data", "nothing"],
        &["store", "check", "--data", "nothing"],
        &["store", "check", "nothing"],
        &["store", "dump", "--data", "nothing"],
    ] {
        let before = names(&site.path("."));
        let told = error(&site.run(args));
        assert!(told.starts_with("encke: ") && told.trim().lines().count() == 1, "{args:?}: {told}");
        assert!(told.contains("nothing") || told.contains("data/log"), "{args:?}: {told}");
        assert!(!told.contains("engine"), "{args:?}: {told}");
        assert_eq!(names(&site.path(".")), before, "{args:?}");
    }
}

/// Runs a command where a directory is read only.
fn run_read_only(site: &Site, directory: &str, args: &[&str]) -> Output {
    let command = site.command(args);
    let mut all = Command::new("unshare");
    let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && shift && exec \"$@\"";
    all.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", directory]);
    all.arg(command.get_program()).args(command.get_args()).current_dir(site.path("."));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => all.env(name, value),
            None => all.env_remove(name),
        };
    }
    all.output().unwrap()
}

#[test]
fn a_store_on_a_read_only_disk_is_looked_at_and_copied() {
    let site = copied();
    for (directory, args) in [
        ("data", &["store", "check"][..]),
        ("data", &["store", "dump"]),
        ("data", &["store", "backup", "second"]),
        ("copy", &["store", "check", "copy"]),
        ("copy", &["store", "restore", "copy", "--data", "other"]),
    ] {
        let output = run_read_only(&site, directory, args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
}

#[test]
fn a_damaged_store_is_copied_only_on_request() {
    let site = copied();
    let segment = site.path("data/log/0000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(5).position(|window| window == b"\"n\":1").unwrap();
    bytes[at + 4] = b'2';
    fs::write(&segment, bytes).unwrap();
    let refused = error(&site.run(&["store", "backup", "second"]));
    assert!(refused.contains("segment 1 at byte") && refused.contains("--damaged"), "{refused}");
    assert!(!site.path("second").exists() && !site.path("second.partial").exists());
    let copied = site.run(&["store", "backup", "second", "--damaged"]);
    assert_eq!(copied.status.code(), Some(0), "{copied:?}");
    assert!(String::from_utf8(copied.stderr).unwrap().contains("segment 1 at byte"));
    let restored = site.run(&["store", "restore", "second", "--data", "other"]);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    assert!(String::from_utf8(restored.stderr).unwrap().contains("damaged"));
    assert_eq!(
        fs::read(site.path("other/log/0000000001.log")).unwrap().len(),
        fs::read(&segment).unwrap().len()
    );
}

#[test]
fn a_store_whose_manifest_or_segments_are_gone_is_told_by_all_commands() {
    for gone in ["MANIFEST", "0000000001.log"] {
        let site = copied();
        fs::remove_file(site.path("data/log").join(gone)).unwrap();
        for args in [
            &["serve", "--dev", "--listen", "127.0.0.1:0"][..],
            &["store", "check"],
            &["store", "backup", "second"],
        ] {
            error(&site.run(args));
        }
        assert!(!site.path("second").exists());
    }
}

#[test]
fn a_store_has_one_server_whatever_becomes_of_its_files() {
    let site = Site::new();
    let server = site.serve(&[]);
    site.publish(&server);
    let second = || error(&site.run(&["serve", "--dev", "--listen", "127.0.0.1:0"]));
    assert!(second().contains("another process"));
    fs::remove_file(site.path("data/log/LOCK")).unwrap();
    assert!(second().contains("another process"), "without its lock file");
    fs::write(site.path("data/log/LOCK.new"), "").unwrap();
    fs::rename(site.path("data/log/LOCK.new"), site.path("data/log/LOCK")).unwrap();
    assert!(second().contains("another process"), "with another lock file");
    drop(server);
    site.publish(&site.serve(&[]));
}

#[test]
fn a_file_that_may_not_grow_is_a_full_disk_and_not_the_end() {
    let site = Site::new();
    let server = site.serve(&[]);
    site.publish(&server);
    let pid = Pid::from_child(&server.child);
    let before = prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(1), maximum: None }).unwrap();
    let args = ["publish", "--channel", "news", "--data", "{\"n\":2}"];
    let refused = site.command(&args).env("ENCKE_URL", &server.url).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8(refused.stderr).unwrap().contains("503"));
    prlimit(Some(pid), Resource::Fsize, before).unwrap();
    assert_eq!(site.publish(&server)["offset"], 2, "it goes on by itself");
}

#[tokio::test]
async fn a_store_of_more_segments_than_a_shell_has_descriptors_is_copied() {
    let site = Site::new();
    let retention = Retention { max_messages: 1000, max_bytes: 1 << 20, max_age_s: 3600 };
    let rules = RetentionTable { rules: Vec::new(), public: retention, own: retention };
    let store = site.path("data/log");
    let engine = LogEngine::open_with(&store, std::sync::Arc::new(()), rules, Epoch(1), SMALL).unwrap();
    for number in 1..=150 {
        let append = Append {
            id: MessageId::from_bits(number),
            key: None,
            targets: Targets::Channels(vec![ChannelName::public("room").unwrap()]),
            body: Body::Page(format!("https://example.com/{}", "x".repeat(2000)).into()),
            from: None,
            time: Time(1),
            expires: None,
            trace: None,
        };
        engine.append(append).await.unwrap();
    }
    engine.stop().await;
    drop(engine);
    assert!(names(&store).len() > 64);
    let copied = run_limited(&site, "--nofile=64:4096", &["store", "backup", "copy"]);
    assert_eq!(copied.status.code(), Some(0), "{copied:?}");
    let checked = run_limited(&site, "--nofile=64:4096", &["store", "check", "copy"]);
    assert!(String::from_utf8(checked.stdout).unwrap().contains("150 messages, 0 damaged"));
}

#[test]
fn what_makes_no_sense_and_what_is_not_configured_have_their_own_status() {
    let site = Site::new();
    for (args, status) in [
        (&["store"][..], 2),
        (&["store", "backup"], 2),
        (&["store", "restore"], 2),
        (&["store", "check", "copy", "--data", "data"], 2),
        (&["store", "check", "--config", "nothing.toml"], 64),
        (&["store", "backup", "copy", "--config", "nothing.toml"], 64),
        (&["store", "check"], 1),
    ] {
        let output = site.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {output:?}");
    }
}
