//! Reads the receipts of a push, page by page, from its pages of targets. How receipts change is in
//! `marks.rs`.

use encke_proto::{MessageId, Time, UserId};

use super::{
    fault::Fault,
    receipt::Receipted,
    store::Store,
    targets::{Target, TargetPage},
};
use crate::{Receipt, ReceiptState};

/// How many targets are looked at together, at least, where some were deleted.
const PAGE_MIN: usize = 1_000;

impl Store {
    /// The receipts of a push by user, behind `after`.
    pub(super) async fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Result<Option<Vec<Receipt>>, Fault> {
        let Some(first) = self.targets_of(push, 0).await? else { return Ok(None) };
        if !first.push || first.until <= now.0 {
            return Ok(None);
        }
        // What this node has trimmed has its receipts by now.
        self.trimmer.settled().await;
        let expires = first.expires();
        let time = Time(first.time);
        let targets = self.kept_behind(push, first, after, limit).await?;
        let users: Vec<(UserId, &Target)> =
            targets.iter().filter_map(|target| Some((target.channel.owner()?, target))).collect();
        let subjects: Vec<String> = users
            .iter()
            .map(|(user, target)| self.names.receipt(user, target.epoch, target.offset))
            .collect();
        let found = self.link.lasts(&self.names.book, &subjects, true).await?;
        let receipt = |((user, target), subject): ((UserId, &Target), &String)| {
            let (state, at) = match found.get(subject) {
                Some(stored) => {
                    let Receipted { state, at } = Receipted::parse(&stored.head)?;
                    (state, at)
                }
                None => match expires {
                    Some(end) if end <= now => (ReceiptState::Expired, end),
                    _ => (ReceiptState::Queued, time),
                },
            };
            Ok(Receipt { user, offset: target.offset, state, at })
        };
        users.into_iter().zip(&subjects).map(receipt).collect::<Result<Vec<_>, Fault>>().map(Some)
    }

    /// A page of the targets of a push.
    pub(super) async fn targets_of(
        &self,
        push: &MessageId,
        page: usize,
    ) -> Result<Option<TargetPage>, Fault> {
        let stored = self.link.last(&self.names.log, &self.names.page(push, page)).await?;
        stored.as_ref().map(TargetPage::parse).transpose()
    }

    /// At most `limit` targets behind a user, without those whose logs were deleted since.
    async fn kept_behind(
        &self,
        push: &MessageId,
        first: TargetPage,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Target>, Fault> {
        let (mut kept, mut after, mut least) = (Vec::new(), after.cloned(), 0);
        loop {
            let wanted = (limit - kept.len()).max(least);
            least = PAGE_MIN;
            let found = self.targets_behind(push, first.clone(), after.as_ref(), wanted).await?;
            let is_last = found.len() < wanted;
            after = found.last().and_then(|target| target.channel.owner()).or(after);
            kept.extend(self.without_deleted(found).await?);
            if is_last || kept.len() >= limit {
                kept.truncate(limit);
                return Ok(kept);
            }
        }
    }

    /// At most `limit` targets behind a user. Pages are in the order of users, so only those are read that
    /// are needed, and a few to find the first of them.
    async fn targets_behind(
        &self,
        push: &MessageId,
        first: TargetPage,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Target>, Fault> {
        let after = after.map(UserId::channel);
        let is_behind = |target: &Target| after.as_ref().is_none_or(|after| target.channel > *after);
        let has_behind = |page: &TargetPage| page.targets.last().is_some_and(is_behind);
        let pages = first.pages;
        let mut page = first;
        let mut next = 1;
        if !has_behind(&page) {
            // The first page whose last target is behind, by halving.
            let (mut low, mut high) = (1, pages);
            while low < high {
                let middle = low.midpoint(high);
                match self.targets_of(push, middle).await? {
                    Some(found) if !has_behind(&found) => low = middle + 1,
                    _ => high = middle,
                }
            }
            match if low < pages { self.targets_of(push, low).await? } else { None } {
                Some(found) => page = found,
                None => return Ok(Vec::new()),
            }
            next = low + 1;
        }
        let mut targets = Vec::new();
        loop {
            let wanted = limit - targets.len();
            targets.extend(page.targets.into_iter().filter(|target| is_behind(target)).take(wanted));
            if targets.len() >= limit || next >= pages {
                return Ok(targets);
            }
            // A push that is not finished yet has fewer pages than it will have.
            let Some(found) = self.targets_of(push, next).await? else { return Ok(targets) };
            page = found;
            next += 1;
        }
    }
}
