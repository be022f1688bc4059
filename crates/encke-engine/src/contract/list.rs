//! The list of the contract's tests for a single engine, and the macros that make a test function of each. A
//! test that is missing from this list does not run.

use std::{fmt, future::Future, pin::Pin};

use super::{
    Bed, appending, bytes, cancelling, closing, deleting, ending, feeding, handing, internal, keys, knowing,
    lifetimes, modelled, producing, reading, receipts, reopening, trimming,
};

/// A sentence being checked.
type Check<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A sentence of the contract.
pub struct Sentence {
    /// What it says.
    pub name: &'static str,
    check: for<'a> fn(&'a dyn Bed) -> Check<'a>,
}

impl Sentence {
    /// Puts an engine to the test.
    ///
    /// # Panics
    /// When the engine does not keep the sentence.
    pub async fn check(&self, bed: &dyn Bed) {
        (self.check)(bed).await;
    }

    /// The sentence with this name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(name: &str) -> &'static Self {
        SENTENCES.iter().find(|sentence| sentence.name == name).expect("the sentence is in the list")
    }
}

impl fmt::Debug for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The one list of all sentences: what it is given is a macro that makes something of them.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_sentences {
    ([$($make:tt)*] $($rest:tt)*) => {
        $($make)* ! {
            [$($rest)*]
            appending::what_was_appended_is_read_back_as_it_was
            appending::one_append_reaches_every_target
            appending::a_target_named_twice_gets_one_message
            appending::offsets_rise_by_one_from_one
            appending::offsets_rise_by_one_under_concurrent_appends
            appending::offsets_are_never_given_twice
            appending::a_push_goes_to_the_own_channels_of_its_users
            appending::a_push_to_all_reaches_all_known_users
            appending::a_push_to_all_of_no_users_is_accepted
            bytes::bytes_are_kept_as_they_are_with_their_content_type
            bytes::bytes_are_counted_without_their_content_type
            keys::a_repeated_key_appends_nothing_and_returns_the_first_result
            keys::a_key_that_comes_with_another_request_is_refused
            keys::of_concurrent_appends_with_one_key_and_two_requests_one_is_done
            keys::of_concurrent_appends_with_one_key_one_appends
            keys::two_scopes_share_no_key
            keys::a_repeated_push_returns_every_place_in_order
            keys::a_key_is_kept_for_its_time_and_not_for_ever
            keys::a_key_outlives_a_clock_that_is_set
            keys::a_key_outlives_its_message
            keys::a_user_with_many_keys_takes_no_others_room
            reading::forwards_is_exact_from_every_position
            reading::backwards_is_exact_from_every_position
            reading::the_head_alone_brings_no_messages
            reading::limits_hold_but_one_message_always_comes
            reading::pages_put_together_are_the_log
            reading::a_channel_without_messages_is_an_empty_log
            reading::expired_messages_leave_no_hole
            trimming::retention_by_count_keeps_the_newest
            trimming::retention_by_bytes_keeps_the_newest
            trimming::retention_by_age_trims_in_the_sweep
            trimming::the_first_rule_that_fits_wins
            trimming::the_sweep_trims_what_expired_at_the_tail
            reopening::what_is_kept_is_counted
            reopening::other_rules_of_retention_hold_from_then_on
            trimming::a_shared_body_lives_as_long_as_one_log_holds_it
            receipts::receipts_go_from_queued_over_delivered_to_shown
            receipts::receipts_never_go_back
            receipts::a_push_that_was_not_handed_in_time_is_expired
            receipts::what_was_skipped_as_expired_is_not_delivered_by_what_follows
            receipts::a_trimmed_push_is_expired
            receipts::each_receipt_of_a_push_expires_with_the_log_that_it_is_for
            receipts::shown_can_be_said_after_the_message_is_gone
            receipts::marks_of_another_epoch_or_user_change_nothing
            receipts::receipts_come_in_pages_by_user
            receipts::totals_are_the_receipts_counted
            receipts::receipts_of_one_state_come_in_pages_by_user
            receipts::receipts_outlive_their_messages_but_not_for_ever
            handing::a_new_user_begins_before_the_first_push
            handing::handed_moves_with_delivered_and_never_back
            feeding::the_feed_gets_every_message_once_and_in_order
            feeding::the_feed_gets_every_target_of_an_append
            feeding::the_feed_hears_nothing_of_a_repeat
            knowing::users_are_known_who_were_seen_or_pushed_to
            knowing::a_user_who_was_never_here_is_forgotten_with_the_last_message
            knowing::last_seen_moves_forward_only
            knowing::users_come_in_pages_by_id
            knowing::channels_come_in_pages_by_name_without_those_of_users
            knowing::names_that_match_come_in_order_and_in_pages
            knowing::a_trimmed_channel_is_still_known
            internal::an_internal_channel_is_a_log_like_others
            internal::an_internal_channel_is_there_after_a_reopening
            deleting::a_deleted_channel_is_gone
            deleting::no_cursor_of_a_deleted_log_is_a_place_in_a_new_one
            deleting::a_deleted_user_is_gone
            deleting::a_key_of_a_deleted_log_is_forgotten
            deleting::the_keys_of_a_deleted_user_are_forgotten
            deleting::a_repeat_to_many_leaves_out_who_was_deleted
            deleting::a_key_of_which_nothing_is_left_takes_another_request
            deleting::the_feed_is_told_of_a_deletion
            deleting::a_deletion_comes_before_or_after_each_append
            closing::a_closed_log_takes_nothing_more
            closing::one_closed_log_of_very_many_refuses_an_append_whole
            closing::a_message_and_the_end_come_as_one
            closing::an_empty_log_can_be_made_and_closed
            closing::a_closed_log_that_is_deleted_can_be_made_anew
            closing::a_log_is_created_once_and_tells_what_it_is_set_to
            closing::the_log_of_a_user_cannot_be_changed
            producing::a_producers_sequences_are_taken_once_and_in_order
            producing::producers_do_not_know_each_other
            producing::of_concurrent_repeats_one_is_done
            producing::a_repeat_of_the_last_change_is_answered_by_a_closed_log
            producing::a_producer_outlives_a_clock_that_is_set
            producing::a_log_remembers_a_bounded_number_of_producers
            lifetimes::a_log_ends_at_its_time_as_if_it_was_deleted
            lifetimes::an_idle_log_ends_and_one_that_is_used_does_not
            lifetimes::a_lifetime_can_be_set_later_and_taken_away
            lifetimes::a_log_that_has_ended_takes_no_appends
            lifetimes::a_log_that_has_ended_is_not_changed_any_more
            cancelling::a_cancelled_push_is_told_as_expired_where_it_was_queued
            cancelling::only_what_is_queued_can_be_cancelled
            cancelling::a_push_to_all_and_one_to_many_are_cancelled_for_each
            cancelling::the_feed_is_told_of_a_cancellation
            cancelling::a_cancelled_message_is_trimmed_like_others
            modelled::pushes_marks_cancellations_and_deletions_are_as_in_a_model
            ending::an_engine_is_ready_until_it_stops
            ending::a_reopened_engine_has_its_log_or_another_epoch
            reopening::a_key_is_kept_for_its_time_over_a_reopening
            reopening::what_was_deleted_stays_so_at_a_reopening
            reopening::what_is_known_of_a_log_stays_so_at_a_reopening
            reopening::what_was_cancelled_stays_so_at_a_reopening
            reopening::nothing_begins_anew_at_a_reopening
        }
    };
}

macro_rules! make_list {
    ([] $($module:ident :: $name:ident)*) => {
        /// All sentences of the contract.
        pub const SENTENCES: &[Sentence] = &[
            $(Sentence { name: stringify!($name), check: |bed| Box::pin($module::$name(bed)) }),*
        ];
    };
}

contract_sentences!([make_list]);

/// One test for each sentence of the contract, each with a bed of its own that the given expression makes.
/// With `ignored: "why",` before it, each is ignored unless it is asked for.
#[macro_export]
macro_rules! contract_tests {
    (ignored: $why:literal, $bed:expr) => {
        $crate::contract_sentences!([$crate::contract_test_functions] [#[ignore = $why]] $bed);
    };
    ($bed:expr) => {
        $crate::contract_sentences!([$crate::contract_test_functions] [] $bed);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! contract_test_functions {
    ([$attributes:tt $bed:expr] $($module:ident :: $name:ident)*) => {
        $($crate::contract_test_function!($attributes $bed, $name);)*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! contract_test_function {
    ([$(#[$attribute:meta])*] $bed:expr, $name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() {
            $crate::contract::Sentence::named(stringify!($name)).check(&$bed).await;
        }
    };
}
