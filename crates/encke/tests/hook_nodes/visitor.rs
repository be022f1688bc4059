//! A user who comes to a node, gets pushes, goes to another when that is killed, and leaves.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use encke_client::{Event, Listen, Listener, Push, ReceiptState, Target, Transport};
use tokio::time::{sleep, timeout};

use super::node::{NODES, Nodes, WAIT};

const LOOK: Duration = Duration::from_millis(20);

/// What an observer can be sure of about a user.
#[derive(Default)]
pub struct Known {
    pub user: String,
    pub visits: usize,
    /// The pushes whose receipts were `delivered`, in their order, and of those the ones that were `shown`.
    pub delivered: Vec<String>,
    pub shown: Vec<String>,
    /// The longest time within a visit in which it was not sure that the user was there.
    pub longest_absence: Duration,
}

/// The channel that a user follows alone.
pub fn room(user: &str) -> String {
    format!("room:{user}")
}

pub struct Visitor<'a> {
    nodes: Arc<Nodes>,
    known: &'a mut Known,
    at: usize,
    listener: Listener,
    got: HashSet<String>,
    /// Since when it is not sure that the user is there.
    unsure: Option<Instant>,
    was_sure: bool,
}

impl<'a> Visitor<'a> {
    /// A visit begins.
    pub fn come(nodes: &Arc<Nodes>, known: &'a mut Known) -> Self {
        let at = nodes.any();
        known.visits += 1;
        let listener = nodes.client(at, &known.user).listen(listen(&known.user));
        Self {
            nodes: Arc::clone(nodes),
            known,
            at,
            listener,
            got: HashSet::new(),
            unsure: Some(Instant::now()),
            was_sure: false,
        }
    }

    /// Takes what comes next, for a moment.
    async fn hear(&mut self) {
        match timeout(LOOK, self.listener.next()).await {
            Err(_) | Ok(Some(Ok(Event::Open(_)))) => {}
            Ok(Some(Ok(Event::Message(message)))) => self.got.extend(message.id),
            Ok(other) => {
                assert!(!matches!(other, Some(Ok(Event::Gap(_)))), "{other:?}");
                self.go_elsewhere().await;
            }
        }
    }

    /// Goes on at another node.
    async fn go_elsewhere(&mut self) {
        self.unsure.get_or_insert_with(|| self.nodes.killed(self.at).unwrap_or_else(Instant::now));
        self.at = (self.at + 1) % NODES;
        let before = self.listener.handle();
        let mut listen = listen(&self.known.user);
        if let Some(session) = before.session() {
            listen = listen.session(session);
        }
        if let Some(cursor) = before.cursor() {
            listen = listen.cursor(cursor);
        }
        self.listener = self.nodes.client(self.at, &self.known.user).listen(listen);
        sleep(LOOK).await;
    }

    /// Is pushed something, and goes on when that is certain.
    pub async fn take_push(&mut self) {
        let to = Target::Users(vec![self.known.user.clone()]);
        let key = format!("{}-{}-{}", self.known.user, self.known.visits, self.got.len());
        let push = self.nodes.push(&Push::data(to, &7).expect("JSON").id(key)).await;
        let ends = Instant::now() + WAIT;
        while !self.got.contains(&push) {
            assert!(Instant::now() < ends, "{} does not get {push}", self.known.user);
            self.hear().await;
        }
        loop {
            let at = self.at;
            if self.nodes.receipt(&push).await.is_some_and(ReceiptState::is_settled) && at == self.at {
                break;
            }
            assert!(Instant::now() < ends, "{} has {push}, which is not delivered", self.known.user);
            self.hear().await;
        }
        let absence = self.unsure.take().filter(|_| self.was_sure).map(|since| since.elapsed());
        self.was_sure = true;
        self.known.longest_absence = self.known.longest_absence.max(absence.unwrap_or_default());
        self.known.delivered.push(push);
    }

    /// Sees all that was pushed, and goes on when that is certain.
    pub async fn see(&mut self) {
        let last = self.known.delivered.last().expect("something was pushed").clone();
        let ends = Instant::now() + WAIT;
        while self.nodes.receipt(&last).await != Some(ReceiptState::Shown) {
            assert!(Instant::now() < ends, "{} has seen {last}, which is not shown", self.known.user);
            // The node may be one that is killed.
            let _ = self.listener.handle().ack().await;
            self.hear().await;
        }
        self.known.shown.clone_from(&self.known.delivered);
    }

    /// Leaves, and ends the session if it can.
    pub async fn leave(self) {
        let _ = self.listener.handle().close(None).await;
    }
}

fn listen(user: &str) -> Listen {
    Listen::new().transport(Transport::Sse).channels([room(user)])
}
