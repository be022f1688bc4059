//! A node's part among others, where each task is given its turns in an order that a seed chooses, and the
//! engine is slow and fails.
//!
//! A thread may be held up at any place between two locks. The double of the engine pauses before what it
//! does and behind it, and so do the tasks that stand for the shard: between them the seeds try the orders in
//! which claims, calls of the engine, and what the shard tells can follow each other.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use encke_engine::{
    Cluster, Engine, EngineError, Entered, LiveNodes, NodeId, RetentionTable, memory::MemoryEngine,
};
use encke_hub::{CloseTarget, ControlReply, ControlRequest};
use encke_proto::{Close, CloseCode, Epoch, NameFilter, SessionId, UserId};

use tokio::{sync::oneshot, task::coop::unconstrained};

use super::{Bounds, Nodes, Sessions, answering::answer};
use crate::{
    clock::Clock,
    revocation_log::RevocationLog,
    shards::{Commands, Peers, ShardCommand, Shards, mailbox},
    stats::Stats,
};

/// How many orders are tried.
const SEEDS: u64 = 3_000;
/// How far the clock is moved when nothing else can happen: past every wait of a node.
const STEP: Duration = Duration::from_millis(250);
/// How often a call fails for one user: for longer than all else takes.
const REFUSALS: u32 = 60;
/// After how many such steps nothing is expected to happen any more.
const QUIET_STEPS: u32 = 20;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The engine, as far as one node needs it to be found by others.
struct Double(Mutex<Book>);

struct Book {
    random: Random,
    entered: HashSet<UserId>,
    closed_marks: HashSet<(UserId, SessionId)>,
    /// Sessions that were closed, whether or not that is known to the engine.
    closed: HashSet<(UserId, SessionId)>,
    /// How many calls more may fail.
    failures: u64,
    /// Marking a session as closed waits for this.
    holds_closed_marks: bool,
    refusal: Option<Refusal>,
}

/// A call that fails for one user, a number of times.
struct Refusal {
    call: Call,
    user: UserId,
    left: u32,
    /// The users who were entered when it failed for the last time.
    entered: HashSet<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Enter,
    Leave,
    MarkClosed,
}

