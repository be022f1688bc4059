//! The `Engine` trait and its contract: the durable logs of channels, and the users and receipts that belong
//! to them. Sessions and presence are not an engine's concern; the nodes of a cluster are in `cluster.rs`.

use std::fmt;

use async_trait::async_trait;
use encke_proto::{ChannelName, MessageId, NameFilter, Position, Time, UserId};

use crate::{
    Append, AppendNow, Appended, ChannelSummary, EngineError, EngineStats, LogStatus, LogUpdate, LogUpdated,
    Mark, Page, PageLimit, ReadFrom, Receipt, ReceiptState, ReceiptTotals, RetentionTable, UserRecord,
    receipt_totals,
};

/// How safe a message is when `accepted` is answered. The answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// In this process's memory: gone when it ends.
    Memory,
    /// On this machine's disk, in the log store: fsynced.
    Log,
    /// In Redis, as safely as its AOF and its replicas are set.
    Redis,
    /// In a NATS JetStream stream, on as many servers as it has replicas.
    Nats,
}

impl Mode {
    /// The mode on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Log => "log",
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where logs live, and all else that must outlive a session: users, and the receipts of pushes.
///
/// # Contract
/// Each sentence is a test in `contract`.
///
/// - **Append is atomic.** Either the message is in every log of its targets, or in none and an error is
///   returned. When the error leaves that open (the machine died in between), a retry with the same key finds
///   out.
/// - **Positions rise by one.** Within an epoch of a channel the first message has offset 1, each next one
///   more. A channel never gives one offset twice in one epoch, not even after everything in it was trimmed,
///   or after it was deleted.
/// - **An epoch changes whenever positions can no longer be trusted**, above all when an engine starts
///   without the log that it had.
/// - **A key gives one message.** For at least [`crate::KEY_KEPT_S`] seconds a repeated key appends nothing
///   and returns the first result, even when the clock is set meanwhile; one that says another request than
///   the first is refused. A key belongs to what it is first
///   sent to: an engine of many machines may keep it beside the log of the first target, and not know it
///   again elsewhere.
/// - **No user's keys take the room of all.** Of a user ([`Append::from`]) those that are older than the
///   [`crate::USER_KEYS_MAX`] newest may be forgotten before their time. All users together may have a wider
///   bound, past which the oldest of any go. Keys of backends have room of their own, which no user's take.
///   No append is refused for its key's sake.
/// - **Answered means safe**, as safe as [`Engine::mode`] says.
/// - **Read is exact.** It returns consecutive messages, beginning with the first kept one after the
///   position; [`Page::tail`] and [`Page::head`] are of the same moment. All of them are told in the log's
///   present epoch, also those that were appended in one that it goes on from ([`Page::lineage`]).
/// - **Retention trims the oldest first**, and only what its rule allows: never what is newest, within count,
///   bytes and age. Rules that change hold from then on, and after a reopening with them.
/// - **The feed follows the append.** After a message is safe, and before or soon after its append returns,
///   the engine hands it to its [`crate::Feed`]; per channel in the order of the offsets. A feed may miss
///   messages (a broken connection); who listens finds the hole by the offsets, and reads. What no receiver
///   would find by them, the engine finds, and says so within [`crate::UNHEARD_MAX_S`].
/// - **What was deleted is gone**: from pages, lists, receipts and keys, and after a reopening or a crash
///   too. A deletion takes an offset of its own, which holds no message, and what comes later begins behind
///   it. So every cursor of before lies before the tail: a session that follows the log, or comes back to it,
///   is told of a gap and not of silence, and no cursor of before is taken for a place in what came later.
/// - **An internal channel is a log like others** ([`ChannelName::internal`]), which stands before all others
///   in the list of channels and has a retention of its own.
/// - **Closed is for good.** A log that was closed takes nothing more until it is deleted: an append with it
///   among its targets is refused whole. [`Page::closed`] tells every reader that the head is the end, and
///   closing again changes nothing.
/// - **A producer's change is done once.** With a change of a log its producer's id, epoch and sequence are
///   remembered in the same write. The next sequence is taken, one that came before is answered as it was
///   then, one behind a gap and one of a lower epoch are refused. It is remembered for at least
///   [`crate::PRODUCER_KEPT_S`] seconds, even when the clock is set meanwhile.
/// - **A log with a lifetime ends** with the first sweep after that, as if it was deleted, and not before.
///   From its end on it takes nothing more.
/// - **What was cancelled is not delivered.** Where a push was still queued, its message stays at its offset
///   and is told as one that expired at [`crate::CANCELLED`], after a reopening or a crash too; its receipt
///   stays [`crate::ReceiptState::Cancelled`], whatever is marked later. The feed of each node that watches
///   the channel is told.
/// - **Totals are the receipts, counted**: [`Engine::receipt_totals`] counts each user that
///   [`Engine::receipts`] tells of, and [`Engine::receipts_in`] tells those of one state in the same order.
/// - **Only what is watched needs to be told.** An engine of many nodes tells each only of the channels that
///   it watches; one of a single node tells everything.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// How safe an appended message is.
    fn mode(&self) -> Mode;

