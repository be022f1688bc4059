//! The sockets that connections come in by, one for each shard at every address.

use std::{io, net::SocketAddr, time::Duration};

use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::connection::bound_silence;

/// The most connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: i32 = 4_096;
/// How much the kernel takes for a receiver beyond what the receiver's window lets it send, in bytes. The
/// more it takes, the later it shows that a receiver is slow.
const NOTSENT_MAX_BYTES: u32 = 128 * 1024;

/// A socket for each shard, all at the same address, that accepts nothing yet.
pub(super) fn reserve(
    address: SocketAddr,
    count: usize,
    heartbeat: Duration,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    alone_at(address)?;
    let (mut address, mut listeners) = (address, Vec::with_capacity(count));
    for _ in 0..count {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(count > 1)?;
        // Accepted sockets inherit it: what is written is a whole message, and is to go at once.
        socket.set_tcp_nodelay(true)?;
        // Nor does the kernel gather megabytes for a receiver that is slow.
        socket.set_tcp_notsent_lowat(NOTSENT_MAX_BYTES)?;
        bound_silence(SockRef::from(&socket), heartbeat)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Port 0 picks a free one, which the others share.
        address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        listeners.push(socket);
    }
    Ok((address, listeners))
}

/// Opens the listeners; the kernel spreads connections over them.
pub(super) fn listen(address: SocketAddr, listeners: Vec<Socket>) -> io::Result<Vec<TcpListener>> {
    // Another server may have come first.
    alone_at(address)?;
    listeners
        .into_iter()
        .map(|listener| {
            listener.listen(BACKLOG)?;
            Ok(TcpListener::from_std(listener.into()))
        })
        .collect()
}

/// Listeners that share a port would share it with those of a second server too, and each would get half of
/// the other's connections. A socket that does not share is refused where another listens.
fn alone_at(address: SocketAddr) -> io::Result<()> {
    let lone = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    lone.set_reuse_address(true)?;
    lone.bind(&address.into())
}
