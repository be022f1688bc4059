//! How far devices have got, as it is written down: all that has come, once a second at most. The first word
//! after a silence is written at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use encke_engine::Engine;
use encke_hub::Reached;
use encke_proto::{DeviceName, Position, Time, UserId, limits::USER_MAX_DEVICES};
use futures_util::{StreamExt, future::BoxFuture, stream};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::Placing;
use crate::devices;

/// How long after a round began the next one does.
const PAUSE: Duration = Duration::from_secs(1);
/// The most users of whom is written at the same time.
const WRITES_MAX: usize = 64;

/// How far devices of users have got: at most [`USER_MAX_DEVICES`] of each user.
type Places = HashMap<UserId, Vec<(DeviceName, Position)>>;

/// What is to be written down of devices. Of each the last word counts, so it is bounded by the users.
pub(super) struct DeviceRounds {
    engine: Arc<dyn Engine>,
    waiting: Places,
    /// The round that is under way, and what is written in it. It gives back what the engine did not take.
    writing: Option<BoxFuture<'static, Places>>,
    in_round: Arc<Places>,
    /// When the next one may begin.
    due: Instant,
    /// Who waits until all is written.
    settles: Vec<oneshot::Sender<()>>,
}

impl DeviceRounds {
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        let (waiting, settles) = (Places::new(), Vec::new());
        Self { engine, waiting, writing: None, in_round: Arc::default(), due: Instant::now(), settles }
    }

    /// Whether anything is to be written, or is being.
    pub(super) fn is_busy(&self) -> bool {
        self.writing.is_some() || !self.waiting.is_empty()
    }

    /// A device has got farther.
    pub(super) fn reach(&mut self, Reached { user, device, position }: Reached) {
        let places = self.waiting.entry(user).or_default();
        match places.iter_mut().find(|(known, _)| *known == device) {
            Some((_, at)) if at.epoch == position.epoch => at.offset = at.offset.max(position.offset),
            Some((_, at)) => *at = position,
            None => {
                if places.len() >= USER_MAX_DEVICES {
                    places.remove(0);
                }
                places.push((device, position));
            }
        }
    }

    /// Says so when all that has come is written, or could not be; gives it back when that is so already.
    pub(super) fn settle(&mut self, answer: oneshot::Sender<()>) -> Option<oneshot::Sender<()>> {
        if !self.is_busy() {
            return Some(answer);
        }
        self.settles.push(answer);
        None
    }

    /// What may not be written yet of the device of a request.
    pub(super) fn known(&self, placing: &Placing) -> Option<Position> {
        let (user, device) = (&placing.admission.user, placing.admission.device.as_ref()?);
        let find = |places: &Places| Some(places.get(user)?.iter().find(|(name, _)| *name == device.name)?.1);
        find(&self.waiting).or_else(|| find(&self.in_round))
    }

    /// Waits for what is next: the beginning of a round, or its end. Who waited for that is given back. It
    /// may be dropped at any time.
    pub(super) async fn turn(&mut self, at: impl Fn() -> Time, is_last: bool) -> Vec<oneshot::Sender<()>> {
        let Some(writing) = &mut self.writing else {
            if self.settles.is_empty() && !is_last {
                sleep_until(self.due).await;
            }
            self.begin(at());
            return Vec::new();
        };
        let left = writing.await;
        self.writing = None;
        self.in_round = Arc::default();
        let is_settled = self.waiting.is_empty();
        if !is_last {
            for (user, places) in left {
                for (device, position) in places {
                    let known = self
                        .waiting
                        .get(&user)
                        .is_some_and(|newer| newer.iter().any(|(name, _)| *name == device));
                    // What came meanwhile lies farther.
                    if !known {
                        self.reach(Reached { user: user.clone(), device, position });
                    }
                }
            }
        }
        if is_settled { std::mem::take(&mut self.settles) } else { Vec::new() }
    }

    fn begin(&mut self, at: Time) {
        self.due = Instant::now() + PAUSE;
        self.in_round = Arc::new(std::mem::take(&mut self.waiting));
        let all: Vec<_> = self.in_round.iter().map(|(user, places)| (user.clone(), places.clone())).collect();
        let engine = Arc::clone(&self.engine);
        let write = move |(user, places): (UserId, Vec<(DeviceName, Position)>)| {
            let engine = Arc::clone(&engine);
            async move {
                let error = devices::write(&*engine, &user, &places, at).await.err()?;
                tracing::warn!(%error, "the engine did not take how far devices have got");
                Some((user, places))
            }
        };
        let left = stream::iter(all).map(write).buffer_unordered(WRITES_MAX).collect::<Vec<_>>();
        self.writing = Some(Box::pin(async move { left.await.into_iter().flatten().collect() }));
    }
}
