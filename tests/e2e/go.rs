//! Go programs under the host: the ways in which they are built, and net/http as they know it.
//!
//! Without Go these tests are skipped, and say so; where CI is set they fail.

mod build;
mod checks;
mod guest;

use guest::Form;

/// Runs each check against a program built in each form.
macro_rules! in_both_forms {
    ($($check:ident),* $(,)?) => {
        mod unmodified {
            $(#[test]
            fn $check() {
                super::run(super::Form::Unmodified, super::checks::$check);
            })*
        }
        mod sdk {
            $(#[test]
            fn $check() {
                super::run(super::Form::Sdk, super::checks::$check);
            })*
        }
    };
}

in_both_forms! {
    a_client_that_goes_away_leaves_the_service_usable,
    a_panic_before_the_response_is_a_500,
    a_panic_in_the_response_cuts_the_connection,
    a_request_and_its_response_run_at_the_same_time,
    flushed_parts_arrive_one_by_one,
    goroutines_sleep_at_the_same_time,
    headers_arrive_as_they_were_sent,
    instances_are_reused,
    large_bodies_are_whole_beside_garbage_collection,
    many_requests_one_after_the_other,
    many_requests_at_once,
    statuses_are_those_of_the_program,
    the_environment_is_the_revisions,
    trailers_go_both_ways,
    what_the_program_prints_is_in_the_log,
}

fn run(form: Form, check: fn(&guest::Guest)) {
    if let Some(guest) = guest::get(form) {
        check(&guest);
    }
}
