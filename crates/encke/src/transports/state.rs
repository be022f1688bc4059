//! What is kept of a connection besides the few bytes in its slot, in a box that only those have who need it.

use std::{any::Any, fmt};

use super::Duplex;

/// What is kept of a connection besides.
pub enum ConnectionState {
    /// Of a duplex connection.
    Duplex(Duplex),
    /// Of a request that waits: a value of a type of its dialect's own.
    Request(Box<dyn Any + Send>),
}

impl ConnectionState {
    /// What is kept of a duplex connection.
    #[must_use]
    pub fn duplex(&self) -> Option<&Duplex> {
        match self {
            Self::Duplex(duplex) => Some(duplex),
            Self::Request(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn duplex_mut(&mut self) -> Option<&mut Duplex> {
        match self {
            Self::Duplex(duplex) => Some(duplex),
            Self::Request(_) => None,
        }
    }
}

/// Says of which kind it is; what a dialect keeps may be secret.
impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Duplex(_) => "Duplex",
            Self::Request(_) => "Request",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each WebSocket.
    #[test]
    fn the_state_of_a_websocket_costs_no_more_than_the_websocket() {
        assert_eq!(size_of::<ConnectionState>(), size_of::<Duplex>());
        assert!(size_of::<Duplex>() <= 72, "{}", size_of::<Duplex>());
    }
}
