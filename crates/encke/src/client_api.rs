//! The control requests of clients: POST, JSON, never held.

pub(crate) mod ack;
pub(crate) mod close;
pub(crate) mod cookie;
pub(crate) mod held;
pub(crate) mod history;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod refresh;
pub(crate) mod subscribe;
pub(crate) mod ticket;
