//! The commands that a shard receives through its mailbox, and the counts that it returns. Messages between
//! nodes are a type of their own, in `cluster`.

use std::{fmt::Debug, net::IpAddr, sync::Arc};

use encke_hub::{ControlReply, ControlRequest, Key, Opening, ReadKey, Traffic};
use encke_proto::{ChannelName, ChannelRules, Entry, ErrorCode, Page};
use mio::net::TcpStream;
use tokio::sync::oneshot;

use crate::{
    admission::{Admission, Reply as CommandReply, Verdict},
    shards::{BodySinkId, Claim, Sink, Unsent},
};

/// A connection whose request waits, on its way to the shard that serves it.
#[derive(Debug)]
pub struct Arrival {
    /// What its answer is written to.
    pub sink: Sink,
    /// What was read behind the request's head.
    pub inbound: Vec<u8>,
    /// What was decided on the request.
    pub verdict: Verdict,
    /// What the kernel did not take of what was written before it came here.
    pub unsent: Option<Box<Unsent>>,
}

/// A connection that no request is under way on, on its way to the table: back from hyper, or from a
/// handshake that was made beside it.
#[derive(Debug)]
pub struct Resting {
    /// What the next answer is written to.
    pub sink: Sink,
    /// What was read of the next request.
    pub inbound: Vec<u8>,
    /// Whether no request has come yet. The first has the time of a head, as on any other connection.
    pub is_new: bool,
}

/// A request that waits for the place of its device.
#[derive(Debug)]
pub struct Placing {
    /// The connection's place in the table.
    pub place: Key,
    /// What it wants.
    pub admission: Admission,
    /// The other nodes' word that the user counts as being here meanwhile, if there are any.
    pub claiming: Option<Box<dyn Debug + Send>>,
}

/// What a shard is told or asked.
#[derive(Debug)]
pub enum ShardCommand {
    /// A connection comes in.
    Arrived(Box<Arrival>),
    /// A proxy has said whose a connection is.
    Prefaced {
        /// The socket, of which nothing more was read.
        socket: TcpStream,
        /// The address of its client.
        client: IpAddr,
        /// Whether it is to speak TLS.
        is_tls: bool,
    },
    /// A connection rests.
    Rests(Box<Resting>),
    /// What a client asked over its connection is answered.
    Answered {
        /// The connection's place in the table.
        place: Key,
        /// The answer.
        reply: CommandReply,
    },
    /// It was found out what becomes of a request.
    Decided {
        /// The connection's place in the table.
        place: Key,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// An inline request may have come further.
    Go(Key),
    /// hyper has taken something of a response, so that more can be written.
    Drained(BodySinkId),
    /// The receiver of a response that hyper sends is gone.
    Gone(BodySinkId),
    /// Other rules say who may follow which channel.
    Rules(Arc<ChannelRules>),
    /// Other bounds for each user.
    UserBounds {
        /// The most sessions.
        max_sessions: usize,
        /// The most public channels that all of them follow together.
        max_channels: usize,
    },
    /// Accept no more connections.
    Drain {
        /// Whether there are other nodes that clients can go to.
        elsewhere: bool,
    },
    /// Stop working.
    Stop,
    /// A message is in the log.
    Appended(Arc<Entry>),
    /// The log of a channel may be further, or another, than was told.
    Behind(ChannelName),
    /// Messages of a channel were cancelled or deleted.
    Retracted(ChannelName),
    /// The engine's answer to the hub's engine request to open a channel.
    Opened(Key, Option<Opening>),
    /// The engine's answer to the hub's engine request to read a page.
    Read(ReadKey, Option<Page>),
    /// A control request, for the hub.
    Control {
        /// What is asked.
        request: Box<ControlRequest>,
        /// Where the answer goes.
        answer: oneshot::Sender<ControlReply>,
    },
    /// Say so when all is written down that users of this shard were handed.
    Settle(oneshot::Sender<()>),
    /// The other nodes were asked for the session of a request that waits.
    Claimed {
        /// The connection's place in the table.
        place: Key,
        /// What it wants.
        admission: Box<Admission>,
        /// Whether it may have it here.
        claim: Result<Claim, ErrorCode>,
    },
    /// The place was looked up of the device that a request is of.
    Placed {
        /// The request; its device has the place that was found.
        placing: Box<Placing>,
        /// Whether the engine has answered.
        is_answered: bool,
    },
    /// How much is there of everything?
    Counts {
        /// Who asked.
        answer: oneshot::Sender<Box<Counts>>,
    },
}

/// How much there is of everything, in one shard or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users who are online.
    pub users: usize,
    /// Sessions, those in their grace time among them.
    pub sessions: usize,
    /// Connections that are held.
    pub held: usize,
    /// Sockets in the connection table, whatever they are doing.
    pub sockets: usize,
    /// Channels with followers, users' own among them.
    pub channels: usize,
    /// Receivers that do not keep up with what they are sent.
    pub slow: usize,
    /// Bytes that are kept for them.
    pub unsent_bytes: usize,
    /// How many messages the one of them is behind that is the farthest.
    pub lag: u64,
    /// What the hubs have delivered since they began.
    pub traffic: Traffic,
    /// Bytes that were read from sockets since then.
    pub read_bytes: u64,
    /// Bytes that were written for sockets since then.
    pub written_bytes: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            users: self.users + other.users,
            sessions: self.sessions + other.sessions,
            held: self.held + other.held,
            sockets: self.sockets + other.sockets,
            channels: self.channels + other.channels,
            slow: self.slow + other.slow,
            unsent_bytes: self.unsent_bytes + other.unsent_bytes,
            lag: self.lag.max(other.lag),
            traffic: self.traffic.plus(&other.traffic),
            read_bytes: self.read_bytes + other.read_bytes,
            written_bytes: self.written_bytes + other.written_bytes,
        }
    }
}
