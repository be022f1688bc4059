//! What a listener is for, as `admin_listen` decides.

/// What is served on the connections of a listener. What is not, is answered as if it were nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerRole {
    /// Everything: there is no listener for operators alone.
    #[default]
    Combined,
    /// What clients use.
    Public,
    /// What backends and operators use.
    Admin,
}

impl ListenerRole {
    /// Whether clients are served, and so requests that wait.
    #[must_use]
    pub fn serves_clients(self) -> bool {
        self != Self::Admin
    }

    /// Whether the server API is served.
    #[must_use]
    pub fn serves_operators(self) -> bool {
        self != Self::Public
    }
}
