//! Requests in plain text that are led to https, and what browsers are told under TLS.

use super::*;

/// A server with a certificate for `localhost` and `push.example`, whose requests in plain text are led to
/// port 443.
fn world(dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> World {
    let made = rcgen::generate_simple_self_signed(vec![
        "localhost".to_owned(),
        "push.example".to_owned(),
        "::1".to_owned(),
    ])
    .unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    World::with(|config| {
        config.tls_listen = Some("127.0.0.1:0".parse().unwrap());
        config.tls_cert = Some(dir.join("cert.pem"));
        config.tls_key = Some(dir.join("key.pem"));
        config.tls_redirect = true;
        config.tls_redirect_port = Some(443);
        config.allowed_origins = vec!["https://app.example".to_owned()];
        change(config);
    })
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

impl World {
    fn answer(&self, line: &str, fields: &str) -> String {
        let mut wire = self.connect();
        wire.send(&format!("{line} HTTP/1.1\r\n{fields}\r\n"));
        wire.until("\r\n\r\n")
    }
}

#[test]
fn all_that_comes_in_plain_text_is_led_to_https() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), |_| {});
    let token = world.token("alice");
    let fields = format!(
        "Host: push.example:8080\r\nAuthorization: Bearer {token}\r\nOrigin: https://app.example\r\nContent-Type: application/json\r\n"
    );
    for (line, status, target) in [
        ("GET /", 301, "/"),
        ("HEAD /", 301, "/"),
        ("GET /no//such?a=1&b=%20", 301, "/no//such?a=1&b=%20"),
        ("GET //evil.example/", 301, "//evil.example/"),
        ("GET http://evil.example/x", 301, "/x"),
        ("GET /v1/poll?hold_s=0", 301, "/v1/poll?hold_s=0"),
        ("GET /v1/sse", 301, "/v1/sse"),
        ("GET /v1/ws", 301, "/v1/ws"),
        ("POST /v1/login", 308, "/v1/login"),
        ("POST /api/push", 308, "/api/push"),
        ("PUT /metrics", 308, "/metrics"),
        ("OPTIONS *", 308, "/"),
    ] {
        let body = if line.starts_with("POST") { "Content-Length: 2\r\n" } else { "" };
        let head = world.answer(line, &format!("{fields}{body}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
        assert_eq!(field(&head, "location"), Some(&*format!("https://push.example{target}")), "{line}");
        assert_eq!(field(&head, "cache-control"), Some("no-store"));
        assert_eq!(field(&head, "access-control-allow-origin"), Some("https://app.example"));
        // Said in plain text, it may be another's word.
        assert_eq!(field(&head, "strict-transport-security"), None);
    }
    assert_eq!(world.sessions("alice"), 0);
    // The connection is good for the next request.
    let mut wire = world.connect();
    for _ in 0..3 {
        wire.send("GET /v1/sse HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(wire.until("\r\n\r\n").contains("location: https://localhost/v1/sse\r\n"));
    }
}

#[test]
fn no_one_is_led_to_a_name_that_is_not_the_servers() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), |config| config.tls_redirect_port = Some(8443));
    for (hosts, location) in [
        (&["push.example"][..], Some("https://push.example:8443/")),
        (&["PUSH.example:1"], Some("https://PUSH.example:8443/")),
        (&["[::1]:80"], Some("https://[::1]:8443/")),
        (&["evil.example"], None),
        (&["push.example.evil.example"], None),
        (&["push.example@evil.example"], None),
        (&["evil.example@push.example"], None),
        (&["push.example/evil"], None),
        (&["push.example", "evil.example"], None),
        (&["push.example#"], None),
        (&[""], None),
        (&[], None),
    ] {
        let fields: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        for line in ["GET /", "GET /v1/sse"] {
            let head = world.answer(line, &fields);
            let expected = location.map(|location| format!("{location}{}", &line[5..]));
            assert_eq!(field(&head, "location"), expected.as_deref(), "{hosts:?}: {head}");
            assert!(expected.is_some() || head.starts_with("HTTP/1.1 400 "), "{hosts:?}: {head}");
        }
    }
}

#[test]
fn probes_and_what_a_proxy_got_by_https_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let world = world(dir.path(), |_| {});
    for (target, status) in [("/healthz", 200), ("/readyz", 200), ("/.well-known/acme-challenge/x", 404)] {
        let head = world.answer(&format!("GET {target}"), "Host: 10.0.0.1\r\n");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
    }
    let token = world.token("alice");
    let fields = |proto: &str| {
        format!("Host: push.example\r\nX-Forwarded-Proto: {proto}\r\nAuthorization: Bearer {token}\r\n")
    };
    for (proto, status) in [("https", 200), ("wss", 200), ("http", 301), ("http, https", 301)] {
        let head = world.answer("GET /v1/poll?hold_s=0", &fields(proto));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{proto}: {head}");
    }
}

#[test]
fn browsers_are_told_to_use_https_as_configured_and_under_tls_alone() {
    for (hsts_s, said) in [(Some(700), Some("max-age=700")), (Some(0), None), (None, None)] {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path(), |config| config.tls_hsts_s = hsts_s);
        let address = world.server.as_ref().unwrap().tls_address.unwrap();
        let trusted = super::tls::read_certificate(dir.path());
        for two in [false, true] {
            for target in ["/", "/healthz", "/no-such-page"] {
                let response = world.runtime.block_on(super::tls::get(address, trusted.clone(), two, target));
                let seen = response.headers().get("strict-transport-security");
                assert_eq!(seen.map(|seen| seen.to_str().unwrap()), said, "{two} {target}");
            }
        }
        let head = world.answer("GET /healthz", "Host: push.example\r\n");
        assert_eq!(field(&head, "strict-transport-security"), None);
    }
}

#[test]
fn versions_of_http_are_offered_as_configured() {
    use encke::config::Alpn;
    for (offered, good) in [(Alpn::Http11, [true, false]), (Alpn::Http2, [false, true])] {
        let dir = tempfile::tempdir().unwrap();
        let world = world(dir.path(), |config| config.tls_alpn = vec![offered]);
        let address = world.server.as_ref().unwrap().tls_address.unwrap();
        let trusted = super::tls::read_certificate(dir.path());
        let connects = |two| world.runtime.block_on(super::tls::connects(address, trusted.clone(), two));
        assert_eq!([false, true].map(connects), good, "{offered:?}");
    }
}
