//! A metric of which there is one for each value of a label.

use std::borrow::Cow;

use prometheus_client::metrics::family::Family;

/// One label and its value.
type Label = [(&'static str, Cow<'static, str>); 1];

/// One metric for each value of a label. The values are the server's own words, so there are few.
#[derive(Debug)]
pub struct ByLabel<M> {
    family: Family<Label, M>,
    label: &'static str,
}

impl<M: Clone + Default> ByLabel<M> {
    /// None yet.
    pub(super) fn new(label: &'static str) -> Self {
        Self { family: Family::default(), label }
    }

    /// These values are there from the start, so that a first one counts as a rise from 0.
    pub(super) fn with(label: &'static str, values: &'static [&'static str]) -> Self {
        let metrics = Self::new(label);
        for value in values {
            metrics.of(*value);
        }
        metrics
    }

    pub(super) fn family(&self) -> Family<Label, M> {
        self.family.clone()
    }

    /// The one of this value. What is counted often keeps it.
    pub fn of(&self, value: impl Into<Cow<'static, str>>) -> M {
        self.family.get_or_create_owned(&[(self.label, value.into())])
    }

    /// Forgets the one of this value, which is told no more.
    pub fn remove(&self, value: impl Into<Cow<'static, str>>) {
        self.family.remove(&[(self.label, value.into())]);
    }
}
