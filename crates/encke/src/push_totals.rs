//! How many users of a push there are in each state, as the server API tells it. To count a push to very many
//! takes a while, so what was counted is told again for a moment, the longer the more users there are.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use encke_engine::{Engine, EngineError, ReceiptTotals};
use encke_proto::{MessageId, Time};
use tokio::sync::Semaphore;

/// How many pushes are counted at a time on this node; who asks for more waits.
const COUNTING_MAX: usize = 2;
/// How many users a push may have that is counted whenever it is asked for.
const COUNTED_AT_ONCE_MAX: usize = 1_000;
/// For how long totals are told again, for each user of the push: of 100,000 users, for 5 seconds.
const KEPT_FOR_EACH: Duration = Duration::from_micros(50);
/// The most pushes whose totals are kept.
const KEPT_MAX: usize = 1_024;

/// Counts the receipts of pushes.
#[derive(Debug)]
pub struct PushTotals {
    kept: Mutex<HashMap<MessageId, Kept>>,
    counting: Semaphore,
}

#[derive(Debug)]
struct Kept {
    totals: ReceiptTotals,
    until: Instant,
}

impl Default for PushTotals {
    fn default() -> Self {
        Self { kept: Mutex::default(), counting: Semaphore::new(COUNTING_MAX) }
    }
}

impl PushTotals {
    /// How many users of a push there are in each state; none when there is no such push.
    ///
    /// # Errors
    /// As [`Engine::receipt_totals`].
    pub async fn of(
        &self,
        engine: &dyn Engine,
        push: &MessageId,
        now: Time,
    ) -> Result<Option<ReceiptTotals>, EngineError> {
        if let Some(totals) = self.kept_of(push) {
            return Ok(Some(totals));
        }
        let _room = self.counting.acquire().await;
        // Another may have counted it meanwhile.
        if let Some(totals) = self.kept_of(push) {
            return Ok(Some(totals));
        }
        let totals = engine.receipt_totals(push, now).await?;
        if let Some(totals) = totals.filter(|totals| totals.users() > COUNTED_AT_ONCE_MAX) {
            self.keep(push, totals);
        }
        Ok(totals)
    }

    /// Lets all be counted anew: something was done whose outcome is asked for.
    pub fn forget(&self) {
        self.locked().clear();
    }

    fn kept_of(&self, push: &MessageId) -> Option<ReceiptTotals> {
        self.locked().get(push).filter(|kept| kept.until > Instant::now()).map(|kept| kept.totals)
    }

    fn keep(&self, push: &MessageId, totals: ReceiptTotals) {
        let (mut kept, now) = (self.locked(), Instant::now());
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, one| one.until > now);
        }
        if kept.len() < KEPT_MAX {
            let users = u32::try_from(totals.users()).unwrap_or(u32::MAX);
            kept.insert(push.clone(), Kept { totals, until: now + KEPT_FOR_EACH * users });
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<MessageId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