impl Double {
    fn new(seed: u64, failures: u64) -> Arc<Self> {
        let (entered, closed_marks, closed) = (HashSet::new(), HashSet::new(), HashSet::new());
        Arc::new(Self(Mutex::new(Book {
            random: Random(seed),
            entered,
            closed_marks,
            closed,
            failures,
            holds_closed_marks: false,
            refusal: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    fn below(&self, bound: u64) -> u64 {
        self.lock().random.below(bound)
    }

    /// Others may have their turns first.
    async fn pause(&self) {
        for _ in 0..self.below(4) {
            turn().await;
        }
    }

    /// Does something, or fails before or after it.
    async fn act<T>(&self, act: impl FnOnce(&mut Book) -> T) -> Result<T, EngineError> {
        self.pause().await;
        let fails = self.fails();
        if fails && self.below(2) == 0 {
            return Err(failure());
        }
        let done = act(&mut self.lock());
        self.pause().await;
        if fails { Err(failure()) } else { Ok(done) }
    }

    fn refuse(&self, call: Call, users: &[UserId]) -> Result<(), EngineError> {
        let mut book = self.lock();
        let Book { refusal, entered, .. } = &mut *book;
        match refusal {
            Some(refusal) if refusal.call == call && refusal.left > 0 && users.contains(&refusal.user) => {
                refusal.left -= 1;
                refusal.entered.clone_from(entered);
                Err(failure())
            }
            _ => Ok(()),
        }
    }

    /// As long as a closed session is not known as such, the other nodes have to find its user here and ask.
    fn check_closed_marks(&self, users: &[UserId]) {
        let book = self.lock();
        if book.refusal.as_ref().is_some_and(|refusal| refusal.call == Call::MarkClosed) {
            let mut unknown = book.closed.difference(&book.closed_marks);
            assert!(
                !unknown.any(|(user, _)| users.contains(user)),
                "a user is taken out before its closed session is known"
            );
        }
    }

    fn fails(&self) -> bool {
        let mut book = self.lock();
        let fails = book.failures > 0 && book.random.below(4) == 0;
        book.failures -= u64::from(fails);
        fails
    }
}

fn failure() -> EngineError {
    EngineError::Unavailable("a test lets this fail".into())
}

/// Pending once.
async fn turn() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl Cluster for Double {
    async fn beat(&self) -> Result<LiveNodes, EngineError> {
        Err(failure())
    }

    async fn resign(&self) {}

    async fn send(&self, _: NodeId, _: Bytes) -> Result<(), EngineError> {
        Ok(())
    }

    async fn enter(&self, user: &UserId, _: Option<SessionId>) -> Result<Entered, EngineError> {
        self.refuse(Call::Enter, std::slice::from_ref(user))?;
        self.act(|book| book.entered.insert(user.clone())).await?;
        Ok(Entered::default())
    }

    async fn leave(&self, users: &[UserId]) -> Result<(), EngineError> {
        self.refuse(Call::Leave, users)?;
        self.check_closed_marks(users);
        self.act(|book| book.entered.retain(|user| !users.contains(user))).await
    }

    async fn places(&self, users: &[UserId]) -> Result<Vec<Vec<NodeId>>, EngineError> {
        Ok(vec![Vec::new(); users.len()])
    }

    async fn spend(&self, _: &str, _: u64) -> Result<bool, EngineError> {
        Ok(true)
    }

    async fn mark_closed(&self, user: &UserId, sessions: &[SessionId], _: u64) -> Result<(), EngineError> {
        while self.lock().holds_closed_marks {
            turn().await;
        }
        self.refuse(Call::MarkClosed, std::slice::from_ref(user))?;
        self.act(|book| book.closed_marks.extend(sessions.iter().map(|session| (user.clone(), *session))))
            .await
    }
}

type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Whether a task was woken since it had its last turn.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Gives tasks their turns, one at a time, until nothing can happen any more. All but the first must end.
async fn take_turns(double: &Double, tasks: Vec<Task<'_>>, check: impl Fn()) {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (Some(task), Arc::new(Woken(AtomicBool::new(true))))).collect();
    let mut quiet = 0;
    while quiet < QUIET_STEPS {
        let able: Vec<usize> = (0..tasks.len())
            .filter(|at| tasks[*at].0.is_some() && tasks[*at].1.0.load(Ordering::SeqCst))
            .collect();
        if able.is_empty() {
            quiet += 1;
            tokio::time::advance(STEP).await;
            continue;
        }
        quiet = 0;
        let (task, woken) = &mut tasks[able[usize::try_from(double.below(able.len() as u64)).unwrap()]];
        woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(woken));
        if task.as_mut().is_some_and(|task| task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()) {
            *task = None;
        }
        check();
    }
    assert!(tasks[1..].iter().all(|(task, _)| task.is_none()), "something waits for ever");
}

/// A node whose shard is played by the tasks of a test.
struct World {
    nodes: Arc<Nodes>,
    double: Arc<Double>,
    shard: Mutex<Shard>,
    _commands: Commands<ShardCommand>,
}

#[derive(Default)]
struct Shard {
    sessions: HashMap<UserId, u64>,
    /// What is told at the end of the turn: who, and whether the user came or went.
    said: VecDeque<(UserId, bool)>,
    /// Renewals that are under way: not all users are entered meanwhile.
    renewals: u32,
    next_session: u128,
}

fn nodes_with(double: &Arc<Double>) -> (Arc<Nodes>, Shards, Commands<ShardCommand>) {
    let poll = mio::Poll::new().unwrap();
    let (mailbox, commands) = mailbox(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
    let shards = Shards::new(vec![mailbox]);
    let engine: Arc<dyn Engine> =
        Arc::new(MemoryEngine::new(Arc::new(()), RetentionTable::default(), Epoch(1)));
    let cluster = Arc::clone(double) as Arc<dyn Cluster>;
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock::new());
    let stats = Stats::new("node".into(), Arc::clone(&engine), shards.clone(), Arc::clone(&clock));
    let revocations = RevocationLog::new(Arc::clone(&engine), shards.clone(), clock);
    let bounds = Bounds { grace_ms: 15_000, max_sessions_per_user: 1_000 };
    let nodes = Nodes::new(engine, cluster, shards.clone(), revocations, stats, "node".into(), bounds);
    (nodes, shards, commands)
}

impl World {
    fn new(seed: u64, failures: u64) -> Self {
        let double = Double::new(seed, failures);
        let (nodes, _, commands) = nodes_with(&double);
        Self { nodes, double, shard: Mutex::default(), _commands: commands }
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        self.shard.lock().unwrap()
    }

    fn sessions_of(&self, user: &UserId) -> u64 {
        self.shard().sessions.get(user).copied().unwrap_or(0)
    }

    fn begin(&self, user: &UserId) {
        let mut shard = self.shard();
        let count = shard.sessions.entry(user.clone()).or_default();
        *count += 1;
        if *count == 1 {
            shard.said.push_back((user.clone(), true));
        }
    }

    fn end(&self, user: &UserId) {
        let mut shard = self.shard();
        let count = shard.sessions.entry(user.clone()).or_default();
        *count -= 1;
        if *count == 0 {
            shard.said.push_back((user.clone(), false));
        }
    }

    /// As the shard does at the end of a turn.
    fn carry_out(&self) {
        while let Some((user, came)) = { self.shard().said.pop_front() } {
            if came { self.nodes.came(&user) } else { self.nodes.went(user) }
        }
    }

    /// A client that comes, stays for a while, and goes, some times.
    async fn client(&self, user: &UserId) {
        for _ in 0..3 {
            self.double.pause().await;
            if self.sessions_of(user) > 0 {
                self.begin(user);
            } else if !self.claim(user).await {
                continue;
            }
            self.double.pause().await;
            self.end(user);
            self.double.pause().await;
            self.carry_out();
        }
    }

    /// As the shard does for a request that may wait: whether a session began.
    async fn claim(&self, user: &UserId) -> bool {
        let claim = Arc::clone(&self.nodes).claim(user.clone(), None, None).await;
        self.double.pause().await;
        // The client may have gone meanwhile.
        let begins = claim.is_ok() && self.double.below(4) > 0;
        if begins {
            self.begin(user);
        }
        self.carry_out();
        if self.sessions_of(user) == 0 {
            self.nodes.went(user.clone());
        }
        // What runs beside the shard may come in between.
        self.double.pause().await;
        drop(claim);
        begins
    }

    /// The others take this node for dead, and it begins another incarnation.
    async fn renewal(&self) {
        self.double.pause().await;
        self.shard().renewals += 1;
        self.double.lock().entered.clear();
        self.double.pause().await;
        let renewal = self.nodes.user_locations.renew();
        self.double.pause().await;
        let here: Vec<UserId> = self
            .shard()
            .sessions
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(user, _)| user.clone())
            .collect();
        self.double.pause().await;
        renewal.enter(here).await;
        self.shard().renewals -= 1;
    }

    /// Ends a session on purpose, and waits until all nodes can know.
    async fn closer(&self, user: &UserId, may_fail: bool) {
        for _ in 0..2 {
            self.double.pause().await;
            self.shard().next_session += 1;
            let session = SessionId::from_bits(self.shard().next_session);
            self.double.lock().closed.insert((user.clone(), session));
            self.nodes.mark_closed(user.clone(), session);
            self.nodes.user_locations.settled().await;
            let known = self.double.lock().closed_marks.contains(&(user.clone(), session));
            assert!(known || may_fail, "a close is answered before all nodes can know of it");
        }
    }

    /// Who has a session here is found by the others.
    fn check(&self) {
        let (shard, book) = (self.shard(), self.double.lock());
        if shard.renewals == 0 {
            for (user, count) in &shard.sessions {
                assert!(
                    *count == 0 || book.entered.contains(user),
                    "{user} is here, and the others do not find it"
                );
            }
        }
    }

    /// At rest, and no other node is.
    fn check_at_rest(&self) {
        self.check();
        let (shard, book) = (self.shard(), self.double.lock());
        for user in &book.entered {
            assert!(
                shard.sessions.get(user).is_some_and(|count| *count > 0),
                "{user} is found by the others, and not here"
            );
        }
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn in_whatever_order_users_come_and_go_the_others_find_those_who_are_here() {
    for seed in 0..SEEDS {
        let may_fail = seed % 2 == 1;
        let world = World::new(seed, if may_fail { 6 } else { 0 });
        let (alice, bob) = (user("alice"), user("bob"));
        let mut tasks: Vec<Task<'_>> = vec![Box::pin(world.nodes.user_locations.run())];
        for who in [&alice, &alice, &bob] {
            tasks.push(Box::pin(world.client(who)));
        }
        for who in [&alice, &bob] {
            tasks.push(Box::pin(world.closer(who, may_fail)));
        }
        if seed % 3 == 0 {
            tasks.push(Box::pin(world.renewal()));
        }
        println!("seed {seed}");
        // The runtime would else make tasks wait for one another in its own way.
        unconstrained(take_turns(&world.double, tasks, || world.check())).await;
        world.check_at_rest();
        assert!(world.shard().said.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_does_not_take_of_one_user_holds_up_no_other() {
    let mut proved = [0; 3];
    for seed in 0..SEEDS / 3 {
        let call = [Call::Enter, Call::Leave, Call::MarkClosed][usize::try_from(seed % 3).unwrap()];
        let world = World::new(seed, 0);
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        let refusal = Refusal { call, user: carol.clone(), left: REFUSALS, entered: HashSet::new() };
        world.double.lock().refusal = Some(refusal);
        if call == Call::Enter {
            // A session that stays.
            world.begin(&carol);
            world.double.lock().entered.insert(carol.clone());
        }
        let mut tasks: Vec<Task<'_>> = vec![Box::pin(world.nodes.user_locations.run())];
        for user in [&alice, &alice, &bob, &carol] {
            tasks.push(Box::pin(world.client(user)));
        }
        for user in [&alice, &carol] {
            tasks.push(Box::pin(world.closer(user, true)));
        }
        tasks.push(Box::pin(world.renewal()));
        println!("seed {seed}, {call:?}");
        unconstrained(take_turns(&world.double, tasks, || world.check())).await;
        world.check_at_rest();
        let refusal = world.double.lock().refusal.take().unwrap();
        // Carol may not have been here in this order.
        if refusal.left == 0 {
            proved[call as usize] += 1;
            for user in [&alice, &bob] {
                assert!(!refusal.entered.contains(user), "the others still find {user} because of carol");
            }
        }
    }
    assert!(proved.into_iter().all(|count| count > SEEDS / 20), "{proved:?} orders say anything");
}

#[tokio::test(start_paused = true)]
async fn shards_that_do_not_answer_are_asked_again_who_is_here() {
    let (nodes, _, commands) = nodes_with(&Double::new(1, 0));
    nodes.enter_all();
    for _ in 0..3 {
        let (request, answer) = next_request(&commands).await;
        // Only users who are to be found by the others: of other sessions they were never told.
        assert_eq!(
            request,
            ControlRequest::ListUsers {
                lasting: true,
                filter: NameFilter::default(),
                after: None,
                limit: usize::MAX,
            }
        );
        drop(answer);
    }
    let (_, answer) = next_request(&commands).await;
    answer.send(ControlReply::Users(vec![(user("alice"), 1)])).unwrap();
    assert!(commands.next().is_none());
}

/// What the shard is asked next.
async fn next_request(commands: &Commands<ShardCommand>) -> (ControlRequest, oneshot::Sender<ControlReply>) {
    for _ in 0..100 {
        if let Some(ShardCommand::Control { request, answer }) = commands.next() {
            return (*request, answer);
        }
        tokio::time::sleep(STEP).await;
    }
    panic!("the shard is not asked")
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_when_all_nodes_can_know_of_it() {
    let close =
        || Close { code: CloseCode::Operator, reason: "enough".into(), reconnect: false, retry_ms: None };
    for remote in [true, false] {
        let double = Double::new(1, 0);
        double.lock().holds_closed_marks = true;
        let (nodes, shards, commands) = nodes_with(&double);
        let sessions = Sessions::new(shards, Some(Arc::clone(&nodes)), "node".into());
        let ask = async {
            if remote {
                let request =
                    ControlRequest::Close { target: CloseTarget::User(user("alice")), close: close() };
                let Ok(ControlReply::Closed(count)) = answer(&nodes, request).await else { return 0 };
                count
            } else {
                sessions.close(&CloseTarget::User(user("alice")), &close()).await.unwrap_or(0)
            }
        };
        let (mut asked, mut run) = (pin!(ask), pin!(nodes.user_locations.run()));
        let mut context = Context::from_waker(Waker::noop());
        assert!(asked.as_mut().poll(&mut context).is_pending());
        let Some(ShardCommand::Control { answer, .. }) = commands.next() else {
            panic!("the shard is asked")
        };
        nodes.mark_closed(user("alice"), SessionId::from_bits(1));
        answer.send(ControlReply::Closed(1)).unwrap();
        for _ in 0..10 {
            assert!(run.as_mut().poll(&mut context).is_pending());
            assert_eq!(asked.as_mut().poll(&mut context), Poll::Pending, "remote: {remote}");
        }
        double.lock().holds_closed_marks = false;
        let count = (0..10).find_map(|_| {
            assert!(run.as_mut().poll(&mut context).is_pending());
            match asked.as_mut().poll(&mut context) {
                Poll::Ready(count) => Some(count),
                Poll::Pending => None,
            }
        });
        assert_eq!(count, Some(1), "remote: {remote}");
    }
}
