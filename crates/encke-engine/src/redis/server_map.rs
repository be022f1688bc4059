//! The servers, and which of them has which partition.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    link::{DEADLINE, Link},
    names::{NODES, Names, SLOTS},
    options::{Address, RedisOptions, Topology},
    reply::Fields,
};
use crate::{EngineError, LogRefusal};

/// How often a call is sent elsewhere, or again, before it is given up.
const REDIRECTIONS_MAX: usize = 8;
/// How long to wait while a slot moves.
const MOVING: Duration = Duration::from_millis(50);
/// How often a cluster is asked for its slots when nothing shows that they changed.
const SLOTS_AGAIN: Duration = Duration::from_secs(5);
/// The shortest time between two such questions.
const SLOTS_PAUSE: Duration = Duration::from_millis(100);
/// The most commands that are sent in one piece.
const PIPELINE_MAX: usize = 256;

/// A command for the server that has a partition.
pub(super) struct Call {
    pub(super) partition: u16,
    pub(super) command: Cmd,
}

/// Which link leads to which partition.
struct Map {
    links: HashMap<Address, Arc<Link>>,
    by_partition: Vec<Option<Arc<Link>>>,
}

struct Inner {
    options: Arc<RedisOptions>,
    names: Arc<Names>,
    map: Mutex<Map>,
    /// A call found that slots moved.
    moved: Notify,
    /// Rises whenever the map changed.
    changed: watch::Sender<u64>,
    stopped: AtomicBool,
}

/// All servers of a store.
pub(super) struct ServerMap {
    inner: Arc<Inner>,
    keeping: Option<JoinHandle<()>>,
}

impl Drop for ServerMap {
    fn drop(&mut self) {
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
    }
}

fn unavailable(why: impl Into<String>) -> EngineError {
    EngineError::Unavailable(why.into())
}

/// What to do about an answer.
enum Next {
    Done(Result<Value, EngineError>),
    /// Another server has it.
    Moved,
    /// Another server has it, this once.
    Ask(Address),
    /// The server forgot the scripts.
    Load,
    /// The server is no master any more.
    Demoted,
    Again,
}

impl ServerMap {
    pub(super) fn new(options: Arc<RedisOptions>, names: Arc<Names>) -> Self {
        let one = match options.topology {
            Topology::One => Some(Arc::new(Link::new(Arc::clone(&options), options.hosts.first().cloned()))),
            Topology::Sentinel(_) => Some(Arc::new(Link::new(Arc::clone(&options), None))),
            Topology::Cluster => None,
        };
        let is_cluster = one.is_none();
        let map = Map { links: HashMap::new(), by_partition: vec![one; usize::from(NODES) + 1] };
        let inner = Arc::new(Inner {
            options,
            names,
            map: Mutex::new(map),
            moved: Notify::new(),
            changed: watch::Sender::new(0),
            stopped: AtomicBool::new(false),
        });
        let keeping = is_cluster.then(|| tokio::spawn(Arc::clone(&inner).keep()));
        Self { inner, keeping }
    }

    /// Refuses all calls from now on.
    pub(super) fn stop(&self) {
        self.inner.stopped.store(true, Ordering::Release);
    }

    pub(super) fn check(&self) -> Result<(), EngineError> {
        if self.inner.stopped.load(Ordering::Acquire) {
            Err(unavailable("the engine was stopped"))
        } else {
            Ok(())
        }
    }

    /// Notices that another server may have some partition.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Something was found where it should not be.
    pub(super) fn doubt(&self) {
        self.inner.moved.notify_one();
    }

    pub(super) fn link_of(&self, partition: u16) -> Option<Arc<Link>> {
        self.inner.map().by_partition[usize::from(partition)].clone()
    }

    /// Each link that has partitions, with those that it has.
    pub(super) fn shares(&self) -> Vec<(Arc<Link>, Vec<u16>)> {
        let mut shares: Vec<(Arc<Link>, Vec<u16>)> = Vec::new();
        for (partition, link) in (0..).zip(&self.inner.map().by_partition) {
            let Some(link) = link else { continue };
            match shares.iter_mut().find(|(known, _)| Arc::ptr_eq(known, link)) {
                Some((_, partitions)) => partitions.push(partition),
                None => shares.push((Arc::clone(link), vec![partition])),
            }
        }
        shares
    }

    /// Whether every partition can be asked for now.
    pub(super) fn ready(&self) -> Result<(), EngineError> {
        self.check()?;
        let map = self.inner.map();
        for link in &map.by_partition {
            let Some(link) = link else {
                return Err(unavailable("the cluster has no server for some slots"));
            };
            if let Some(why) = link.trouble() {
                return Err(unavailable(why));
            }
        }
        Ok(())
    }

