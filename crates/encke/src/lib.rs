//! The server of Encke.

pub mod shards;
