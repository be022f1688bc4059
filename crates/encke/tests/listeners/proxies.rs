//! `trusted_proxies` and `proxy_protocol`: whose connections and requests they are that proxies pass on.

use std::{net::Ipv6Addr, time::Instant};

use crate::server::{Answer, Server, WAIT, Wire, bearer};

/// The declared proxy, and a neighbour that is none. Both are this machine.
const PROXY: &str = "127.0.0.9";
const OTHER: &str = "127.0.0.10";

fn server(more: &str) -> Server {
    Server::start(&format!("trusted_proxies = [\"{PROXY}\"]\nmax_connections_per_address = 2\n{more}"))
}

/// A stream that is held, or the refusal.
fn hold(server: &Server, mut wire: Wire, fields: &str) -> Result<Wire, Answer> {
    let token = bearer(&server.token("alice"));
    wire.send(format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\n{token}{fields}\r\n"));
    match wire.status() {
        200 => {
            wire.until("\"event\":\"open\"");
            Ok(wire)
        }
        _ => Err(wire.answer().unwrap()),
    }
}

fn via(server: &Server, fields: &str) -> Result<Wire, Answer> {
    hold(server, server.connect_from(PROXY), fields)
}

fn assert_refused(held: Result<Wire, Answer>) {
    let answer = held.err().expect("it is refused");
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
}

#[test]
fn t9_limits_by_address_count_the_client_behind_a_proxy() {
    let server = server("");
    let seven = "X-Forwarded-For: 1.1.1.1, 203.0.113.7\r\n";
    let held: Vec<_> = (0..2).map(|_| via(&server, seven).unwrap()).collect();
    // In whatever form, and whatever the client says of itself, on the way of shards and on that of hyper.
    for same in [
        seven,
        "X-Forwarded-For: 203.0.113.8\r\nX-Forwarded-For: 203.0.113.7\r\n",
        "X-Forwarded-For: 203.0.113.7, 127.0.0.9\r\n",
        "Forwarded: for=203.0.113.8, for=\"203.0.113.7:4711\";proto=https\r\n",
        "Forwarded: for=203.0.113.8\r\nX-Forwarded-For: 203.0.113.7\r\n",
    ] {
        assert_refused(via(&server, same));
        let by_hyper = server.connect_from(PROXY).get("/client.js", same);
        assert_eq!((by_hyper.status, by_hyper.code().as_str()), (503, "overloaded"), "{same}");
    }
    // Others are not concerned: another client, and the proxy's own probes, however many there are.
    let eight = "X-Forwarded-For: 203.0.113.8\r\n";
    drop(via(&server, eight).unwrap());
    assert_eq!(server.connect_from(PROXY).get("/client.js", eight).status, 200);
    let mut probes: Vec<_> = (0..5).map(|_| server.connect_from(PROXY)).collect();
    for probe in &mut probes {
        assert_eq!(probe.get("/readyz", "").status, 200);
    }
    // One connection of the proxy may carry requests of all of its clients, one after the other.
    let mut kept = server.connect_from(PROXY);
    let statuses = [eight, seven, eight].map(|fields| kept.get("/client.js", fields).status);
    assert_eq!(statuses, [200, 503, 200]);
    // What was given back can be had again.
    drop(held);
    let began = Instant::now();
    while via(&server, seven).is_err() {
        assert!(began.elapsed() < WAIT, "the places of connections that are over are not given back");
    }
}

#[test]
fn t9_what_others_say_of_themselves_is_passed_over() {
    let server = server("");
    // Each as a client that is new: a limit by what is said would never be reached.
    let held: Vec<_> = (0..2)
        .map(|number| {
            let fields = format!("X-Forwarded-For: 203.0.113.{number}\r\nForwarded: for=1.1.1.{number}\r\n");
            hold(&server, server.connect_from(OTHER), &fields).unwrap()
        })
        .collect();
    assert_refused(hold(&server, server.connect_from(OTHER), "X-Forwarded-For: 203.0.113.9\r\n"));
    drop(held);
    // Which protocol a browser used decides on what its own origin is.
    let cookie = format!("Cookie: encke_token={}\r\nOrigin: https://localhost\r\n", server.token("alice"));
    for (said, statuses) in [
        ("", [403, 403]),
        ("X-Forwarded-Proto: https\r\n", [200, 403]),
        ("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n", [200, 403]),
        ("Forwarded: for=203.0.113.7;proto=https\r\n", [200, 403]),
        ("Forwarded: for=203.0.113.7;proto=http\r\n", [403, 403]),
    ] {
        let fields = format!("{cookie}{said}");
        let until_free = |from: &str| {
            let began = Instant::now();
            loop {
                let poll = server.connect_from(from).get("/v1/poll?hold_s=0", &fields).status;
                let ticket = server.connect_from(from).post("/v1/ticket", &fields, "{}").status;
                if poll != 503 && ticket != 503 {
                    assert_eq!(poll, ticket, "by a shard and by hyper: {said}");
                    return poll;
                }
                assert!(began.elapsed() < WAIT);
            }
        };
        assert_eq!([PROXY, OTHER].map(until_free), statuses, "{said}");
    }
}

/// A preface of version 2 for a client over IPv4.
fn preface(client: [u8; 4]) -> Vec<u8> {
    let ends = [&client[..], &[10, 0, 0, 1, 0x10, 0, 0, 80]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &ends].concat()
}

#[test]
fn a_proxy_says_in_its_preface_whose_connection_it_is() {
    let server = server("proxy_protocol = true\n");
    let connect = |client: [u8; 4]| {
        let mut wire = server.connect_from(PROXY);
        wire.send(preface(client));
        wire
    };
    let held: Vec<_> = (0..2).map(|_| hold(&server, connect([203, 0, 113, 7]), "").unwrap()).collect();
    assert_refused(hold(&server, connect([203, 0, 113, 7]), ""));
    // It is a client and no proxy.
    assert_refused(hold(&server, connect([203, 0, 113, 7]), "X-Forwarded-For: 1.1.1.1\r\n"));
    let mut slow = server.connect_from(PROXY);
    for byte in preface([203, 0, 113, 8]) {
        slow.send([byte]);
    }
    assert_eq!(slow.get("/client.js", "").status, 200, "a preface may come in pieces");
    assert_eq!(slow.post("/v1/ticket", &bearer(&server.token("bob")), "{}").status, 200);
    // LOCAL: a probe of the proxy's own.
    let mut probe = server.connect_from(PROXY);
    probe.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert_eq!(probe.get("/readyz", "").status, 200);
    // A proxy without one is not served, and one of version 1 neither.
    for bytes in ["GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 1.1.1.1 10.0.0.1 1 80\r\n"] {
        let mut wire = server.connect_from(PROXY);
        wire.send(bytes);
        assert!(wire.answer().is_none(), "{bytes}");
    }
    drop(held);
    // What else connects is a client: it needs none, and what it says in one is not HTTP.
    assert_eq!(server.connect_from(OTHER).get("/readyz", "").status, 200);
    let mut wire = server.connect_from(OTHER);
    wire.send([&preface([203, 0, 113, 7])[..], b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    assert!(wire.answer().is_none_or(|answer| answer.status == 400));
}

/// The same for one over IPv6.
fn preface_v6(client: &str) -> Vec<u8> {
    let client: Ipv6Addr = client.parse().unwrap();
    let ends = [&client.octets()[..], &Ipv6Addr::LOCALHOST.octets(), &[0x10, 0, 0, 80]].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..], &ends].concat()
}

/// Two connections of one /64 are all that it may have, and another /64 has its own.
fn assert_one_client(connect: impl Fn(&str) -> Result<Wire, Answer>) {
    let held: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|address| connect(address).unwrap()).into();
    assert_refused(connect("2001:db8::3"));
    assert_refused(connect("2001:db8::ffff:ffff:ffff:ffff"));
    drop(connect("2001:db8:0:1::1").expect("the next /64 is another client"));
    drop(held);
    let began = Instant::now();
    while connect("2001:db8::3").is_err() {
        assert!(began.elapsed() < WAIT, "the places of connections that are over are not given back");
    }
}

