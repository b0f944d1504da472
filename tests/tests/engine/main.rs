//! The host on a store: exact, durable and repeatable, on each of them.

mod binding;
mod charging;
mod contending;
mod erasing;
#[path = "../hostile/guest.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod guest;
mod hosts;
mod house;
mod keeping;
mod layers;
mod matters;
mod model;
mod notices;
mod operations;
mod origin;
mod pacing;
mod protocol;
mod quarantine;
mod replaying;
mod rollout;
mod rules;
mod setting;
mod swapping;
mod verifying;

use std::sync::Arc;

use house::House;
use tollgate_host::engine::{context_of, decisions, verify};
use tollgate_host::store::{BatchKey, BatchRow, Store};
use tollgate_tests::run;

/// Runs each test on both stores.
macro_rules! on_both {
    ($($module:ident: $($test:ident),* $(,)?;)*) => {
        mod postgres {
            $($(#[test]
            fn $test() {
                super::run(async {
                    super::checked(&super::house::postgres().await, async |house| {
                        super::$module::$test(house).await;
                    })
                    .await;
                });
            })*)*
        }

        mod sqlite {
            $($(#[test]
            fn $test() {
                super::run(async {
                    super::checked(&super::house::sqlite().await, async |house| {
                        super::$module::$test(house).await;
                    })
                    .await;
                });
            })*)*
        }
    };
}

on_both! {
    notices:
    an_agent_is_warned_stopped_and_comes_back_each_told_once,
    of_10_000_crossings_on_four_hosts_one_is_told,
    what_a_person_stopped_stays_stopped,
    a_month_that_opened_while_all_slept_is_opened_once,
    a_month_that_turns_as_clocks_change_is_opened_in_its_first_hour,
    the_next_look_is_at_the_tenants_full_hour,
    what_stands_at_no_period_is_told_anew_once_it_was_over,
    a_limit_grows_with_use_within_the_platforms_bounds,
    a_tenant_that_is_new_is_looked_at_at_once,
    two_policies_of_one_name_do_not_speak_for_each_other,
    a_month_starts_only_whom_its_policy_stopped,
    a_stopped_agent_that_goes_on_spending_changes_nothing,
    the_platforms_policies_speak_the_tenants_language;

    matters:
    what_the_host_has_people_told_is_in_an_alerting_policys_words,
    who_has_no_words_for_it_keeps_nobody_from_being_told,
    an_invoice_that_drifts_is_told_once_for_its_day,
    an_invoice_that_makes_no_sense_is_refused;

    origin:
    an_entry_names_who_priced_it_and_who_allowed_it;

    setting:
    a_limit_set_as_data_holds_at_once_and_knows_what_was_used,
    a_limit_set_as_data_is_fed_to_the_policy_that_reads_its_counter,
    counters_of_a_new_policy_are_filled_before_it_judges,
    what_was_extended_is_held_by_a_counter_that_is_new,
    what_a_person_disables_only_a_person_enables,
    what_one_host_disabled_another_one_enables,
    who_enables_has_the_last_word_over_who_disabled,
    an_agents_settings_hold_from_the_next_call_on,
    an_agent_that_the_platform_stopped_stays_so,
    a_tenants_limit_only_tightens,
    the_host_itself_speaks_the_tenants_language;

    rules:
    what_is_reserved_is_held_until_it_is_settled,
    what_is_released_is_given_back,
    a_reservation_ends_once,
    the_same_key_gives_the_same_answer_and_another_body_is_refused,
    more_may_be_due_than_is_read_at_a_time,
    what_fails_writes_no_answer_under_its_key,
    a_key_asked_64_times_at_once_has_one_effect,
    who_is_told_to_ask_again_hears_what_became_of_it,
    what_stood_stands_for_the_next_host,
    a_settlement_after_its_time_is_booked_and_late,
    what_expires_is_settled_in_the_same_batch,
    a_cancelled_caller_cancels_nothing,
    a_host_that_is_drained_left_nothing_undone,
    a_request_that_fails_harms_no_other,
    books_that_only_looks_fill_are_closed,
    an_agent_that_is_disabled_stays_so_for_the_next_host,
    a_tenant_that_is_not_set_up_is_named,
    an_amount_below_zero_makes_no_room;

    operations:
    what_expires_is_charged_where_the_tenant_says_so,
    reservations_of_tenants_from_whom_nothing_is_heard_expire,
    a_call_that_is_under_way_may_hold_more_and_longer,
    what_is_told_afterwards_lands_in_the_window_that_it_belongs_to,
    a_level_is_what_was_last_told_of_it,
    a_usage_is_undone_once_and_where_it_landed,
    what_landed_in_the_window_before_is_undone_there,
    a_run_counts_once_holds_many_calls_and_is_freed_by_time,
    a_call_that_is_extended_keeps_its_run,
    the_balance_is_the_sum_of_its_entries,
    what_can_be_had_is_granted_where_that_is_enough,
    a_check_answers_like_a_reservation_and_holds_nothing,
    what_makes_no_sense_is_refused_and_nothing_is_written,
    what_is_refused_by_now_is_answered_as_it_was,
    usage_is_rolled_up_once_however_many_hosts_follow_it,
    sums_that_do_not_fit_are_told_as_the_greatest_amount,
    what_names_no_model_is_part_of_the_total;

    binding:
    what_is_bound_reaches_a_host_and_a_tenant_only_tightens,
    what_cannot_be_bound_is_refused_and_nothing_changes,
    a_plan_reaches_those_who_are_on_it,
    what_does_not_load_leaves_what_served_before,
    what_cannot_be_read_is_not_left_out,
    hosts_follow_what_is_bound,
    what_takes_long_to_compile_holds_up_nobody_else,
    components_are_vouched_for_where_that_is_required,
    a_component_that_is_not_of_its_digest_is_not_loaded;

    layers:
    what_the_platform_binds_holds_whatever_a_tenant_has_bound,
    a_plan_and_the_platform_go_together,
    each_layer_is_the_last_of_it_that_loads;

    swapping:
    no_call_is_lost_or_judged_by_a_mixture_while_policies_change,
    what_is_asked_after_a_swap_is_judged_by_what_was_swapped_in,
    tasks_are_estimated_by_the_policy_that_is_bound,
    books_that_rest_are_closed_and_opened_as_they_were,
    what_is_asked_as_books_close_is_judged_by_all_that_is_known,
    a_tenant_that_is_new_is_served_at_once;

    rollout:
    a_shadow_decides_nothing_and_what_it_says_is_kept,
    a_canary_decides_for_the_same_ones_on_every_host,
    what_alerting_candidates_would_have_done_is_kept,
    a_candidates_counters_are_filled_before_it_is_asked,
    candidates_that_cannot_stand_there_are_refused;

    protocol:
    all_that_decisions_depend_on_moves_the_head,
    an_instant_never_lies_before_the_last_one,
    who_follows_by_version_and_ordinal_skips_nothing,
    a_balance_is_fed_as_entries_less_open_holds;

    pacing:
    a_tenant_whose_policies_take_long_holds_up_no_other,
    nothing_is_lost_as_a_tenant_is_slow_no_longer;

    quarantine:
    a_policy_that_keeps_failing_is_asked_no_longer,
    a_policy_that_may_fail_open_is_passed_and_said_so,
    the_platforms_policies_that_may_fail_open_are_asked_again,
    one_tenants_failures_are_not_anothers,
    failures_that_are_not_in_a_row_do_not_count,
    prices_that_keep_failing_are_asked_no_longer,
    what_the_host_cut_short_is_recorded_and_counts_for_nothing;

    replaying:
    a_candidate_shows_whom_it_would_hit,
    candidates_for_prices_are_judged_by_what_is_limited,
    what_the_host_denied_stays_denied,
    what_a_candidate_lacks_is_told,
    evidence_of_a_shadow_is_what_replay_says;

    charging:
    a_price_stands_beside_the_cost_in_an_account_of_its_own,
    what_hangs_up_is_charged_by_both,
    a_price_that_is_lacking_denies_a_call_and_no_settlement,
    a_price_that_does_not_fit_holds_up_nothing,
    what_expires_is_charged_as_it_was_held,
    what_can_be_had_is_the_least_of_all_limits_and_no_less,
    who_may_not_price_is_refused,
    a_price_follows_the_cost_that_a_candidate_tells;

    verifying:
    what_stands_otherwise_than_what_happened_is_found_and_put_right,
    what_is_put_right_of_an_account_stands_in_the_ledger,
    a_tenant_is_verified_while_its_head_is_locked,
    a_repair_loses_nothing_that_is_written_meanwhile;

    erasing:
    what_is_erased_stands_nowhere_and_all_sums_stay,
    what_is_open_is_not_erased,
    an_agent_that_is_erased_leaves_no_record,
    what_cannot_be_kept_is_not_disabled;

    keeping:
    what_was_carried_forward_still_adds_up,
    a_counter_that_is_new_is_kept_from_the_carried_instant_on,
    hosts_that_keep_up_at_the_same_time_carry_once,
    what_is_not_rolled_up_is_not_carried,
    keys_are_forgotten_in_their_time,
    a_month_in_which_an_open_reservation_began_stays,
    a_host_keeps_up_by_itself;
}

