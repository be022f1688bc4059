//! `encke-bench handshake`

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio_rustls::rustls::HandshakeKind;

use crate::{
    peers::Peer,
    procfs::Cpu,
    tls::{Client, Use},
};

/// How long a server may take for a step of a handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a run needs.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub struct Handshakes {
    /// How many, one after the other, after a tenth of them to warm up
    #[arg(long, default_value_t = 3000)]
    pub count: u32,
    /// Each goes on with the session of the one before
    #[arg(long)]
    pub resumed: bool,
}

/// Processor time of the server for each handshake, with the connection made for it and its end, in
/// microseconds.
///
/// # Errors
/// When the server has no TLS, or a handshake fails or is not of the wanted kind.
pub fn measure(peer: &dyn Peer, of: Handshakes) -> io::Result<f64> {
    let tls =
        peer.tls().ok_or_else(|| io::Error::other(format!("{} is not started with --tls", peer.name())))?;
    let (how, wanted) =
        if of.resumed { (Use::Resume, HandshakeKind::Resumed) } else { (Use::Ask, HandshakeKind::Full) };
    for _ in 0..of.count / 10 + 1 {
        shake(tls, how, peer.address())?;
    }
    let before = Cpu::of(&peer.pids());
    for _ in 0..of.count {
        let kind = shake(tls, how, peer.address())?;
        if kind != Some(wanted) {
            return Err(io::Error::other(format!(
                "{}: a handshake was {kind:?} instead of {wanted:?}",
                peer.name()
            )));
        }
    }
    let used = Cpu::of(&peer.pids()).since(&before);
    Ok(used.total.as_secs_f64() * 1e6 / f64::from(of.count.max(1)))
}

/// A handshake, up to the ticket for the next one.
fn shake(tls: &Client, how: Use, address: SocketAddr) -> io::Result<Option<HandshakeKind>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let mut connection = tls.connection(how)?;
    connection.complete_io(&mut socket)?;
    while connection.tls13_tickets_received() == 0 {
        if connection.read_tls(&mut socket)? == 0 {
            return Err(io::Error::other("the server gave no ticket"));
        }
        connection.process_new_packets().map_err(io::Error::other)?;
    }
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut socket)?;
    }
    Ok(connection.handshake_kind())
}

/// Prints what was measured.
pub fn print(name: &str, of: Handshakes, cpu_us: f64) {
    let kind = if of.resumed { "resumed" } else { "full" };
    println!("{name}: {} {kind} handshakes, TLS 1.3, P-256: server CPU {cpu_us:.0} us each", of.count);
}
