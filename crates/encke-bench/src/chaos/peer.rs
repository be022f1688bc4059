//! Whose a connection to the engine is, and whether anything gets through on it.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use rustix::process::Pid;
use tokio::sync::watch;

/// What does not get through, of what goes to the engine and of what comes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What is sent to the engine.
    pub up: bool,
    /// What the engine sends.
    pub down: bool,
    /// How often all connections of the peer were reset.
    pub resets: u32,
}

/// A process that has connections to the engine: a node, or a server of the engine itself.
#[derive(Clone, Debug)]
pub struct Peer {
    pid: Arc<AtomicI32>,
    cut: Arc<watch::Sender<Cut>>,
}

impl Peer {
    /// No process yet; everything gets through.
    #[must_use]
    pub fn new() -> Self {
        Self { pid: Arc::default(), cut: Arc::new(watch::Sender::new(Cut::default())) }
    }

    /// It is this process now.
    pub fn is(&self, pid: Pid) {
        self.pid.store(pid.as_raw_nonzero().get(), Ordering::SeqCst);
    }

    /// From now on nothing gets through in these directions. No end is told: what is sent waits in the
    /// network.
    pub fn cut(&self, up: bool, down: bool) {
        self.cut.send_modify(|cut| (cut.up, cut.down) = (up, down));
    }

    /// Everything gets through again. Connections from before may go on with what waited, or be reset, as by
    /// a network that has forgotten them.
    pub fn heal(&self, reset: bool) {
        self.cut
            .send_modify(|cut| *cut = Cut { up: false, down: false, resets: cut.resets + u32::from(reset) });
    }

    /// For the tasks that carry its bytes.
    #[must_use]
    pub fn look(&self) -> watch::Receiver<Cut> {
        self.cut.subscribe()
    }

    fn owns(&self, inode: u64) -> bool {
        let pid = self.pid.load(Ordering::SeqCst);
        pid > 0 && holds(pid, inode).unwrap_or(false)
    }
}

/// Whose a connection from `peer` to `here` is; none of these peers' when it belongs to another process.
#[must_use]
pub fn whose(peers: &[Peer], peer: SocketAddr, here: SocketAddr) -> Option<&Peer> {
    // The process that has begun a connection is not named by it. But its socket has a number, which the
    // kernel lists beside the addresses and shows among the files of the process.
    let inode = inode(&fs::read_to_string("/proc/net/tcp").ok()?, peer, here)?;
    peers.iter().find(|peer| peer.owns(inode))
}

/// The number of the socket at `local` whose other end is `remote`, from the kernel's list.
fn inode(list: &str, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let (local, remote) = (listed(local)?, listed(remote)?);
    let line = list.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    line.into_iter()
        .find(|words| words.get(1) == Some(&local.as_str()) && words.get(2) == Some(&remote.as_str()))?
        .get(9)?
        .parse()
        .ok()
}

/// An address as the kernel lists it: the bytes of a number in the machine's order, as hexadecimal digits.
fn listed(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let ip: &Ipv4Addr = address.ip();
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

fn holds(pid: i32, inode: u64) -> io::Result<bool> {
    let name = format!("socket:[{inode}]");
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A file may be closed meanwhile.
        if fs::read_link(file?.path()).is_ok_and(|target| target == Path::new(&name)) {
            return Ok(true);
        }
    }
    Ok(false)
}
