//! Proxies that keep the preface of a connection back.

use std::io;

use tokio::time::sleep;

use super::*;
use crate::{
    config::Network,
    connection::{ConnectionLimits, TrustedProxies},
};

/// What comes next on a connection, which waits for nothing; none as long as it is open.
fn heard(client: &mut std::net::TcpStream) -> Option<usize> {
    match client.read(&mut [0; 64]) {
        Ok(count) => Some(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        // It had something that was not read.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(0),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn t6_a_preface_has_the_time_of_a_head_and_no_more() {
    // Its time stands still but where a task waits for it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut world = World::new(|_| {});
    let proxy: Network = "127.0.0.1".parse().unwrap();
    let parts = &mut world.shard.parts;
    (parts.proxy_protocol, parts.runtime) = (true, runtime.handle().clone());
    let proxies = TrustedProxies::new(&[proxy]);
    parts.connection_limit = ConnectionLimit::of(ConnectionLimits { proxies, ..ConnectionLimits::default() });
    let head_ms = parts.timeouts.head_ms;
    let address = world.address();
    for begun in [&b""[..], b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb"] {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(&mut client, begun).unwrap();
        client.set_nonblocking(true).unwrap();
        world.steps(3);
        let until = |ms: u64| runtime.block_on(async move { sleep(Duration::from_millis(ms)).await });
        until(head_ms - 1);
        assert_eq!(heard(&mut client), None, "it has its time: {begun:?}");
        until(2);
        assert_eq!(heard(&mut client), Some(0), "its time is over: {begun:?}");
    }
}