    /// Appends one message to the logs of all its targets.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when it cannot be made safe now, [`EngineError::Refused`] when one of the
    /// logs is closed or has ended, [`EngineError::KeyReused`] when the key was first sent with another
    /// request ([`crate::Key::request`]); nothing was accepted.
    async fn append(&self, append: Append) -> Result<Appended, EngineError>;

    /// Appends one message if that can be done, and told to the feed, without waiting for anything: for a
    /// caller that must not wait, and to which a future costs more than the append. It keeps the contract as
    /// [`Engine::append`] does. An engine that waits for a disk or a network gives every message back.
    fn append_now(&self, append: Append) -> AppendNow {
        AppendNow::Waits(append)
    }

    /// Reads a page of a channel's log. A channel that nothing was appended to is an empty log at offset 0.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the log cannot be read now.
    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError>;

    /// This node has receivers for a channel now: what is appended from here on, on whatever node, is told to
    /// the feed. A [`Engine::read`] of the channel that is begun after this answers only once that holds, so
    /// that nothing falls between what was read and what is told. Each channel is watched once until it is
    /// unwatched. Must not wait.
    fn watch(&self, _channel: &ChannelName) {}

    /// The last receiver for a channel is gone; the feed need not be told of it any more. Must not wait.
    fn unwatch(&self, _channel: &ChannelName) {}

    /// The public channels that have a log, by name, behind `after`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError>;

    /// The names of the public channels that have a log and match, by name, behind `after`. It costs what
    /// going through all names once does, however many match; no log is looked at.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; [`EngineError::Unsupported`] when the engine cannot list names.
    async fn channel_names(
        &self,
        _filter: &NameFilter,
        _after: Option<&ChannelName>,
        _limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        Err(EngineError::Unsupported("list names of channels"))
    }

    /// Remembers that a user was here at `at`: makes the user known, and moves `last_seen` forward.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError>;

    /// One known user. A user is known who was seen, or was pushed to. One who was never seen is forgotten
    /// with the last message that is kept for it, so that a name that was mistyped does not count for ever;
    /// its receipts stay until their time.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError>;

    /// The known users, by id, behind `after`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError>;

    /// The ids of the known users that match, by id, behind `after`. It costs what going through all ids once
    /// does, however many match.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; [`EngineError::Unsupported`] when the engine cannot list ids.
    async fn user_ids(
        &self,
        _filter: &NameFilter,
        _after: Option<&UserId>,
        _limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        Err(EngineError::Unsupported("list ids of users"))
    }

    /// Where a session of `user` without a cursor begins in the user's own channel: behind the last message
    /// that some session was handed.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn handed(&self, user: &UserId) -> Result<Position, EngineError>;

    /// Moves receipts forward, and for [`crate::ReceiptState::Delivered`] the place that [`Engine::handed`]
    /// tells. Receipts never go back; a mark of another epoch changes nothing.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn mark(&self, marks: Vec<Mark>) -> Result<(), EngineError>;

    /// The receipts of a push by user, behind `after`; none when there is no such push. A user who was not
    /// handed it before it expired has [`crate::ReceiptState::Expired`] from `now` on.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError>;

    /// How many receipts of a push are best asked for at a time by what goes through all of them.
    fn receipts_at_a_time(&self) -> usize {
        1_000
    }

