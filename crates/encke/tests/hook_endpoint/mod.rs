//! The application's endpoint, for the tests of hooks: it answers as it is told to, keeps what it has got,
//! and checks each signature.
#![allow(dead_code, reason = "each test program uses some of it")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

pub const SECRET: &str = "whsec_9b1d4e7f20c35a6881e0d2f4b6a79c13";

/// A request that the endpoint has got.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub head: String,
    pub body: Value,
    pub id: String,
}

/// What the endpoint answers, byte by byte.
pub type Answers = Arc<dyn Fn(&Got) -> Vec<u8> + Send + Sync>;

/// The application's endpoint, over HTTP on this machine. It checks each signature.
pub struct Endpoint {
    pub address: SocketAddr,
    pub got: Arc<Mutex<Vec<Got>>>,
    pub most_at_once: Arc<AtomicUsize>,
}

impl Endpoint {
    pub fn new(answers: impl Fn(&Got) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (got, most_at_once): (Arc<Mutex<Vec<Got>>>, Arc<AtomicUsize>) = Default::default();
        let (answers, all, most): (Answers, _, _) =
            (Arc::new(answers), Arc::clone(&got), Arc::clone(&most_at_once));
        // It ends with the process.
        thread::spawn(move || {
            let now = Arc::new(AtomicUsize::new(0));
            for socket in listener.incoming() {
                let (answers, all, most, now) =
                    (Arc::clone(&answers), Arc::clone(&all), Arc::clone(&most), Arc::clone(&now));
                thread::spawn(move || {
                    let mut socket = socket.unwrap();
                    let Some(got) = read(&mut socket) else { return };
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    all.lock().unwrap().push(got.clone());
                    let answer = answers(&got);
                    // Before the server can know of the answer.
                    now.fetch_sub(1, Ordering::SeqCst);
                    let _ = socket.write_all(&answer);
                });
            }
        });
        Self { address, got, most_at_once }
    }

    pub fn deciding(decide: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self::new(move |got| http("200 OK", &decide(&got.body).to_string()))
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub fn asked(&self, kind: &str) -> usize {
        self.got().iter().filter(|got| got.body["type"] == kind).count()
    }
}

pub fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into()
}

/// A request whose signature is right; it panics at another.
fn read(socket: &mut TcpStream) -> Option<Got> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        head.lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))
            .map(|line| line[name.len() + 2..].to_owned())
    };
    let mut body = vec![0; field("content-length")?.parse().unwrap()];
    socket.read_exact(&mut body).unwrap();
    let signed = format!("{}.{}.", field("webhook-id").unwrap(), field("webhook-timestamp").unwrap());
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(signed).chain_update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    let signatures = field("webhook-signature").unwrap();
    assert!(signatures.split(' ').any(|one| one == signature), "{head}");
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let id = field("webhook-id").unwrap();
    Some(Got { path, body: serde_json::from_slice(&body).unwrap(), id, head })
}
