//! Secrets that a server is given, and those that it gives, are looked for in all that it says.

use std::{fs, io::Read};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::server::{KEY, SECRET, Server, Wire, bearer, post, program};

const NAMED_KEY: &str = "canary-of-a-named-key-71d0c4e9a2b8";
const HOOK_SECRET: &str = "whsec_Y2FuYXJ5b2Z0aGVob29rc2VjcmV0MDEyMzQ1Njc4OQ==";
const PUSHER_SECRET: &str = "canary-of-an-application-55f0e1d2c3";
/// What a user is sent, which is told to that user alone.
const DATA: &str = "canary-of-a-message-3e9d5f7a1b20";
const WRONG: &str = "canary-of-what-is-no-key-aa00bb11cc22";

fn settings() -> String {
    format!(
        "log = \"trace\"\naccess_log = \"access.log\"\n\
         [[api_keys]]\nname = \"shop\"\nkey = \"{NAMED_KEY}\"\nscopes = [\"push\", \"read\"]\n\
         [[pusher_apps]]\nid = \"1\"\nkey = \"app-key\"\nsecret = \"{PUSHER_SECRET}\"\n\
         [dialects]\npusher = true\n\
         [hooks]\nurl = \"http://127.0.0.1:9/hooks\"\nallow_private = true\ndecide = [\"connect\", \"publish\"]\n\
         events = [\"connected\"]\nsecret = \"{HOOK_SECRET}\"\n"
    )
}

/// The value of a member of a JSON text that is a string.
fn member<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\"{name}\":\"")).expect("it is there");
    rest.split('"').next().unwrap()
}

/// What a server answers, one after the other.
struct Answers(String);

impl Answers {
    fn keep(&mut self, mut wire: Wire, request: impl AsRef<[u8]>) {
        wire.send(request);
        if let Some(answer) = wire.answer() {
            self.0 += &format!("{}{}\n", answer.head, answer.body);
        }
    }

    /// What refuses all of these: in a field, in an address and in a body.
    fn of_wrong_secrets(&mut self, server: &Server, secrets: &[&str]) {
        for secret in secrets {
            let field = bearer(secret);
            for target in ["/api/users", "/metrics", "/v1/poll?hold_s=0", "/nowhere"] {
                let get = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{field}\r\n");
                self.keep(server.connect(), get);
            }
            for target in [
                "/v1/poll?hold_s=0&ticket=",
                "/v1/sse?token=",
                "/api/users?key=",
                "/apps/1/channels?auth_key=app-key&auth_signature=",
            ] {
                self.keep(server.connect(), format!("GET {target}{secret} HTTP/1.1\r\nHost: a\r\n\r\n"));
            }
            let cookie = format!("Cookie: encke_token={secret}\r\nOrigin: http://a\r\n");
            self.keep(server.connect(), format!("GET /v1/poll?hold_s=0 HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"));
            self.keep(server.connect(), post("/v1/login", "", &format!("{{\"token\":\"{secret}\"}}")));
            let close = format!("{{\"session\":\"{secret}\",\"close_key\":\"{secret}\"}}");
            self.keep(server.connect(), post("/v1/close", "", &close));
        }
    }

    /// What refuses messages.
    fn of_wrong_data(&mut self, server: &Server) {
        let token = server.token("alice");
        for data in
            [format!("\"{DATA}"), format!("\"{DATA}\",\"no\":1"), format!("\"\\u12{DATA}\""), DATA.into()]
        {
            let push = format!("{{\"to\":[\"alice\"],\"data\":{data}}}");
            self.keep(server.connect(), post("/api/push", &bearer(KEY), &push));
            self.keep(server.connect(), post("/api/push", "", &push));
            let publish = format!("{{\"channel\":\"news\",\"data\":{data}}}");
            self.keep(server.connect(), post("/api/publish", &bearer(KEY), &publish));
            self.keep(server.connect(), post("/v1/publish", &bearer(&token), &publish));
        }
    }
}

/// What the kernel notes in a core file of how a process was started (NT_PRPSINFO of ELF, core(5)): who gets
/// the file sees it first. None where the machine writes no core files, or writes them elsewhere.
fn command_lines_in_core() -> Option<String> {
    let server = Server::start(&settings());
    let maximum = getrlimit(Resource::Core).maximum;
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    prlimit(pid, Resource::Core, Rlimit { current: maximum, maximum }).unwrap();
    let dir = server.end("-ABRT");
    let core = fs::read_dir(dir.path()).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.file_name()?.to_str()?.starts_with("core").then_some(path)
    })?;
    let mut file = fs::File::open(core).unwrap();
    // The notes stand at the beginning.
    let mut bytes = vec![0; 1 << 20];
    let count = file.read(&mut bytes).unwrap();
    let bytes = &bytes[..count];
    let number = |at: usize, size: usize| {
        let field = bytes.get(at..at + size)?;
        let number = field.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    };
    let (first, size, segments) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let is_note = |segment: &usize| number(first + segment * size, 4) == Some(4);
    let segment = (0..segments).find(is_note).expect("a core file has notes");
    let mut at = number(first + segment * size + 8, 8)?;
    loop {
        let (name, length, kind) = (number(at, 4)?, number(at + 4, 4)?, number(at + 8, 4)?);
        let text = at + 12 + name.next_multiple_of(4);
        if kind == 3 {
            return Some(String::from_utf8_lossy(&bytes[text..text + length]).into_owned());
        }
        at = text + length.next_multiple_of(4);
    }
}