/// A client of IPv6 has a /64, so that one address is none: of these it has as many as it likes.
#[test]
fn t9_connections_of_all_addresses_of_a_64_are_those_of_one_client() {
    let by_field = server("");
    let forwarded = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let by_preface = server("proxy_protocol = true\n");
    let prefaced = |address: &str| {
        let mut wire = by_preface.connect_from(PROXY);
        wire.send(preface_v6(address));
        wire
    };
    assert_one_client(|address| via(&by_field, &forwarded(address)));
    assert_one_client(|address| hold(&by_preface, prefaced(address), ""));
    // By hyper as well.
    let _held: Vec<_> = ["2001:db8:0:7::1", "2001:db8:0:7::2"]
        .map(|address| via(&by_field, &forwarded(address)).unwrap())
        .into();
    let by_hyper = by_field.connect_from(PROXY).get("/client.js", &forwarded("2001:db8:0:7::3"));
    assert_eq!((by_hyper.status, by_hyper.code().as_str()), (503, "overloaded"), "{by_hyper:?}");
    let other = by_field.connect_from(PROXY).get("/client.js", &forwarded("2001:db8:0:8::1"));
    assert_eq!(other.status, 200);
}

#[test]
fn connections_are_limited_by_the_address_of_the_client() {
    let limits = "[limits]\naddress_connects_per_s = 1\nburst_s = 10\n";
    let server = server(&format!("proxy_protocol = true\n{limits}"));
    let ask = |client: [u8; 4]| {
        let mut wire = server.connect_from(PROXY);
        wire.send(preface(client));
        wire.send("GET /client.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        // What is refused is not read, so that its answer may be lost.
        wire.answer()
    };
    let seven = [203, 0, 113, 7];
    let began = Instant::now();
    let (mut served, mut lost) = (0, 0);
    let refused = loop {
        assert!(began.elapsed() < WAIT, "it goes on for ever");
        match ask(seven) {
            Some(answer) if answer.status == 429 => break answer,
            Some(answer) if answer.status == 200 => served += 1,
            // Its connection before is not over yet, or the answer is lost: it is counted all the same.
            _ => lost += 1,
        }
    };
    assert!(served > 0 && served + lost >= 10, "as many as gather come at once: {served}, {lost}");
    assert_eq!(refused.code(), "rate_limited");
    assert_eq!(ask([203, 0, 113, 8]).map(|answer| answer.status), Some(200), "another client");
    // The proxy itself and this machine are not counted.
    for _ in 0..15 {
        let mut probe = server.connect_from(PROXY);
        probe.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        assert_eq!(probe.get("/readyz", "").status, 200);
    }
}
