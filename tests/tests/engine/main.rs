//! The host on a store: exact, durable and repeatable, on each of them.

mod hosts;
mod house;
mod rules;

use std::sync::Arc;

use house::House;
use tollgate_tests::run;

/// Runs each of `rules` on both stores.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod postgres {
            $(#[test]
            fn $test() {
                super::run(async {
                    super::rules::$test(&super::house::postgres().await).await;
                });
            })*
        }

        mod sqlite {
            $(#[test]
            fn $test() {
                super::run(async {
                    super::rules::$test(&super::house::sqlite().await).await;
                });
            })*
        }
    };
}

on_both! {
    what_is_reserved_is_held_until_it_is_settled,
    what_is_released_is_given_back,
    a_reservation_ends_once,
    the_same_key_gives_the_same_answer_and_another_body_is_refused,
    a_key_asked_64_times_at_once_has_one_effect,
    what_stood_stands_for_the_next_host,
    a_settlement_after_its_time_is_booked_and_late,
    a_cancelled_caller_cancels_nothing,
    a_request_that_fails_harms_no_other,
    an_agent_that_is_disabled_stays_so_for_the_next_host,
    a_tenant_that_is_not_set_up_is_named,
    an_amount_below_zero_makes_no_room,
}

/// A tenant's house on one Postgres, for several hosts.
async fn shared() -> Arc<House<tollgate_host::store::PostgresStore>> {
    Arc::new(house::postgres().await)
}

/// Only where a test sets the clock.
#[test]
fn what_exceeds_its_hold_lands_in_the_window_in_which_it_is_settled() {
    run(async {
        rules::use_beyond_a_hold_lands_where_it_is_settled(&house::sqlite().await).await;
    });
}
