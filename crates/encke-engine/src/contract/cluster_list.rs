//! The list of the contract's tests for engines of several nodes, and the macros that make a test function of
//! each. The tests themselves are in `nodes.rs` and `sharing.rs`.

use std::{fmt, future::Future, pin::Pin};

use super::{ClusterBed, nodes, sharing};

/// A sentence being checked.
type Check<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A sentence of the contract of engines of many nodes.
pub struct ClusterSentence {
    /// What it says.
    pub name: &'static str,
    check: for<'a> fn(&'a dyn ClusterBed) -> Check<'a>,
}

impl ClusterSentence {
    /// Puts an engine's nodes to the test.
    ///
    /// # Panics
    /// When they do not keep the sentence.
    pub async fn check(&self, bed: &dyn ClusterBed) {
        (self.check)(bed).await;
    }

    /// The sentence with this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> &'static Self {
        CLUSTER_SENTENCES.iter().find(|sentence| sentence.name == name).expect("the sentence is in the list")
    }
}

impl fmt::Debug for ClusterSentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The one list of what nodes promise: what it is given is a macro that makes something of them.
#[doc(hidden)]
#[macro_export]
macro_rules! cluster_sentences {
    ([$($make:tt)*] $($rest:tt)*) => {
        $($make)* ! {
            [$($rest)*]
            nodes::every_node_that_beats_is_a_member
            nodes::a_node_that_is_silent_is_not_counted_for_long
            nodes::who_resigned_does_not_live
            nodes::after_a_loss_of_everything_all_begin_another_incarnation
            nodes::a_message_arrives_whole_at_its_node
            nodes::a_message_for_another_incarnation_does_not_arrive
            nodes::a_user_is_where_it_was_entered
            nodes::places_follow_in_the_order_of_the_calls
            nodes::who_lives_anew_is_not_entered
            nodes::a_ticket_is_spent_once_by_the_first_caller
            nodes::a_session_that_was_marked_closed_is_found_by_its_user_until_its_time_is_over
            sharing::what_one_node_appends_every_node_reads
            sharing::offsets_rise_by_one_under_appends_of_two_nodes
            sharing::keys_are_shared_between_nodes
            sharing::receipts_and_handed_are_shared_between_nodes
            sharing::a_node_that_watches_is_told_of_what_another_appends
            sharing::a_node_that_does_not_watch_is_not_told
            sharing::a_read_after_a_watch_misses_nothing
            sharing::a_lost_wake_up_is_found
            sharing::what_one_node_deletes_is_gone_at_every_node
            sharing::a_change_of_a_log_holds_at_every_node
            sharing::an_end_that_was_not_told_is_found
            sharing::a_user_without_a_log_who_is_deleted_is_known_again_by_a_push_at_another_node
            sharing::what_one_node_cancels_is_cancelled_at_every_node
        }
    };
}

macro_rules! make_list {
    ([] $($module:ident :: $name:ident)*) => {
        /// All sentences of the contract of engines of many nodes.
        pub const CLUSTER_SENTENCES: &[ClusterSentence] = &[
            $(ClusterSentence { name: stringify!($name), check: |bed| Box::pin($module::$name(bed)) }),*
        ];
    };
}

cluster_sentences!([make_list]);

/// One test for each sentence of what nodes promise, each with a bed of its own that the given expression
/// makes. With `ignored: "why",` before it, each is ignored unless it is asked for.
#[macro_export]
macro_rules! cluster_contract_tests {
    (ignored: $why:literal, $bed:expr) => {
        $crate::cluster_sentences!([$crate::cluster_contract_test_functions] [#[ignore = $why]] $bed);
    };
    ($bed:expr) => {
        $crate::cluster_sentences!([$crate::cluster_contract_test_functions] [] $bed);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! cluster_contract_test_functions {
    ([$attributes:tt $bed:expr] $($module:ident :: $name:ident)*) => {
        $($crate::cluster_contract_test_function!($attributes $bed, $name);)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! cluster_contract_test_function {
    ([$(#[$attribute:meta])*] $bed:expr, $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() {
            $crate::contract::ClusterSentence::named(stringify!($name)).check(&$bed).await;
        }
    };
}
