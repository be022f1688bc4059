//! Requests of which two servers may think differently: on which one looks at one field, and the next at
//! another. In plain text and under TLS, to what waits and what does not.

use super::*;

impl World {
    /// The status of the answer to these bytes, on a connection of its own.
    fn status_of(&self, bytes: &str) -> u16 {
        let mut wire = self.connect();
        wire.send(bytes);
        wire.until("\r\n\r\n")[9..12].parse().unwrap()
    }
}

fn attacks(world: &World) {
    let (key, token) = ("k".repeat(32), world.token("alice"));
    let push = r#"{"to":["alice"],"data":1}"#;
    let post = |fields: &str| {
        format!(
            "POST /api/push HTTP/1.1\r\n{fields}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{push}",
            push.len()
        )
    };
    let chunked = |fields: &str| {
        format!(
            "POST /api/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n{fields}\
             Content-Type: application/json\r\n\r\n{:x}\r\n{push}\r\n0\r\n\r\n",
            push.len()
        )
    };
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\n{fields}\r\n");
    let (good, wrong) = (format!("Authorization: Bearer {key}\r\n"), "Authorization: Bearer x\r\n");
    let poll = "/v1/poll?hold_s=0";
    let (own, other) = (format!("Authorization: Bearer {token}\r\n"), "Authorization: Bearer y\r\n");
    for (bytes, name) in [
        (post(&good), "a push without a host"),
        (post(&format!("Host: a\r\nHost: b\r\n{good}")), "a push with two hosts"),
        (post(&format!("Host: a\r\nHost: a\r\n{good}")), "a push with the same host twice"),
        (post(&format!("Host: a\r\n{good}{wrong}")), "a push with two keys, the first right"),
        (post(&format!("Host: a\r\n{wrong}{good}")), "a push with two keys, the last right"),
        (get("/healthz", ""), "a request without a host"),
        (get("/healthz", "Host: a\r\nHost: b\r\n"), "a request with two hosts"),
        (get(poll, &own), "a poll without a host"),
        (get(poll, &format!("Host: a\r\nHost: b\r\n{own}")), "a poll with two hosts"),
        (get(poll, &format!("Host: a\r\n{own}{other}")), "a poll with two tokens, the first right"),
        (get(poll, &format!("Host: a\r\n{other}{own}")), "a poll with two tokens, the last right"),
        (chunked("Transfer-Encoding: gzip, chunked\r\n"), "gzip, chunked"),
        (chunked("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), "gzip and chunked"),
        (chunked("Transfer-Encoding: identity, chunked\r\n"), "identity, chunked"),
        (chunked("Transfer-Encoding: chunked, chunked\r\n"), "chunked twice"),
        (chunked("Transfer-Encoding: xchunked\r\n"), "xchunked"),
    ] {
        assert_eq!(world.status_of(&bytes), 400, "{name}");
    }
    assert_eq!(world.status_of(&post(&format!("Host: a\r\n{good}"))), 202);
    assert_eq!(world.status_of(&chunked("Transfer-Encoding: chunked\r\n")), 202);
    assert_eq!(world.status_of(&get(poll, &format!("Host: a\r\n{own}"))), 200);
}

#[test]
fn t21_what_two_servers_may_read_differently_is_refused() {
    attacks(&World::new());
}

#[test]
fn t21_the_same_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::with(|config| forwarder::configure(config, dir.path()));
    // Each connection goes through a forwarder that speaks TLS with the server.
    let address = world.server.as_ref().unwrap().tls_address.unwrap();
    world.address = world.runtime.block_on(forwarder::start(address, dir.path()));
    attacks(&world);
}
