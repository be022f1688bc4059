//! The configuration by the commands: every mistake with its place, what is in force, and the pages that are
//! made from the definition of the settings.

use std::path::Path;

use super::{Program, SECRET, error, stdout};

#[test]
fn check_config_says_ok_or_every_mistake_with_its_place() {
    let program = Program::new();
    let good = program.write(
        "good.toml",
        &format!("api_key = \"4f1c9be07d3a4f1c\"\ntoken_secret = \"{SECRET}\"\nhold_s = 30\n"),
    );
    let output = program.run(&["check-config", &good]);
    assert_eq!(
        (output.status.code(), stdout(&output).as_str(), output.stderr.as_slice()),
        (Some(0), "ok\n", &b""[..])
    );
    let empty = program.write("empty.toml", "");
    assert_eq!(stdout(&program.run(&["check-config", &empty])), "ok\n");
    for (text, line) in [
        ("hold_s = 9999", ":1:1: hold_s: must be from 1 to 120, is 9999"),
        ("hold = 1", ":1:1: hold: is no such key; did you mean `hold_s`?"),
        ("[retention_default]\nmax_bytes = 1", ":2:1: retention_default.max_bytes: must be from 65536 to "),
        ("dev = true\nlisten = ", ":2:"),
        ("dev = true\nlisten = \"0.0.0.0:80\"", ":2:1: listen: dev mode "),
        ("engine = \"oracle\"", ":1:1: engine: this build has no engine `oracle`; must be memory, "),
        ("engine = \"sqlite://x\"", ":1:1: engine: "),
        ("engine = \"redis://h/?nothing=1\"", ":1:1: engine: "),
        ("engine = \"nats://h/?replicas=2\"", ":1:1: engine: "),
    ] {
        let bad = program.write("bad.toml", text);
        let output = program.run(&["check-config", &bad]);
        error(&output, 64);
        assert!(stdout(&output).starts_with(&format!("{bad}{line}")), "{text}: {}", stdout(&output));
    }
    error(&program.run(&["check-config", "nowhere.toml"]), 64);
}

const BAD: &str = "listen = \"0.0.0.0:80\"
hold_s = 0
lisen = 1
tls_listen = \"127.0.0.1:0\"
tls_cert = \"absent.pem\"
tls_key = \"absent.key\"
log = \"verbose\"
tls_certificates = [{ cert = \"bad.toml\", key = \"absent.key\" }]
[[auth.keys]]
algorithm = \"RS256\"
file = \"absent.pub\"
";

#[test]
fn check_config_and_serve_say_all_mistakes_at_once() {
    let program = Program::new();
    let bad = program.write("bad.toml", BAD);
    let output = program.run(&["check-config", &bad]);
    let words = error(&output, 64);
    assert!(
        words.contains(
            "bad.toml has 6 mistakes: hold_s, lisen, tls_cert, log, tls_certificates.cert, auth.keys"
        ),
        "{words}"
    );
    let printed = stdout(&output);
    let lines: Vec<&str> = printed.lines().collect();
    for (line, expected) in lines.iter().zip([
        ":2:1: hold_s: must be from 1 to 120, is 0",
        ":3:1: lisen: is no such key; did you mean `listen`?",
        ":5:1: tls_cert: absent.pem: No such file",
        ":7:1: log: must be error, warn, info, debug, trace, or directives",
        ":8:23: tls_certificates.cert: bad.toml: ",
        ":9:1: auth.keys: key 1 cannot be read",
    ]) {
        assert!(line.starts_with(&format!("{bad}{expected}")), "{expected}: {lines:#?}");
    }
    let mut serve = program.command(&["serve", "--config", &bad, "--engine", "memory", "--dev"]);
    let output = serve.env("ENCKE_WORKERS", "many").output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(64), ""));
    for line in &lines {
        assert!(said.contains(&format!("encke: {line}\n")), "{line} is not in {said}");
    }
    assert!(said.contains("\nencke: ENCKE_WORKERS: workers: must be a whole number\n"), "{said}");
    assert!(said.contains(":1:1: listen: dev mode lets anyone in"), "{said}");
}

#[test]
fn what_is_in_force_is_shown_and_where_it_came_from() {
    let program = Program::new();
    let file = program.write("encke.toml", "hold_s = 30\napi_key = \"4f1c9be07d3a4f1c\"\n");
    let mut show = program.command(&["config", "show", "--config", &file, "--engine", "memory"]);
    let output = show.env("ENCKE_SLOW_POLICY", "gap").output().unwrap();
    let printed = stdout(&output);
    for line in [
        format!(r#"{{"key":"hold_s","value":"30","from":"{file}:1:1"}}"#),
        r#"{"key":"heartbeat_s","value":"20","from":"default"}"#.to_owned(),
        r#"{"key":"slow.policy","value":"\"gap\"","from":"ENCKE_SLOW_POLICY"}"#.to_owned(),
        r#"{"key":"engine","value":"\"memory\"","from":"--engine"}"#.to_owned(),
        format!(r#"{{"key":"api_key","value":"\"********\"","from":"{file}:2:1"}}"#),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in {printed}");
    }
    assert!(!printed.contains("4f1c9be0"), "a secret is masked");
}

/// The example is in the package, the reference in the documentation.
#[test]
fn the_pages_that_are_made_from_the_definition_are_not_stale() {
    let program = Program::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (page, file) in [("example", "encke.example.toml"), ("reference", "../../docs/CONFIGURATION.md")] {
        let made = stdout(&program.run(&["config", page]));
        let there = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(made == there, "{file} is stale: `encke config {page}` prints it anew");
    }
    let example = program.write("example.toml", &stdout(&program.run(&["config", "example"])));
    assert_eq!(stdout(&program.run(&["check-config", &example])), "ok\n");
}
