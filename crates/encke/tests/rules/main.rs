//! Rules of the whole repository that a command can check. One module is one rule: a function that takes the
//! text of files and returns findings, a test that runs it on the repository, and a test that plants a
//! violation and expects the finding.
//!
//! A rule that is not kept everywhere yet has a list of exceptions in `exceptions/`. A line of it that is no
//! exception any more is a finding too, so these lists shrink.
#![allow(clippy::unwrap_used)]

mod attacks_table;
mod banned_names;
mod exceptions;
mod file_length;
mod finding;
mod function_length;
mod import_cycles;
mod imports;
mod keyed_hashing;
mod layers;
mod limits_table;
mod line_length;
mod links;
mod module_docs;
mod supply_chain;
mod text;
mod tree;

use finding::{Finding, assert_none};
