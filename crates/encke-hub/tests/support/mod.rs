//! What the stories and the simulation share: logs as an engine keeps them, and small makers of names. Each
//! uses its part of it.
#![allow(dead_code)]

pub mod log;
pub mod random;

use encke_proto::{ChannelName, SessionId, UserId};

pub fn channel(name: &str) -> ChannelName {
    ChannelName::any(name).unwrap()
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn session(n: u128) -> SessionId {
    SessionId::from_bits(n)
}