    pub(super) async fn call(&self, partition: u16, command: Cmd) -> Result<Value, EngineError> {
        let mut answers = self.calls(vec![Call { partition, command }]).await;
        answers.pop().unwrap_or_else(|| Err(unavailable("nothing was asked")))
    }

    /// Sends commands, those for one server in order. What each was answered, in the same order.
    pub(super) async fn calls(&self, calls: Vec<Call>) -> Vec<Result<Value, EngineError>> {
        if let Err(error) = self.check() {
            return calls.iter().map(|_| Err(error.clone())).collect();
        }
        let mut answers: Vec<Option<Result<Value, EngineError>>> = calls.iter().map(|_| None).collect();
        let mut left: Vec<(usize, Option<Address>)> = (0..calls.len()).map(|at| (at, None)).collect();
        let until = Instant::now() + DEADLINE;
        for _ in 0..REDIRECTIONS_MAX {
            let mut again = Vec::new();
            for (at, next, link) in self.send(&calls, &left).await {
                match next {
                    Next::Done(answer) => answers[at] = Some(answer),
                    Next::Ask(address) => again.push((at, Some(address))),
                    Next::Moved => {
                        self.inner.moved.notify_one();
                        again.push((at, None));
                    }
                    Next::Load => {
                        if let Some(link) = link {
                            drop(link.load_scripts().await);
                        }
                        again.push((at, None));
                    }
                    Next::Demoted => {
                        if let Some(link) = link {
                            link.fail_pending();
                        }
                        again.push((at, None));
                    }
                    Next::Again => again.push((at, None)),
                }
            }
            if again.is_empty() || Instant::now() >= until {
                break;
            }
            again.sort_by_key(|(at, _)| *at);
            if again.iter().any(|(_, asked)| asked.is_none()) {
                sleep(MOVING).await;
            }
            left = again;
        }
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(unavailable("a slot of the cluster moves"))))
            .collect()
    }

    /// Sends some of the calls, each link's in one piece after the other.
    async fn send(
        &self,
        calls: &[Call],
        which: &[(usize, Option<Address>)],
    ) -> Vec<(usize, Next, Option<Arc<Link>>)> {
        let mut groups: Vec<(Arc<Link>, bool, Vec<usize>)> = Vec::new();
        let mut results = Vec::with_capacity(which.len());
        for (at, asked) in which {
            let link = match asked {
                Some(address) => Some(self.inner.link_to(address)),
                None => self.link_of(calls[*at].partition),
            };
            let Some(link) = link else {
                self.inner.moved.notify_one();
                results.push((
                    *at,
                    Next::Done(Err(unavailable("the cluster's slots are not known yet"))),
                    None,
                ));
                continue;
            };
            match groups
                .iter_mut()
                .find(|(known, asking, _)| Arc::ptr_eq(known, &link) && *asking == asked.is_some())
            {
                Some((_, _, group)) => group.push(*at),
                None => groups.push((link, asked.is_some(), vec![*at])),
            }
        }
        let sent = groups.into_iter().map(|(link, asking, group)| async move {
            let mut answered = Vec::with_capacity(group.len());
            for piece in group.chunks(PIPELINE_MAX) {
                let mut commands = redis::pipe();
                for at in piece {
                    if asking {
                        commands.add_command(redis::cmd("ASKING"));
                    }
                    commands.add_command(calls[*at].command.clone());
                }
                match link.run(&commands).await {
                    Ok(values) => {
                        let values =
                            values.into_iter().skip(usize::from(asking)).step_by(1 + usize::from(asking));
                        let next = piece
                            .iter()
                            .zip(values)
                            .map(|(at, value)| (*at, judge(value), Some(Arc::clone(&link))));
                        answered.extend(next);
                    }
                    Err(error) => {
                        // Its partitions may be with another server by now.
                        self.inner.moved.notify_one();
                        answered.extend(piece.iter().map(|at| (*at, Next::Done(Err(error.clone())), None)));
                    }
                }
            }
            answered
        });
        results.extend(join_all(sent).await.into_iter().flatten());
        results
    }
}

fn refused(refusal: LogRefusal) -> Next {
    Next::Done(Err(refusal.into()))
}

/// A refusal by a script of ours that names a number.
fn with_number(details: &str, refusal: impl FnOnce(u64) -> LogRefusal) -> Next {
    match details.trim().parse() {
        Ok(number) => refused(refusal(number)),
        Err(_) => Next::Done(Err(EngineError::Damaged(format!("a script refused with {details}")))),
    }
}

