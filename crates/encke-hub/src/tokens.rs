//! What the hub keeps of the tokens that its sessions came with, so that those of a revoked one are found.

use encke_proto::{Revocation, TokenId, TokenInfo};

use crate::{Hub, Key, session::Session};

/// What stands for no token at all in [`Session::issued_s`].
const NO_TOKEN: u32 = u32::MAX;
/// What stands for a token that does not say when it was issued.
const UNSAID: u32 = 0;

impl Hub {
    /// Keeps of a session's token what a revocation may ask for.
    pub(crate) fn note_token(&mut self, key: Key, token: Option<&TokenInfo>) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.issued_s = match token {
            None => NO_TOKEN,
            Some(token) => token.issued_s.map_or(UNSAID, |seconds| {
                // A session does not last until the year 2106, from which on they would all be alike.
                u32::try_from(seconds).unwrap_or(NO_TOKEN).clamp(UNSAID + 1, NO_TOKEN - 1)
            }),
        };
        match token.and_then(|token| token.id) {
            Some(id) => drop(self.token_ids.insert(key, id)),
            None => self.forget_token(key),
        }
    }

    /// The session is gone, or has another token.
    pub(crate) fn forget_token(&mut self, key: Key) {
        // Looked up for every session that ends; most tokens have no id.
        if !self.token_ids.is_empty() {
            self.token_ids.remove(&key);
        }
    }

    /// The sessions that a revocation concerns.
    pub(crate) fn revoked(&self, revocation: &Revocation) -> Vec<Key> {
        let is_revoked = |key: Key, session: &Session| {
            let user = self.users.get(session.user);
            user.is_some_and(|user| revocation.concerns(&user.id, self.token_of(key, session).as_ref()))
        };
        match revocation {
            Revocation::Token { id } => {
                self.token_ids.iter().filter(|(_, of)| *of == id).map(|(key, _)| *key).collect()
            }
            Revocation::User { user, .. } | Revocation::Ban { user } => {
                let user = self.user_key(user).and_then(|key| self.users.get(key));
                let keys = user.map(|user| user.sessions.to_vec()).unwrap_or_default();
                let session = |key: &Key| self.sessions.get(*key).is_some_and(|it| is_revoked(*key, it));
                keys.into_iter().filter(session).collect()
            }
            Revocation::Before { .. } => {
                let all = self.sessions.iter();
                all.filter(|(key, session)| is_revoked(*key, session)).map(|(key, _)| key).collect()
            }
        }
    }

    fn token_of(&self, key: Key, session: &Session) -> Option<TokenInfo> {
        let issued_s = match session.issued_s {
            NO_TOKEN => return None,
            UNSAID => None,
            seconds => Some(u64::from(seconds)),
        };
        let id: Option<TokenId> = self.token_ids.get(&key).copied();
        Some(TokenInfo { issued_s, id })
    }
}
