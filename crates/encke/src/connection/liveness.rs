//! How long the kernel believes that a silent peer is there.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// A peer of which nothing was heard is asked for an answer after half a heartbeat, and then each eighth.
const ASKED_AFTER_HEARTBEATS: u32 = 2;
const ASKED_EVERY_HEARTBEATS: u32 = 8;

/// Lets the kernel end connections whose peer has vanished without a word, within two heartbeats of that. Set
/// on a listener, for accepted sockets inherit it.
///
/// - Where something is written (a stream at least once in a heartbeat), `TCP_USER_TIMEOUT` ends the
///   connection when that was not acknowledged for a heartbeat: a heartbeat until something is written, and
///   one until it is given up.
/// - Where nothing is (a poll that is held, a connection between two requests), keepalive writes. With both
///   options the time-out decides when a keepalive gives up, and not the number of its probes (tcp(7)): at
///   the first that is due when nothing was heard for as long as the time-out. They begin well before, so
///   that it takes the loss of several to believe that a peer is gone.
/// - The time-out also ends a connection whose peer acknowledges, but takes nothing for so long (its window
///   is closed).
///
/// Times of keepalive are whole seconds, so with heartbeats of a few seconds there are fewer probes.
///
/// # Errors
/// When the operating system has no such options.
pub fn bound_silence(listener: SockRef<'_>, heartbeat: Duration) -> io::Result<()> {
    let whole = |time: Duration| Duration::from_secs(time.as_secs().max(1));
    let keepalive = TcpKeepalive::new().with_time(whole(heartbeat / ASKED_AFTER_HEARTBEATS));
    listener.set_tcp_keepalive(&keepalive.with_interval(whole(heartbeat / ASKED_EVERY_HEARTBEATS)))?;
    listener.set_tcp_user_timeout(Some(heartbeat))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// What is set on a listener is only worth something if the kernel hands it on.
    #[test]
    fn accepted_sockets_inherit_what_bounds_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        bound_silence(SockRef::from(&listener), Duration::from_secs(20)).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Duration::from_secs(2));
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn the_shortest_heartbeat_bounds_silence_too() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        bound_silence(SockRef::from(&listener), Duration::from_secs(1)).unwrap();
        let listener = SockRef::from(&listener);
        assert_eq!(listener.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
        assert_eq!(listener.tcp_user_timeout().unwrap(), Some(Duration::from_secs(1)));
    }
}
