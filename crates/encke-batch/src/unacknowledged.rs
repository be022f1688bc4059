//! What a socket's peer has not acknowledged.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    ioctl::{Getter, Opcode, ioctl},
    net::{AddressFamily, sockopt::socket_domain},
};

/// The request of tcp(7) that is called `SIOCOUTQ` there. It has the number of the terminals' `TIOCOUTQ`,
/// which differs between architectures.
const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// How many bytes the kernel has taken for a socket and its peer has not acknowledged: those that are on
/// their way, and those that wait to be sent. One system call, and one more when there are none.
///
/// Of a TCP socket it is the peer's kernel that acknowledges. A connection that was reset, or given up, keeps
/// the number that it had then: what was not acknowledged never will be.
///
/// Of a unix socket it is the peer itself, by reading. The number has the kernel's own bytes beside each
/// write, so it is more than what was written. When the peer closes, what it has not read is thrown away and
/// not counted any more. So nothing is known of a peer that has closed.
///
/// # Errors
/// `ConnectionReset` when it is a unix socket whose peer has closed. Another when it is no socket of these,
/// or one that listens.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    let socket = socket.as_fd();
    // SAFETY: SIOCOUTQ writes one `int`, which is what the getter has room for, and nothing else: to a TCP
    // socket by tcp(7), and to whatever else has this request by tty_ioctl(2). It fails for
    // other files. The descriptor is borrowed for longer than the call.
    #[allow(unsafe_code)]
    let count = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    // Asked behind the count: a peer that closes in between has not been counted as one that has read.
    if count == 0 && socket_domain(socket)? == AddressFamily::UNIX && has_hung_up(socket)? {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    // It is never less than nothing.
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Whether nothing goes either way over a connection any more.
fn has_hung_up(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(polled[0].revents().contains(PollFlags::HUP))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpListener, TcpStream},
        os::unix::net::UnixStream,
        thread::sleep,
        time::Duration,
    };

    use socket2::SockRef;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        SockRef::from(&listener).set_recv_buffer_size(4096).expect("a buffer");
        let server = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (client, _) = listener.accept().expect("it has connected");
        server.set_nonblocking(true).expect("a socket");
        (server, client)
    }

    /// Far more than the peer's kernel takes.
    const MUCH: usize = 256 * 1024;

    fn write_much(mut socket: &TcpStream) -> usize {
        let taken = socket.write(&[7; MUCH]).expect("some of it is taken");
        assert!(unacknowledged(socket).expect("a socket") > 0);
        taken
    }

    fn until(holds: impl Fn() -> bool) {
        for _ in 0..4000 {
            if holds() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("it did not come to that within 20 seconds");
    }

    #[test]
    fn what_is_taken_by_the_peer_is_acknowledged_and_the_rest_is_not() {
        let (server, mut client) = pair();
        assert_eq!(unacknowledged(&server).expect("a socket"), 0);
        let taken = write_much(&server);
        client.read_exact(&mut vec![0; taken]).expect("it comes");
        until(|| unacknowledged(&server).expect("a socket") == 0);
    }

    #[test]
    fn what_a_reset_has_thrown_away_is_never_acknowledged() {
        let (server, client) = pair();
        write_much(&server);
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(client);
        until(|| (&server).read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert!(unacknowledged(&server).expect("a socket") > 0);
    }

    #[test]
    fn what_the_peer_of_a_unix_socket_reads_is_acknowledged_until_it_closes() {
        let (mut server, mut client) = UnixStream::pair().expect("two sockets");
        server.write_all(b"read").expect("it is taken");
        assert!(unacknowledged(&server).expect("a socket") > 0);
        client.read_exact(&mut [0; 4]).expect("it comes");
        assert_eq!(unacknowledged(&server).expect("a socket"), 0);
        client.shutdown(Shutdown::Write).expect("a socket");
        assert_eq!(unacknowledged(&server).expect("it is still read by its peer"), 0);
        server.write_all(b"never read").expect("it is taken");
        assert!(unacknowledged(&server).expect("a socket") > 0);
        drop(client);
        let error = unacknowledged(&server).expect_err("what was not read was thrown away");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_is_no_connection_has_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        assert!(unacknowledged(&listener).is_err());
        assert!(unacknowledged(std::fs::File::open("/dev/null").expect("it is there")).is_err());
    }
}
