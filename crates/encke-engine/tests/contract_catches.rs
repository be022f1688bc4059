//! The contract suite must be able to fail: engines with a planted defect each, and the suite catches every
//! one.
//!
//! Time is paused: it jumps to the end of a wait as soon as nothing else can happen, so what never comes is
//! found out at once.

mod beds;
mod defects;

use std::sync::Arc;

use beds::MemoryBed;
use defects::{BrokenBed, Defect};
use encke_engine::contract::SENTENCES;

/// The names of the sentences that an engine with this defect breaks.
async fn broken_sentences(defect: Option<Defect>) -> Vec<&'static str> {
    let mut broken = Vec::new();
    for sentence in SENTENCES {
        let bed = Arc::new(BrokenBed { inner: MemoryBed, defect });
        // In a task of its own, so that its panic ends it alone.
        let checked = tokio::spawn(async move { sentence.check(&*bed).await }).await;
        if checked.is_err() {
            broken.push(sentence.name);
        }
    }
    broken
}

#[tokio::test(start_paused = true)]
async fn the_wrapper_without_a_defect_keeps_the_contract() {
    assert_eq!(broken_sentences(None).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn every_planted_defect_is_caught() {
    let mut missed = Vec::new();
    for &defect in Defect::ALL {
        let broken = broken_sentences(Some(defect)).await;
        println!("{defect:?} is caught by {}: {broken:?}", broken.len());
        if broken.is_empty() {
            missed.push(defect);
        }
    }
    assert_eq!(missed, [], "of {} defects", Defect::ALL.len());
}