    /// How many users of a push there are in each state; none when there is no such push. What is marked
    /// meanwhile may be in it or not, and each user is counted once. It costs what going through all receipts
    /// of the push does.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn receipt_totals(
        &self,
        push: &MessageId,
        now: Time,
    ) -> Result<Option<ReceiptTotals>, EngineError> {
        receipt_totals::totals(self, push, now).await
    }

    /// As [`Engine::receipts`], of those users alone with whom the push is in this state.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn receipts_in(
        &self,
        push: &MessageId,
        state: ReceiptState,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        receipt_totals::receipts_in(self, push, state, (after, limit), now).await
    }

    /// Deletes a log with everything of it: its messages, the idempotency keys that led to them alone, and
    /// for a user's own channel all that is known of the user: receipts, how far the user was handed
    /// messages, first and last seen, and the keys of what the user sent. An engine that was opened since
    /// these came may remember them until their time. Says whether there was anything. It is as safe as
    /// [`Engine::mode`] says when it is answered, and then the feed of each node that watches the channel is
    /// told by [`crate::Feed::retracted`].
    ///
    /// What is appended meanwhile comes before or after it. A push of which some users are left goes on for
    /// them. Bytes on a disk are freed as those of trimmed messages are.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when it cannot be made safe now. The outcome is unknown; it can be asked
    /// for again. [`EngineError::Unsupported`] when the engine cannot delete.
    async fn delete(&self, _channel: &ChannelName) -> Result<bool, EngineError> {
        Err(EngineError::Unsupported("delete logs"))
    }

    /// Changes one public channel's log in one write: sets what it is, appends a message, closes it, on
    /// condition that the change is the next one of its producer. In this order it looks at whether the log
    /// has ended, whether it is to be made and is there, at the producer, and at whether it is closed. It
    /// keeps the contract as [`Engine::append`] does; when a log is closed, the feed of each node that
    /// watches the channel is told by [`crate::Feed::behind`] or [`crate::Feed::retracted`].
    ///
    /// # Errors
    /// [`EngineError::Refused`] when the log does not take it. [`EngineError::Unavailable`] when it cannot be
    /// made safe now; the outcome is unknown, and sent again with its producer it is found out.
    /// [`EngineError::Unsupported`] for a user's own channel, and when the engine cannot do it.
    async fn update_log(&self, _update: LogUpdate) -> Result<LogUpdated, EngineError> {
        Err(EngineError::Unsupported("change a log besides appending to it"))
    }

    /// Where a public channel's log stands, and what it is set to; none when there is no log. It is not a use
    /// of the log that makes it last longer.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; [`EngineError::Unsupported`] as [`Engine::update_log`].
    async fn log_status(&self, _channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        Err(EngineError::Unsupported("tell what a log is set to"))
    }

    /// Calls a push back, for the users for whom it is still queued at `at`; for how many that is, or none
    /// when there is no such push. It is as safe as [`Engine::mode`] says when it is answered, and then the
    /// feed of each node that watches a user's channel is told by [`crate::Feed::retracted`].
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when it cannot be made safe now. Where it was done is unknown; it can be
    /// asked for again, and then counts those that were left. [`EngineError::Unsupported`] when the engine
    /// cannot cancel.
    async fn cancel(&self, _push: &MessageId, _at: Time) -> Result<Option<usize>, EngineError> {
        Err(EngineError::Unsupported("cancel pushes"))
    }

    /// Forgets what is too old: logs whose time is over, messages over their channel's age or past their
    /// expiry, keys, producers, and receipts. Bounded work at a time; called every few seconds.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    async fn sweep(&self, now: Time) -> Result<(), EngineError>;

    /// How much it holds, and how its writing went. It costs no more than a call, however much that is.
    async fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// Lets other rules say from now on how much of each log is kept. What is over them goes with the next
    /// sweeps, or when the log is appended to.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; [`EngineError::Unsupported`] when it keeps to those that it was opened
    /// with.
    async fn set_retention(&self, _table: RetentionTable) -> Result<(), EngineError> {
        Err(EngineError::Unsupported("change retention while it runs"))
    }

    /// Whether it would take an append now, for `/readyz`.
    ///
    /// # Errors
    /// Why not.
    async fn ready(&self) -> Result<(), EngineError>;

    /// Finishes what was begun and closes the store. Later calls return [`EngineError::Unavailable`].
    async fn stop(&self);
}