/// What one has to find for the search to be worth anything.
fn assert_searched(place: &str, text: &str, known: &str) {
    assert!(text.contains(known), "{place} has nothing of {known}");
}

#[test]
fn t5_no_secret_is_in_logs_metrics_errors_or_the_list_of_processes() {
    let server = Server::start(&settings());
    let token = server.token("alice");
    let (own, of_key) = (bearer(&token), bearer(KEY));
    let login = server.connect().post("/v1/login", "", &format!("{{\"token\":\"{token}\"}}"));
    assert_eq!(login.status, 200, "{login:?}");
    let cookie = format!("Cookie: encke_token={token}\r\nOrigin: http://localhost\r\n");
    assert_eq!(server.connect().get("/v1/poll?hold_s=0", &cookie).status, 200);
    let ticket = server.connect().post("/v1/ticket", &own, "{}");
    let ticket = member(&ticket.body, "ticket").to_owned();
    let mut stream = server.connect();
    stream
        .send(format!("GET /v1/stream?as=ndjson&ticket={ticket}&channels=news HTTP/1.1\r\nHost: a\r\n\r\n"));
    stream.until("\"event\":\"open\"");
    let opened = stream.until("}\n");
    let (session, close_key) =
        (member(&opened, "session").to_owned(), member(&opened, "close_key").to_owned());
    for key in [KEY, NAMED_KEY] {
        let pushed = server.connect().post(
            "/api/push",
            &bearer(key),
            &format!(r#"{{"to":["alice"],"data":"{DATA}"}}"#),
        );
        assert_eq!(pushed.status, 202, "{pushed:?}");
    }
    let publish =
        server.connect().post("/v1/publish", &own, &format!(r#"{{"channel":"news","data":"{DATA}"}}"#));
    assert_ne!(publish.status, 202, "no endpoint decides on it: {publish:?}");
    let refused = format!("{{\"session\":\"{session}\",\"close_key\":\"{close_key}x\"}}");
    assert_ne!(server.connect().post("/v1/close", "", &refused).status, 200);
    let metrics = server.connect().get("/metrics", &of_key).body;
    let close = format!("{{\"session\":\"{session}\",\"close_key\":\"{close_key}\"}}");
    assert_eq!(server.connect().post("/v1/close", "", &close).status, 200);

    let secrets =
        [KEY, NAMED_KEY, SECRET, HOOK_SECRET, PUSHER_SECRET, WRONG, DATA, &token, &ticket, &close_key];
    let mut answers = Answers(String::new());
    // Those that are good where they belong do not belong here.
    answers.of_wrong_secrets(&server, &[SECRET, HOOK_SECRET, PUSHER_SECRET, WRONG, &ticket, &close_key]);
    answers.of_wrong_data(&server);
    let processes = fs::read_to_string(format!("/proc/{}/cmdline", server.id())).unwrap();
    let environment = fs::read(format!("/proc/{}/environ", server.id())).unwrap();
    // It is the test that gives this one there.
    let environment = String::from_utf8_lossy(&environment).replace(&format!("ENCKE_API_KEY={KEY}"), "");
    let shown = program(&server.dir, &["config", "show", "--config", "encke.toml"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let dir = server.end("-TERM");
    let core = command_lines_in_core();
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let (log, access_log) = (read("log"), read("access.log"));
    for (place, text, known) in [
        ("the log", &log, "the server is up"),
        ("the access log", &access_log, "transport=ndjson"),
        ("the metrics", &metrics, "encke_refused_credentials_total"),
        ("the answers", &answers.0, "unauthorized"),
        ("the list of processes", &processes, "serve"),
        ("its environment", &environment, "PATH="),
        ("the core file", core.as_ref().unwrap_or(&processes), "encke"),
        ("encke config show", &shown, "access.log"),
    ] {
        assert_searched(place, text, known);
        for secret in secrets {
            // Of a token the signature is its own; of the hooks' secret what is behind its kind.
            let part = secret.rsplit('.').next().unwrap().trim_start_matches("whsec_");
            assert!(!text.contains(part), "{place} has {part}");
        }
    }
}
