//! What the hub does, told as stories, one file a theme.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;
mod world;

mod beginnings;
mod catching_up;
mod churn;
mod closing;
mod crowd;
mod delivery;
mod devices;
mod engine_trouble;
mod expiring;
mod fleeting;
mod grants;
mod handover;
mod lagging;
mod limits;
mod lineage;
mod looking;
mod presence;
mod receipts;
mod retracting;
mod rules;
mod subscriptions;
mod taking_over;
