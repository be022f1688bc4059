//! What no safe library asks of the system: many sends to as many sockets in one call, by `io_uring` (ADR
//! 0020), what the peer of a socket has not acknowledged (ADR 0021), and that memory which was freed goes
//! back to the kernel (ADR 0012).
//!
//! Nothing is under way between two calls: [`Batch::send`] returns when each of its sends is done, or could
//! not be.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

mod freed_memory;
mod unacknowledged;

pub use freed_memory::give_back_freed_memory;
use io_uring::{IoUring, Probe, opcode, types::Fd};
use rustix::net::SendFlags;
pub use unacknowledged::unacknowledged;

/// The most sends in one call.
pub const BATCH_MAX: usize = 64;

/// What one send is about: to which socket, and what.
pub type Sending<'a> = (BorrowedFd<'a>, &'a [u8]);

/// A ring that is used for sends alone, by one thread at a time.
pub struct Batch {
    ring: IoUring,
    /// Whether sends were put into the ring of which it is not known that they are done: it is not used again
    /// then.
    spoiled: bool,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Batch {
    /// A ring of [`BATCH_MAX`] places, which takes some pages of memory and one file descriptor.
    ///
    /// # Errors
    /// As the kernel has it: where `io_uring` is switched off, or a container forbids it, that is
    /// `PermissionDenied` or `Unsupported`; and `Unsupported` before Linux 5.6, whose rings know of no sends.
    pub fn new() -> io::Result<Self> {
        let ring = IoUring::new(BATCH_MAX as u32)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Send::CODE) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { ring, spoiled: false })
    }

    /// Sends each of these to its socket, without waiting for room in any, and puts what came of it into
    /// `results`, in the same order: how many bytes the kernel took, which may be fewer than there were, or
    /// the error that `send` would have had. Those past [`BATCH_MAX`] are left alone and have no result.
    ///
    /// # Errors
    /// When the ring itself fails. Then `results` is empty, it is not known which sends were made, and so it
    /// is from then on.
    pub fn send<'a>(
        &mut self,
        sendings: impl Iterator<Item = Sending<'a>>,
        results: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        results.clear();
        if std::mem::replace(&mut self.spoiled, true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut queue = self.ring.submission();
        for (number, (socket, bytes)) in (0..).zip(sendings.take(BATCH_MAX)) {
            // More than 4 GB is sent as far as that, like any send that the kernel does not take as a whole.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let send = opcode::Send::new(Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags(flags.bits().cast_signed());
            let entry = send.build().user_data(number);
            // SAFETY: the kernel reads the bytes and the socket's number while it makes the send, and both
            // are borrowed for longer than this function runs. A send that must not wait (MSG_DONTWAIT) is
            // made, or has failed, within the call that submits it, and that call is repeated below until
            // each has been answered. If it fails before that, or `sendings` panics, what was not submitted
            // stays in a ring that is spoiled, and is never read.
            #[allow(unsafe_code)]
            let pushed = unsafe { queue.push(&entry) };
            pushed.map_err(io::Error::other)?;
            results.push(Err(io::ErrorKind::WouldBlock.into()));
        }
        drop(queue);
        let mut left = results.len();
        while left > 0 {
            match self.ring.submit_and_wait(left) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    results.clear();
                    return Err(error);
                }
            }
            for answer in self.ring.completion() {
                let result = answer.result();
                let number = usize::try_from(answer.user_data()).unwrap_or(usize::MAX);
                if let Some(place) = results.get_mut(number) {
                    *place = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                    left -= 1;
                }
            }
        }
        self.spoiled = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    /// None where the kernel, or the container around this process, has no ring to give.
    fn batch() -> Option<Batch> {
        let batch = Batch::new();
        if let Err(error) = &batch {
            eprintln!("left out: {error}");
        }
        batch.ok()
    }

    fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (server, _) = listener.accept().expect("a client connects");
        server.set_nonblocking(true).expect("a socket");
        (server, client)
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("loopback has a port")
    }

    #[test]
    fn each_socket_gets_its_own() {
        let Some(mut batch) = batch() else { return };
        let listener = listener();
        let mut pairs: Vec<_> = (0..BATCH_MAX + 3).map(|_| pair(&listener)).collect();
        let mut results = Vec::new();
        for round in 0..5 {
            let texts: Vec<String> = (0..pairs.len()).map(|number| format!("{round} for {number}")).collect();
            batch
                .send(
                    pairs.iter().zip(&texts).map(|((server, _), text)| (server.as_fd(), text.as_bytes())),
                    &mut results,
                )
                .expect("a ring");
            assert_eq!(results.len(), BATCH_MAX, "no more than that at a time");
            for (((_, client), text), result) in pairs.iter_mut().zip(&texts).zip(&results) {
                assert_eq!(result.as_ref().expect("it is sent"), &text.len());
                let mut read = vec![0; text.len()];
                client.read_exact(&mut read).expect("it comes");
                assert_eq!(read, text.as_bytes());
            }
        }
        batch.send(std::iter::empty(), &mut results).expect("nothing is nothing");
        assert!(results.is_empty());
    }

    #[test]
    fn a_ring_in_which_something_was_left_is_not_used_again() {
        let Some(mut batch) = batch() else { return };
        let listener = listener();
        let (server, mut client) = pair(&listener);
        let mut results = Vec::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let sendings = (0..3)
                .map(|number| if number < 2 { (server.as_fd(), &b"left"[..]) } else { panic!("on purpose") });
            batch.send(sendings, &mut results)
        }));
        assert!(caught.is_err());
        assert!(batch.send([(server.as_fd(), &b"sent"[..])].into_iter(), &mut results).is_err());
        drop((batch, server));
        let mut read = Vec::new();
        client.read_to_end(&mut read).expect("its end comes");
        assert!(read.is_empty());
    }

    #[test]
    fn a_full_socket_holds_up_no_other_and_one_that_is_gone_is_told() {
        let Some(mut batch) = batch() else { return };
        let listener = listener();
        let (full, _client) = pair(&listener);
        let (gone, client) = pair(&listener);
        let (good, mut reader) = pair(&listener);
        drop(client);
        let much = vec![7; 1 << 20];
        let mut results = Vec::new();
        let mut taken = 0;
        loop {
            batch.send([(full.as_fd(), much.as_slice())].into_iter(), &mut results).expect("a ring");
            match &results[0] {
                Ok(count) => taken += count,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(taken > 0, "some of it is taken");
        // The peer's answer to the first is that it is not there.
        let told = (0..1_000).any(|_| {
            let sendings = [(full.as_fd(), &b"x"[..]), (gone.as_fd(), b"x"), (good.as_fd(), b"y")];
            batch.send(sendings.into_iter(), &mut results).expect("a ring");
            assert_eq!(results[0].as_ref().expect_err("it is full still").kind(), io::ErrorKind::WouldBlock);
            assert_eq!(results[2].as_ref().expect("one has room"), &1);
            results[1].is_err()
        });
        assert!(told);
        let kind = results[1].as_ref().expect_err("it is gone").kind();
        assert!(matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{kind:?}");
        let mut read = [0];
        reader.read_exact(&mut read).expect("it comes");
        assert_eq!(&read, b"y");
    }
}
