//! When it is time to look whether a user has too many idempotency keys. The keys themselves are messages in
//! the stream; how old they are, `kept_times.rs` knows.

use std::sync::{Mutex, PoisonError};

use encke_proto::UserId;

use super::recent::Recent;
use crate::USER_KEYS_MAX;

/// After how many keys of a user through this node the oldest are to be forgotten.
const LOOK_AFTER_KEYS: usize = USER_KEYS_MAX / 4;
/// Half of the users whose keys are counted. Of one who is forgotten here, fewer keys than that came lately.
const USERS_MAX: usize = 16_384;

/// How many keys of each user came through this node.
#[derive(Debug)]
pub(super) struct UserKeys(Mutex<Recent<UserId, usize>>);

impl Default for UserKeys {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(USERS_MAX)))
    }
}

impl UserKeys {
    /// One more came. Says whether it is time to have the oldest forgotten.
    pub(super) fn count(&self, user: &UserId) -> bool {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.get(user).map_or(0, |count| *count) + 1;
        let is_time = count >= LOOK_AFTER_KEYS;
        users.insert(user.clone(), if is_time { 0 } else { count });
        is_time
    }
}
