//! Keys that are fetched from an issuer: which are taken, when, and what an issuer that fails or turns
//! hostile can do.

use std::{
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::json;

use super::*;

const NOW_S: u64 = 1_800_000_000;

/// An issuer over HTTP on this machine, which answers each request alike.
struct Issuer {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn new(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicUsize::new(0)));
        let (text, count) = (Arc::clone(&answer), Arc::clone(&asked));
        // It ends with the process.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let text = text.lock().unwrap().clone();
                count.fetch_add(1, Ordering::SeqCst);
                let _ = socket.write_all(text.as_bytes());
            }
        });
        Self { address, answer, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answers(&self, answer: String) {
        *self.answer.lock().unwrap() = answer;
    }
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn set(keys: &[Value]) -> String {
    http("200 OK", &json!({ "keys": keys }).to_string())
}

struct Key {
    pair: KeyPair,
    kid: &'static str,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.der_bytes();
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "kid": self.kid, "use": "sig", "alg": "ES256",
            "x": part(&point[1..33]), "y": part(&point[33..]),
        })
    }

    fn token(&self) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        encode(&header, &json!({"sub": "alice", "exp": NOW_S + 36_000}), &key).unwrap()
    }
}

fn world(issuer: &Issuer) -> (World, Arc<TestClock>) {
    let url = format!("http://{}/jwks.json", issuer.address);
    World::clocked(|config| config.auth.jwks_url = Some(url))
}

/// The status of a request on a new connection: of one that is held, or of one that is not.
fn status(world: &World, token: &str, is_held: bool) -> u16 {
    let mut wire = world.connect();
    let (line, end) =
        if is_held { ("GET /v1/sse", "\r\n") } else { ("POST /v1/ticket", "Content-Length: 0\r\n\r\n") };
    wire.send(&format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{end}",
        world.address
    ));
    wire.until("\r\n\r\n")[9..12].parse().unwrap()
}

#[test]
fn a_new_key_is_fetched_for_the_first_token_that_names_it_and_every_30_s_at_most() {
    let (old, new, third) = (Key::new("old"), Key::new("new"), Key::new("third"));
    for is_held in [true, false] {
        let issuer = Issuer::new(set(&[old.jwk()]));
        let (world, clock) = world(&issuer);
        assert_eq!(status(&world, &old.token(), is_held), 200);
        issuer.answers(set(&[new.jwk()]));
        // However many come.
        for _ in 0..20 {
            assert_eq!(status(&world, &new.token(), is_held), 401);
        }
        assert_eq!(issuer.asked(), 1, "the keys were fetched just now");
        clock.advance_ms(30_000);
        world.app().auth.keys().allow_fetch();
        assert_eq!(status(&world, &new.token(), is_held), 200, "it waits for the keys");
        assert_eq!(status(&world, &old.token(), is_held), 401, "what was remembered of it is forgotten");
        issuer.answers(set(&[third.jwk()]));
        assert_eq!(status(&world, &third.token(), is_held), 401);
        assert_eq!(issuer.asked(), 2);
        // Without any token.
        clock.advance_ms(300_000);
        world.until(|| status(&world, &third.token(), is_held) == 200);
    }
}

#[test]
fn an_issuer_that_is_down_or_hostile_changes_nothing() {
    let (key, mine) = (Key::new("a"), Key::new("mine"));
    let elsewhere = Issuer::new(set(&[mine.jwk()]));
    let issuer = Issuer::new(set(&[key.jwk()]));
    let (world, clock) = world(&issuer);
    let secret = "31c6f0a5e8b94d7201f331c6f0a5e8b9";
    let with = |member: &str, value: Value| {
        let mut jwk = mine.jwk();
        jwk[member] = value;
        set(&[jwk])
    };
    for answer in [
        http("500 Internal Server Error", &json!({"keys": [mine.jwk()]}).to_string()),
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.address
        ),
        http("200 OK", "<html>"),
        http("200 OK", "[]"),
        set(&[]),
        http("200 OK", &json!({"keys": [mine.jwk()], "x": "x".repeat(64 * 1024)}).to_string()),
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{\"keys\":[".to_owned(),
        String::new(),
        set(&[json!({"kty": "oct", "kid": "mine", "k": URL_SAFE_NO_PAD.encode(secret), "alg": "HS256"})]),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("RS256")),
        with("alg", json!("none")),
        with("kty", json!("RSA")),
        with("crv", json!("P-384")),
        with("d", json!("AAAA")),
        with("x", json!("AAAA")),
    ] {
        let asked = issuer.asked();
        issuer.answers(answer.clone());
        clock.advance_ms(300_000);
        // The attempt is over when keys may be fetched again for a token, which no token here asks for.
        world.until(|| issuer.asked() > asked);
        assert_eq!(status(&world, &mine.token(), false), 401, "{answer}");
        assert_eq!(status(&world, &key.token(), true), 200, "{answer}");
    }
    let header = Header { kid: Some("mine".to_owned()), ..Header::new(Algorithm::HS256) };
    let claims = json!({"sub": "alice", "exp": NOW_S + 36_000});
    let forged = encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    assert_eq!(status(&world, &forged, false), 401);
    assert_eq!(elsewhere.asked(), 0, "no redirection is followed");
    // When it is well again, so is all else.
    issuer.answers(set(&[mine.jwk()]));
    clock.advance_ms(300_000);
    world.until(|| status(&world, &mine.token(), true) == 200);
}

#[test]
fn a_server_starts_while_its_issuer_is_down() {
    let key = Key::new("a");
    let issuer = Issuer::new(http("503 Service Unavailable", ""));
    let (world, clock) = world(&issuer);
    assert_eq!(status(&world, &key.token(), true), 401);
    issuer.answers(set(&[key.jwk()]));
    clock.advance_ms(30_000);
    world.until(|| status(&world, &key.token(), true) == 200);
}
