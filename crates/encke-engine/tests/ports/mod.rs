//! Ports for servers that the tests end and start again.
//!
//! A port that the kernel chose is one that it also gives to outgoing connections: while the server is down,
//! any client of any test may come from there, and the server cannot listen again.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher as _,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::Mutex,
};

/// Where ports are looked for, above those of well-known services.
const PORTS: Range<u16> = 10_240..65_000;
/// A process that listens at a port of this address has it reserved at the address where servers listen, for
/// as long as it lives. No server listens here.
const RESERVED_AT: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
const TRIES: u64 = 1_000;

/// A port at which no process listens, that no other test is given, and that no connection comes from.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    let outgoing = outgoing_ports();
    let random = RandomState::new();
    for attempt in 0..TRIES {
        let width = u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random.hash_one(attempt) % width).expect("below the width");
        if outgoing.contains(&port) {
            continue;
        }
        let Ok(reserved) = TcpListener::bind((RESERVED_AT, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            RESERVED.lock().expect("no test panics while it holds this").push(reserved);
            return port;
        }
    }
    panic!("there is no free port");
}

/// Those that the kernel gives to outgoing connections.
fn outgoing_ports() -> Range<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("Linux says it");
    let mut bounds = text.split_whitespace().map(|bound| bound.parse().expect("a port"));
    let (first, last): (u16, u16) = (bounds.next().expect("the first"), bounds.next().expect("the last"));
    first..last.saturating_add(1)
}
