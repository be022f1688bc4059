//! What a proxy says of the browser's request, and the cookies that a browser has, on both ways into the
//! server.

use super::*;

const SWITCH: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

impl World {
    /// The status of the answer to a GET with these header fields. With much in front of them hyper reads the
    /// request instead of the shard.
    fn status(&self, target: &str, fields: &str, by_hyper: bool) -> (u16, String) {
        let padding = if by_hyper { format!("X-Padding: {}\r\n", "x".repeat(9_000)) } else { String::new() };
        let mut wire = self.connect();
        wire.send(&format!("GET {target} HTTP/1.1\r\nHost: push.example\r\n{padding}{fields}\r\n"));
        let head = wire.until("\r\n\r\n");
        (head[9..12].parse().unwrap(), head)
    }
}

#[test]
fn a_page_opens_a_websocket_behind_a_proxy_whatever_that_calls_https() {
    let world = World::new();
    let cookie = format!("Cookie: encke_token={}\r\n", world.token("alice"));
    for by_hyper in [false, true] {
        for (proxies, https, http) in [
            (&["wss"][..], 101, 403),
            (&["https"], 101, 403),
            (&["HTTPS"], 101, 403),
            (&["WSS, http"], 101, 403),
            (&["https,http"], 101, 403),
            (&["https", "http"], 101, 403),
            (&["wss", "ws"], 101, 403),
            (&["ws"], 403, 101),
            (&["http"], 403, 101),
            (&["http, https"], 403, 101),
            (&["http", "https"], 403, 101),
            (&["ws", "wss"], 403, 101),
            (&[], 403, 101),
        ] {
            let proxies: String =
                proxies.iter().map(|proto| format!("X-Forwarded-Proto: {proto}\r\n")).collect();
            for (scheme, status) in [("https", https), ("http", http)] {
                let fields = format!("{SWITCH}{cookie}Origin: {scheme}://push.example\r\n{proxies}");
                let (answered, head) = world.status("/v1/ws", &fields, by_hyper);
                assert_eq!(answered, status, "{scheme}, by hyper: {by_hyper}, {proxies}{head}");
            }
        }
    }
}

#[test]
fn a_cookie_that_is_good_counts_among_others() {
    let world = World::new();
    let (token, other) = (world.token("alice"), world.token("bob"));
    for by_hyper in [false, true] {
        for (fields, status) in [
            (format!("Cookie: encke_token=old; encke_token={token}\r\n"), 200),
            (format!("Cookie: encke_token={token}; encke_token=old\r\n"), 200),
            (format!("Cookie: encke_token={token}; encke_token={token}\r\n"), 200),
            (format!("Cookie: encke_token=\"{token}\"; theme=\"dark\"\r\n"), 200),
            (
                format!("Cookie: encke_token=old\r\nCookie: theme=dark\r\nCookie: encke_token={token}\r\n"),
                200,
            ),
            (format!("Cookie: encke_token={token}; encke_token={other}\r\n"), 401),
            ("Cookie: encke_token=old; encke_token=older\r\n".to_owned(), 401),
        ] {
            let (answered, head) = world.status("/v1/poll?hold_s=0", &fields, by_hyper);
            assert_eq!(answered, status, "by hyper: {by_hyper}, {fields}{head}");
        }
    }
    // And where hyper answers by itself.
    let origin = "Origin: http://push.example\r\nContent-Length: 0\r\n";
    for cookies in
        [format!("encke_token=old; encke_token={token}"), format!("a=b\r\nCookie: encke_token=\"{token}\"")]
    {
        let mut wire = world.connect();
        wire.send(&format!(
            "POST /v1/ticket HTTP/1.1\r\nHost: push.example\r\n{origin}Cookie: {cookies}\r\n\r\n"
        ));
        let (status, answer) = wire.response();
        assert_eq!(status, 200, "{answer}");
    }
    let mut wire = world.connect();
    wire.send(&format!("POST /v1/ticket HTTP/1.1\r\nHost: push.example\r\n{origin}Cookie: encke_token=a; encke_token=b\r\n\r\n"));
    let (status, answer) = wire.response();
    assert_eq!((status, &answer["error"]["code"]), (401, &Value::from("unauthorized")));
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("none of the first 2 cookies encke_token is good: "),
        "{answer}"
    );
}
