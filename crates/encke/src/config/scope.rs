//! What a key of the server API allows.

use serde::Deserialize;

/// One thing that a key of the server API allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Push to users.
    Push,
    /// Publish to channels.
    Publish,
    /// Read who is there, what was sent and what became of it.
    Read,
    /// Close sessions and users' connections.
    Close,
    /// Read what is counted (`GET /metrics`).
    Metrics,
    /// Everything, and alone what cannot be undone.
    Admin,
}

impl Scope {
    /// The names of all.
    pub(crate) const NAMES: &[&str] = &[
        Self::Push.as_str(),
        Self::Publish.as_str(),
        Self::Read.as_str(),
        Self::Close.as_str(),
        Self::Metrics.as_str(),
        Self::Admin.as_str(),
    ];

    /// Its name in the configuration and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Close => "close",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<Scope>")]
pub struct Scopes(u8);

impl Scopes {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(1 << Scope::Admin as u8);

    /// Whether this scope is among them: [`Scope::Admin`] holds every other.
    #[must_use]
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8 | Self::ALL.0) != 0
    }
}

impl From<Vec<Scope>> for Scopes {
    fn from(scopes: Vec<Scope>) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | 1 << scope as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: [Scope; 6] =
        [Scope::Push, Scope::Publish, Scope::Read, Scope::Close, Scope::Metrics, Scope::Admin];

    #[test]
    fn each_scope_allows_itself_alone_but_admin_everything() {
        for own in EACH {
            for asked in EACH {
                let allowed = Scopes::from(vec![own]).allow(asked);
                assert_eq!(allowed, own == asked || own == Scope::Admin, "{own:?} {asked:?}");
            }
            assert!(!Scopes::NONE.allow(own));
            assert!(Scopes::ALL.allow(own));
        }
        let some = Scopes::from(vec![Scope::Push, Scope::Read]);
        assert_eq!(EACH.map(|scope| some.allow(scope)), [true, false, true, false, false, false]);
    }

    #[test]
    fn a_scope_is_read_by_its_name() {
        for scope in EACH {
            let read: Scope = serde_json::from_str(&format!("\"{}\"", scope.as_str())).unwrap();
            assert_eq!(read, scope);
        }
    }
}