/// Whatever a test does: what stands afterwards is what happened, and follows from it.
async fn checked<S: Store>(house: &House<S>, test: impl AsyncFn(&House<S>)) {
    test(house).await;
    let differences = verify(&*house.store, &house::acme(), None).await;
    assert_eq!(differences, Ok(Vec::new()));
    judged_again(house).await;
}

/// Whatever was decided is decided again by the same policies, from what was recorded.
async fn judged_again<S: Store>(house: &House<S>) {
    let beginning = BatchKey::before(i64::MIN);
    let batches = house.store.batches(&house::acme(), beginning, 99_999).await.expect("batches");
    let decided = |batch: &BatchRow| !(batch.allowed.is_empty() && batch.denied.is_empty());
    for batch in batches.into_iter().filter(decided) {
        let context = context_of(&batch).expect("a context");
        let setup = house.setup_of(&context);
        let decisions = decisions(&batch, &setup).expect("decisions");
        assert_eq!(decisions.len(), batch.allowed.len() + batch.denied.len());
        for decision in decisions {
            assert_eq!(decision.judge_again(&setup), Vec::<usize>::new(), "{decision:?}");
            assert!(decision.follows(&setup), "{decision:?}");
        }
    }
}

/// A tenant's house on one Postgres, for several hosts.
async fn shared() -> Arc<House<tollgate_host::store::PostgresStore>> {
    Arc::new(house::postgres().await)
}

#[test]
fn hosts_hear_of_what_is_bound() {
    run(async { binding::hosts_hear_of_what_is_bound(&house::postgres().await).await });
}

#[test]
fn what_was_tampered_with_is_found() {
    run(async { replaying::what_was_tampered_with_is_found(&house::postgres().await).await });
}

/// Only where a test sets the clock.
#[test]
fn what_exceeds_its_hold_lands_in_the_window_in_which_it_is_settled() {
    run(async {
        rules::use_beyond_a_hold_lands_where_it_is_settled(&house::sqlite().await).await;
    });
}
