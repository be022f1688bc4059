//! How many users of a push there are in each state, and those of one state: both found by going through all
//! of its receipts. How far it has come with one user is in `receipt.rs`.

use encke_proto::{MessageId, Time, UserId};

use crate::{Engine, EngineError, Receipt, ReceiptState};

/// How many users of a push there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptTotals {
    /// Safe in their logs.
    pub queued: usize,
    /// Handed whole to a connection.
    pub delivered: usize,
    /// Seen by a person.
    pub shown: usize,
    /// Its time was over before.
    pub expired: usize,
    /// It was called back before.
    pub cancelled: usize,
}

impl ReceiptTotals {
    /// Counts these receipts.
    #[must_use]
    pub fn of<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> Self {
        let mut totals = Self::default();
        receipts.into_iter().for_each(|receipt| totals.add(receipt.state));
        totals
    }

    /// How many users there are.
    #[must_use]
    pub fn users(&self) -> usize {
        self.queued + self.delivered + self.shown + self.expired + self.cancelled
    }

    fn add(&mut self, state: ReceiptState) {
        *match state {
            ReceiptState::Queued => &mut self.queued,
            ReceiptState::Delivered => &mut self.delivered,
            ReceiptState::Shown => &mut self.shown,
            ReceiptState::Expired => &mut self.expired,
            ReceiptState::Cancelled => &mut self.cancelled,
        } += 1;
    }
}

/// What [`Engine::receipt_totals`] does, page by page.
pub(crate) async fn totals<E: Engine + ?Sized>(
    engine: &E,
    push: &MessageId,
    now: Time,
) -> Result<Option<ReceiptTotals>, EngineError> {
    let mut totals = ReceiptTotals::default();
    let is_known = each_page(engine, push, None, now, |page| {
        page.iter().for_each(|receipt| totals.add(receipt.state));
        true
    });
    Ok(is_known.await?.then_some(totals))
}

/// What [`Engine::receipts_in`] does, page by page.
pub(crate) async fn receipts_in<E: Engine + ?Sized>(
    engine: &E,
    push: &MessageId,
    state: ReceiptState,
    (after, limit): (Option<&UserId>, usize),
    now: Time,
) -> Result<Option<Vec<Receipt>>, EngineError> {
    let mut found = Vec::new();
    let is_known = each_page(engine, push, after, now, |page| {
        found.extend(page.into_iter().filter(|receipt| receipt.state == state));
        found.len() < limit
    });
    let is_known = is_known.await?;
    found.truncate(limit);
    Ok(is_known.then_some(found))
}

/// Goes through the receipts of a push behind `after`, for as long as more are wanted; whether there is such
/// a push. It comes to an end, since each page begins behind the last user of the one before.
async fn each_page<E: Engine + ?Sized>(
    engine: &E,
    push: &MessageId,
    after: Option<&UserId>,
    now: Time,
    mut wants_more: impl FnMut(Vec<Receipt>) -> bool + Send,
) -> Result<bool, EngineError> {
    let (limit, mut after, mut is_known) = (engine.receipts_at_a_time(), after.cloned(), false);
    loop {
        let Some(page) = engine.receipts(push, after.as_ref(), limit, now).await? else {
            return Ok(is_known);
        };
        is_known = true;
        let is_last = page.len() < limit;
        after = page.last().map(|receipt| receipt.user.clone()).or(after);
        if !wants_more(page) || is_last {
            return Ok(true);
        }
    }
}
