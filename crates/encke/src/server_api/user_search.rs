//! Users by their ids: those that match, page by page, and how many there are. Not what is known of them.

use encke_proto::{NameFilter, UserId};

use crate::{
    app::App,
    http::{query, refusal::Refused},
};

/// Which users are searched.
pub(super) struct UserSearch {
    pub(super) filter: NameFilter,
    /// Only those who are online, or only those who are not.
    pub(super) online: Option<bool>,
    /// Behind this one.
    pub(super) after: Option<UserId>,
    /// So many at most.
    pub(super) limit: usize,
    /// Whether they are counted, in all pages.
    pub(super) count: bool,
}

/// Who was found.
pub(super) struct UsersFound {
    /// A page of them, by id.
    pub(super) ids: Vec<UserId>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<UserId>,
    /// How many there are in all pages, if they were counted.
    pub(super) total: Option<usize>,
}

impl UserSearch {
    /// Goes once through the ids of all known users, and of those who are online if it matters, and keeps in
    /// memory the ids that match.
    pub(super) async fn find(&self, app: &App) -> Result<UsersFound, Refused> {
        let _room = app.searches.acquire().await;
        // Who is offline is known only from both lists, and so is how many there are.
        let (after, limit) = match self.count {
            true => (None, usize::MAX),
            false if self.online == Some(false) => (self.after.as_ref(), usize::MAX),
            false => (self.after.as_ref(), self.limit + 1),
        };
        let live = app.sessions.online_matching(&self.filter, after, limit).await?;
        let mut ids = match self.online {
            Some(true) => live,
            Some(false) => {
                let mut known = app.engine.user_ids(&self.filter, after, limit).await?;
                known.retain(|user| live.binary_search(user).is_err());
                known
            }
            None => {
                // One who has just come may not be stored yet.
                let mut all = app.engine.user_ids(&self.filter, after, limit).await?;
                all.extend(live);
                all.sort();
                all.dedup();
                all
            }
        };
        let total = self.count.then_some(ids.len());
        if let Some(after) = &self.after {
            ids.drain(..ids.partition_point(|user| user <= after));
        }
        let next = query::cut(&mut ids, self.limit, UserId::clone);
        Ok(UsersFound { ids, next, total })
    }
}
