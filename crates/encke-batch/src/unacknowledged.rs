//! What a socket's peer has not acknowledged.

use std::{ffi::c_int, io, os::fd::AsFd};

use rustix::ioctl::{Getter, Opcode, ioctl};

/// The request of tcp(7) that is called `SIOCOUTQ` there. It has the number of the terminals' `TIOCOUTQ`,
/// which differs between architectures.
const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// How many bytes the kernel has taken for a TCP socket and its peer's kernel has not acknowledged: those
/// that are on their way, and those that wait to be sent. One system call.
///
/// A connection that was reset, or given up, keeps the number that it had then: what was not acknowledged
/// never will be.
///
/// # Errors
/// When it is no TCP socket, or one that listens.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    // SAFETY: SIOCOUTQ writes one `int`, which is what the getter has room for, and nothing else: to a TCP
    // socket by tcp(7), and to whatever else has this request by tty_ioctl(2). It fails for
    // other files. The descriptor is borrowed for longer than the call.
    #[allow(unsafe_code)]
    let count = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) }?;
    // It is never less than nothing.
    Ok(usize::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
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
    fn what_is_no_connection_has_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        assert!(unacknowledged(&listener).is_err());
        assert!(unacknowledged(std::fs::File::open("/dev/null").expect("it is there")).is_err());
    }
}