fn judge(value: Value) -> Next {
    let Value::ServerError(error) = value else { return Next::Done(Ok(value)) };
    let details = error.details().unwrap_or_default();
    match error.code() {
        "MOVED" => Next::Moved,
        "ASK" => match details.rsplit_once(' ').and_then(|(_, address)| address.rsplit_once(':')) {
            Some((host, port)) => match port.parse() {
                Ok(port) => Next::Ask(Address { host: host.to_owned(), port }),
                Err(_) => Next::Moved,
            },
            None => Next::Moved,
        },
        "TRYAGAIN" => Next::Again,
        "NOSCRIPT" => Next::Load,
        "READONLY" => Next::Demoted,
        "CLOSED" => refused(LogRefusal::Closed),
        "ENDED" => refused(LogRefusal::Ended),
        "MANY" => refused(LogRefusal::TooManyProducers),
        "FENCED" => with_number(details, |epoch| LogRefusal::Fenced { epoch }),
        "GAP" => with_number(details, |expected| LogRefusal::SequenceGap { expected }),
        "DAMAGED" | "WRONGTYPE" => Next::Done(Err(EngineError::Damaged(details.to_owned()))),
        code => Next::Done(Err(unavailable(format!("Redis: {code} {details}")))),
    }
}

impl Inner {
    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link_to(&self, address: &Address) -> Arc<Link> {
        let mut map = self.map();
        let link = map
            .links
            .entry(address.clone())
            .or_insert_with(|| Arc::new(Link::new(Arc::clone(&self.options), Some(address.clone()))));
        Arc::clone(link)
    }

    /// Keeps the map of a cluster true.
    async fn keep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.ask().await {
                tracing::warn!(%error, "the slots of the Redis cluster cannot be asked for");
            }
            sleep(SLOTS_PAUSE).await;
            // Told or not: a server that was there before it had any slots says nothing when it gets some.
            drop(timeout(SLOTS_AGAIN, self.moved.notified()).await);
        }
    }

    /// Asks one server after the other for the slots, until one knows.
    async fn ask(&self) -> Result<(), EngineError> {
        let mut known: Vec<Address> = self
            .map()
            .links
            .iter()
            .filter(|(_, link)| link.trouble().is_none())
            .map(|(address, _)| address.clone())
            .collect();
        known.extend(self.options.hosts.iter().cloned());
        let mut command = redis::pipe();
        command.cmd("CLUSTER").arg("SLOTS");
        let mut why = unavailable("the cluster has no servers");
        for address in known {
            let link = self.link_to(&address);
            let answer = link.run(&command).await;
            match answer
                .and_then(|mut values| values.pop().ok_or_else(|| unavailable("no answer")))
                .and_then(|value| owners(value, &address))
            {
                Ok(owners) if owners.iter().any(Option::is_some) => {
                    self.settle(&owners);
                    return Ok(());
                }
                Ok(_) => why = unavailable("the cluster has no slots"),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn settle(&self, owners: &[Option<Address>]) {
        let mut changed = false;
        for partition in 0..=NODES {
            let owner =
                owners[usize::from(self.names.slot(partition))].as_ref().map(|address| self.link_to(address));
            let mut map = self.map();
            let place = &mut map.by_partition[usize::from(partition)];
            let same = match (&*place, &owner) {
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                (None, None) => true,
                _ => false,
            };
            if !same {
                *place = owner;
                changed = true;
            }
        }
        let mut map = self.map();
        let Map { links, by_partition } = &mut *map;
        links.retain(|_, link| by_partition.iter().flatten().any(|used| Arc::ptr_eq(used, link)));
        drop(map);
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// Which server has which slot, as one at `asked` says.
fn owners(value: Value, asked: &Address) -> Result<Vec<Option<Address>>, EngineError> {
    let mut owners = vec![None; usize::from(SLOTS)];
    let mut ranges = Fields::of(value)?;
    while !ranges.is_empty() {
        let mut range = ranges.list()?;
        let (first, last) = (range.number()?, range.number()?);
        let mut master = range.list()?;
        // A server that does not know its own name says so by none.
        let host = master.text().ok().filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host.clone());
        let address = Address { host, port: u16::try_from(master.number()?).unwrap_or_default() };
        for slot in first..=last {
            if let Some(owner) = usize::try_from(slot).ok().and_then(|slot| owners.get_mut(slot)) {
                *owner = Some(address.clone());
            }
        }
    }
    Ok(owners)
}
