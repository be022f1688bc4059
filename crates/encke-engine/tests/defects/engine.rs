//! An engine that is correct except for one planted defect. The contract's tests must find each of them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use encke_engine::{
    Append, Appended, CANCELLED, ChannelSummary, Configure, Engine, EngineError, LogConfig, LogStatus,
    LogUpdate, LogUpdated, Mark, Mode, Page, PageLimit, ReadFrom, Receipt, ReceiptState, ReceiptTotals,
    Targets, USER_KEYS_MAX, UserRecord,
};
use encke_proto::{
    Body, ChannelName, Entry, Message, MessageId, NameFilter, Position, Time, TypedBytes, UserId,
};

use super::Defect;

const ALL: PageLimit = PageLimit { messages: usize::MAX, bytes: usize::MAX };

/// Does what the engine inside does, but for the defect.
pub struct BrokenEngine {
    inner: Arc<dyn Engine>,
    defect: Option<Defect>,
    appends: AtomicU64,
    /// The appends with a key.
    keyed: AtomicU64,
    /// The time that the last sweep was told.
    swept: AtomicU64,
    stopped: AtomicBool,
}

impl BrokenEngine {
    pub fn new(inner: Arc<dyn Engine>, defect: Option<Defect>) -> Self {
        Self {
            inner,
            defect,
            appends: AtomicU64::new(0),
            keyed: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn spoil_append(&self, append: &mut Append) {
        match self.defect {
            Some(Defect::IgnoresKeys) => append.key = None,
            Some(Defect::SharesKeysAcrossScopes) => {
                if let Some(key) = &mut append.key {
                    let last = key.text.rsplit(':').next().unwrap_or_default();
                    key.text = last.trim().to_owned();
                }
            }
            Some(Defect::TakesEveryRequestForTheFirst) => {
                if let Some(key) = &mut append.key {
                    key.request = None;
                }
            }
            Some(Defect::LosesSender) => append.from = None,
            Some(Defect::LosesContentType | Defect::KeepsTextAlone) => {
                if let Body::Bytes(typed) = &append.body {
                    let is_lost = self.is(Defect::LosesContentType);
                    let content_type = if is_lost { "a/b" } else { typed.content_type() };
                    let text = String::from_utf8_lossy(typed.bytes()).into_owned().into_bytes();
                    let bytes = if is_lost { typed.bytes().to_vec() } else { text };
                    let typed = TypedBytes::new(content_type, bytes).expect("it is a content type");
                    append.body = Body::Bytes(Arc::new(typed));
                }
            }
            Some(Defect::LosesExpiry) => append.expires = None,
            Some(Defect::RoundsTime) => append.time.0 -= append.time.0 % 1000,
            Some(Defect::AppendsInPart) => {
                if let Targets::Channels(channels) = &mut append.targets {
                    channels.truncate(1);
                }
            }
            Some(Defect::ForgetsAllUsers) if append.targets == Targets::AllUsers => {
                append.targets = Targets::Users(Vec::new())
            }
            _ => {}
        }
    }

    /// Offsets that begin again after everything was trimmed: told as the distance from the tail.
    async fn spoil_offsets(&self, appended: &mut Appended) -> Result<(), EngineError> {
        for (channel, position) in &mut appended.positions {
            let page = self.inner.read(channel, ReadFrom::After(0), ALL).await?;
            position.offset = page.entries.len() as u64;
        }
        Ok(())
    }

    fn spoil_page(&self, from: ReadFrom, page: &mut Page) {
        match self.defect {
            Some(Defect::ReadsOneLess) => drop(page.entries.pop()),
            Some(Defect::ReadsWithHole) if page.entries.len() > 2 => drop(page.entries.remove(1)),
            Some(Defect::ReadsTwice) if page.entries.len() > 1 => {
                page.entries.insert(1, Arc::clone(&page.entries[0]))
            }
            Some(Defect::ReadsReversed) => page.entries.reverse(),
            Some(Defect::ReadsNothingBehindTail) => {
                if matches!(from, ReadFrom::After(offset) if offset + 1 < page.tail) {
                    page.entries.clear();
                }
            }
            Some(Defect::LeavesOutWhatIsCancelled) => {
                page.entries.retain(|entry| entry.message().expires != Some(CANCELLED));
            }
            Some(Defect::CancelsReceiptsAlone) => {
                for entry in &mut page.entries {
                    let message = entry.message().clone();
                    if message.expires == Some(CANCELLED) {
                        *entry = Arc::new(Entry::new(Message { expires: None, ..message }));
                    }
                }
            }
            Some(Defect::TellsWrongTail) => page.tail = 1,
            Some(Defect::TellsWrongHead) => page.head += 1,
            Some(Defect::HidesClosed) => page.closed = false,
            _ => {}
        }
    }
}

fn without_lifetime(configure: Configure) -> Configure {
    let without = |config: LogConfig| LogConfig::new(config.content_type(), None).expect("it was one");
    match configure {
        Configure::Keep => Configure::Keep,
        Configure::Create(config) => Configure::Create(without(config)),
        Configure::Replace(config) => Configure::Replace(without(config)),
    }
}

fn size(entry: &Entry) -> usize {
    match &entry.message().body {
        Body::Page(page) => page.url.len(),
        Body::Data(json) => json.get().len(),
        Body::Bytes(typed) => typed.bytes().len(),
    }
}

#[async_trait]
impl Engine for BrokenEngine {
    fn mode(&self) -> Mode {
        self.inner.mode()
    }

    async fn append(&self, mut append: Append) -> Result<Appended, EngineError> {
        let fifth = self.appends.fetch_add(1, Ordering::SeqCst) % 5 == 4;
        let asked = append.clone();
        self.spoil_append(&mut append);
        if self.is(Defect::RefusesManyKeys)
            && append.key.is_some()
            && self.keyed.fetch_add(1, Ordering::SeqCst) > USER_KEYS_MAX as u64
        {
            return Err(EngineError::Unavailable("there are too many keys".into()));
        }
        if fifth && self.is(Defect::DoublesAppends) {
            self.inner.append(Append { key: None, ..append.clone() }).await?;
        }
        if fifth && self.is(Defect::DropsAppends) {
            let mut positions = Vec::new();
            if let Targets::Channels(channels) = &append.targets {
                for channel in channels {
                    let page = self.inner.read(channel, ReadFrom::Head, ALL).await?;
                    positions.push((channel.clone(), Position { epoch: page.epoch, offset: page.head + 1 }));
                }
            }
            return Ok(Appended { id: append.id, positions, repeated: false });
        }
        let mut appended = self.inner.append(append).await?;
        if self.is(Defect::AppendsInPart)
            && let (Targets::Channels(channels), Some((_, position))) =
                (&asked.targets, appended.positions.first().cloned())
        {
            appended.positions = channels.iter().map(|channel| (channel.clone(), position)).collect();
        }
        match self.defect {
            Some(Defect::AnswersWrongOffset) => {
                appended
                    .positions
                    .iter_mut()
                    .for_each(|(_, position)| position.offset = position.offset.saturating_sub(1));
            }
            Some(Defect::ReordersPositions) => appended.positions.reverse(),
            Some(Defect::RepeatsNewId) => appended.id = asked.id,
            Some(Defect::HidesRepeats) => appended.repeated = false,
            Some(Defect::GivesOffsetsTwice) => self.spoil_offsets(&mut appended).await?,
            _ => {}
        }
        Ok(appended)
    }

    async fn read(
        &self,
        channel: &ChannelName,
        from: ReadFrom,
        limit: PageLimit,
    ) -> Result<Page, EngineError> {
        let stopped = self.stopped.load(Ordering::SeqCst);
        if stopped && !self.is(Defect::KeepsEpochWithoutLog) && !self.is(Defect::NeverStops) {
            return Err(EngineError::Unavailable("stopped".into()));
        }
        let asked_from = from;
        let from = match (self.defect, from) {
            (Some(Defect::ReadsInclusive), ReadFrom::After(offset)) => {
                ReadFrom::After(offset.saturating_sub(1))
            }
            _ => from,
        };
        let given = match self.defect {
            Some(Defect::IgnoresMessageLimit) => PageLimit { messages: usize::MAX, ..limit },
            Some(Defect::IgnoresByteLimit) => PageLimit { bytes: usize::MAX, ..limit },
            _ => limit,
        };
        let mut page = self.inner.read(channel, from, given).await?;
        if self.is(Defect::ReadsNothingOverLimit)
            && page.entries.first().is_some_and(|entry| size(entry) > limit.bytes)
        {
            page.entries.clear();
        }
        self.spoil_page(asked_from, &mut page);
        Ok(page)
    }

    async fn channels(
        &self,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelSummary>, EngineError> {
        let mut found = self.inner.channels(after, limit).await?;
        match self.defect {
            Some(Defect::ChannelsOneLess) => drop(found.pop()),
            Some(Defect::ForgetsTrimmedChannels) => found.retain(|summary| summary.tail <= summary.head),
            _ => {}
        }
        Ok(found)
    }

    async fn seen(&self, user: &UserId, at: Time) -> Result<(), EngineError> {
        if self.is(Defect::IgnoresSeen) { self.inner.ready().await } else { self.inner.seen(user, at).await }
    }

    async fn user(&self, user: &UserId) -> Result<Option<UserRecord>, EngineError> {
        let mut found = self.inner.user(user).await?;
        if self.is(Defect::SeenGoesBack)
            && let Some(record) = &mut found
        {
            record.last_seen = Some(record.first_seen);
        }
        Ok(found)
    }

    async fn users(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<UserRecord>, EngineError> {
        let after = if self.is(Defect::UsersIgnoreAfter) { None } else { after };
        let mut found = self.inner.users(after, limit).await?;
        if self.is(Defect::UsersUnsorted) {
            found.reverse();
        }
        Ok(found)
    }

    async fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, EngineError> {
        let all = NameFilter::default();
        self.inner.user_ids(if self.is(Defect::FindsAllUsers) { &all } else { filter }, after, limit).await
    }

    async fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Vec<ChannelName>, EngineError> {
        let mut found = self.inner.channel_names(filter, after, limit).await?;
        if self.is(Defect::FindsOneChannelLess) && !found.is_empty() {
            found.remove(0);
        }
        Ok(found)
    }

    async fn handed(&self, user: &UserId) -> Result<Position, EngineError> {
        if self.is(Defect::KnowsWhomItIsAskedFor) {
            self.inner.seen(user, Time(0)).await?;
        }
        let mut position = self.inner.handed(user).await?;
        match self.defect {
            Some(Defect::ForgetsHanded) => position.offset = 0,
            Some(Defect::HandedAtHead) if position.offset == 0 => {
                position.offset = self.inner.read(&user.channel(), ReadFrom::Head, ALL).await?.head;
            }
            _ => {}
        }
        Ok(position)
    }

    async fn mark(&self, mut marks: Vec<Mark>) -> Result<(), EngineError> {
        for mark in &mut marks {
            let head = self.inner.read(&mark.user.channel(), ReadFrom::Head, ALL).await?;
            match self.defect {
                Some(Defect::MarksTooFar) => mark.state = ReceiptState::Shown,
                Some(Defect::MarksEverything) => mark.position.offset = head.head,
                Some(Defect::IgnoresMarkEpoch) => mark.position.epoch = head.epoch,
                _ => {}
            }
        }
        if self.is(Defect::IgnoresMarks) { self.inner.ready().await } else { self.inner.mark(marks).await }
    }

    async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        let now = if self.is(Defect::NeverExpires) { Time(0) } else { now };
        let after = if self.is(Defect::ReceiptsIgnoreAfter) { None } else { after };
        let mut found = self.inner.receipts(push, after, limit, now).await?;
        match (&mut found, self.defect) {
            (None, Some(Defect::KnowsEveryPush)) => found = Some(Vec::new()),
            (Some(receipts), Some(Defect::ExpiresWithTheLastLog))
                if receipts.iter().any(|one| one.state != ReceiptState::Expired) =>
            {
                receipts
                    .iter_mut()
                    .filter(|one| one.state == ReceiptState::Expired)
                    .for_each(|one| one.state = ReceiptState::Queued);
            }
            (Some(receipts), Some(Defect::ReceiptsUnsorted)) => receipts.reverse(),
            _ => {}
        }
        Ok(found)
    }

    async fn receipt_totals(
        &self,
        push: &MessageId,
        now: Time,
    ) -> Result<Option<ReceiptTotals>, EngineError> {
        if self.is(Defect::TotalsOfOnePage) {
            let receipts = self.inner.receipts(push, None, 1_000, now).await?;
            return Ok(receipts.map(|receipts| ReceiptTotals::of(&receipts)));
        }
        self.inner.receipt_totals(push, now).await
    }

    async fn receipts_in(
        &self,
        push: &MessageId,
        state: ReceiptState,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, EngineError> {
        if self.is(Defect::StatesOfOnePage) {
            let mut found = self.inner.receipts(push, after, limit, now).await?;
            if let Some(found) = &mut found {
                found.retain(|receipt| receipt.state == state);
            }
            return Ok(found);
        }
        self.inner.receipts_in(push, state, after, limit, now).await
    }

    async fn delete(&self, channel: &ChannelName) -> Result<bool, EngineError> {
        match self.defect {
            Some(Defect::DeletesNothing) => self.inner.ready().await.map(|()| true),
            Some(Defect::DeniesDeletions) => self.inner.delete(channel).await.map(|_| false),
            Some(Defect::DeletesLogsAlone) => {
                let known = match channel.owner() {
                    Some(user) => self.inner.user(&user).await?,
                    None => None,
                };
                let deleted = self.inner.delete(channel).await?;
                if let Some(known) = known {
                    self.inner.seen(&known.user, known.first_seen).await?;
                }
                Ok(deleted)
            }
            _ => self.inner.delete(channel).await,
        }
    }

    async fn update_log(&self, mut update: LogUpdate) -> Result<LogUpdated, EngineError> {
        match self.defect {
            Some(Defect::NeverCloses) => update.close = false,
            Some(Defect::IgnoresProducers) => update.producer = None,
            Some(Defect::IgnoresLifetimes) => update.configure = without_lifetime(update.configure),
            Some(Defect::IgnoresUses) if update.configure == Configure::Keep => update.time = Time(1),
            Some(Defect::CreatesAnew) => {
                if let Configure::Create(config) = update.configure {
                    update.configure = Configure::Replace(config);
                }
            }
            Some(Defect::SharesProducers) => {
                if let Some(producer) = update.producer.take() {
                    let all = ChannelName::public("all").expect("this is a name");
                    let alone = LogUpdate { producer: Some(producer), ..LogUpdate::new(all, update.time) };
                    let shared = self.inner.update_log(LogUpdate { close: true, ..alone }).await?;
                    if shared.repeated {
                        return Ok(shared);
                    }
                }
            }
            _ => {}
        }
        let mut updated = self.inner.update_log(update).await?;
        if updated.repeated && self.is(Defect::ForgetsPlaces) {
            updated.message = None;
        }
        Ok(updated)
    }

    async fn log_status(&self, channel: &ChannelName) -> Result<Option<LogStatus>, EngineError> {
        if self.is(Defect::TouchesByQuestions) {
            let time = Time(self.swept.load(Ordering::SeqCst)).plus_seconds(1);
            // One that has ended is not asked for this.
            let _ = self.inner.update_log(LogUpdate::new(channel.clone(), time)).await;
        }
        self.inner.log_status(channel).await
    }

    async fn cancel(&self, push: &MessageId, at: Time) -> Result<Option<usize>, EngineError> {
        match self.defect {
            Some(Defect::CancelsNothing) => {
                let receipts = self.inner.receipts(push, None, usize::MAX, at).await?;
                let queued = |receipts: Vec<Receipt>| {
                    receipts.iter().filter(|receipt| receipt.state == ReceiptState::Queued).count()
                };
                Ok(receipts.map(queued))
            }
            Some(Defect::CountsOneMoreCancelled) => {
                Ok(self.inner.cancel(push, at).await?.map(|count| count + 1))
            }
            _ => self.inner.cancel(push, at).await,
        }
    }

    async fn sweep(&self, now: Time) -> Result<(), EngineError> {
        if self.is(Defect::TouchesByQuestions) {
            self.swept.store(now.0, Ordering::SeqCst);
        }
        match self.defect {
            Some(Defect::NeverSweeps) => self.inner.sweep(Time(0)).await,
            Some(Defect::AgesWithTheClock) => {
                // As if all the time between had gone by: the engine is told of it in small steps.
                let last = self.swept.swap(now.0, Ordering::SeqCst);
                for time in (last.max(1)..now.0).step_by(10_000).take(100) {
                    self.inner.sweep(Time(time)).await?;
                }
                self.inner.sweep(now).await
            }
            Some(Defect::SweepsTooMuch) => self.inner.sweep(now.plus_seconds(3600)).await,
            _ => self.inner.sweep(now).await,
        }
    }

    async fn ready(&self) -> Result<(), EngineError> {
        if self.is(Defect::AlwaysReady) { Ok(()) } else { self.inner.ready().await }
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // An engine that keeps its epoch must still tell it, so it is stopped in name only.
        if !self.is(Defect::NeverStops) && !self.is(Defect::KeepsEpochWithoutLog) {
            self.inner.stop().await;
        }
    }
}
