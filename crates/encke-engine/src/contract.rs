//! The contract suite: every sentence of [`crate::Engine`]'s contract as a function that panics when an
//! engine breaks it.
//!
//! An engine's own tests give it a [`Bed`] and say `encke_engine::contract_tests!(MyBed::new());`, which
//! makes one test of each sentence. [`SENTENCES`] is the same list, for other ways to run it.
//!
//! Engines of many nodes have a second suite, of what their nodes promise each other ([`crate::Cluster`], and
//! [`crate::Engine`] among nodes): give it a [`ClusterBed`] and say
//! `encke_engine::cluster_contract_tests!(MyBed::new());`. Its list is [`CLUSTER_SENTENCES`].

mod appending;
mod bed;
mod bytes;
mod cancelling;
mod circle;
mod closing;
mod cluster_bed;
mod cluster_list;
mod deleting;
mod ending;
mod feeding;
mod handing;
mod internal;
mod keys;
mod knowing;
mod lab;
mod lifetimes;
mod list;
mod modelled;
mod nodes;
mod producing;
mod reading;
mod receipts;
mod reopening;
mod sharing;
mod trimming;

pub use bed::Bed;
pub use cluster_bed::{ClusterBed, TestNode};
pub use cluster_list::{CLUSTER_SENTENCES, ClusterSentence};
pub use list::{SENTENCES, Sentence};
