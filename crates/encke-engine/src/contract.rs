//! The contract suite: every sentence of [`crate::Engine`]'s contract as a function that panics when an engine breaks it.
//!
//! An engine's own tests give it a [`Bed`] and say `encke_engine::contract_tests!(MyBed::new());`, which makes one test of each sentence. [`SENTENCES`] is the same list
//! for those who run it differently.

mod appending;
mod bed;
mod ending;
mod feeding;
mod handing;
mod keys;
mod knowing;
mod lab;
mod list;
mod reading;
mod receipts;
mod trimming;

pub use bed::Bed;
pub use list::{SENTENCES, Sentence};
