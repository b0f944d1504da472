//! Policies that trap, wherever a call passes through them.

use tollgate_host::sandbox::{Fault, Limits, Refused};

use crate::guest::{Guest, later};
use crate::house::{House, call, is_healthy, sandbox, wordy_call};

/// More bytes than any string of the trial call has.
const WORDY: usize = 5_000;

/// What the trap said.
fn words(fault: Fault) -> String {
    assert!(!fault.is_hosts());
    match fault {
        Fault::Trap(words) => words,
        fault => panic!("faulted otherwise: {fault}"),
    }
}

#[test]
fn a_trap_in_check_is_a_trap() {
    let cases = [
        ("(unreachable)", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", "overflow"),
        ("(drop (i32.trunc_f64_s (f64.const nan)))", "conversion to integer"),
        ("(drop (i32.load (i32.const -1)))", "out of bounds memory"),
        ("(i32.store (i32.const 131072) (i32.const 1))", "out of bounds memory"),
        ("(call_indirect (i32.const 9))", "undefined element"),
        ("(call_indirect (i32.const 0))", "uninitialized element"),
    ];
    for (check, expected) in cases {
        let guest = Guest { fields: "(table 1 funcref)", ..Guest::default() };
        let words = words(House::shared().fault_of(check, guest));
        assert!(words.contains(expected), "{check}: {words}");
    }
}

#[test]
fn a_trap_in_realloc_is_a_trap() {
    let house = House::shared();
    let cases = [
        ("(unreachable)", "unreachable"),
        ("(return (i32.const -8))", "realloc return"),
        ("(return (i32.const 131072))", "realloc return"),
    ];
    for (body, expected) in cases {
        let realloc = &format!("(if (i32.gt_u (local.get $size) (i32.const 4096)) (then {body}))");
        let policy = house.policy(&Guest { realloc, ..Guest::default() });
        let fault = policy.check(wordy_call(WORDY)).outcome.expect_err("a fault");
        let words = words(fault);
        assert!(words.contains(expected), "{body}: {words}");
        assert!(is_healthy(&policy.check(call())), "the next call is not affected");
        house.assert_neighbour_is_well();
    }
}

#[test]
fn an_endless_realloc_runs_out_of_fuel() {
    let house = House::shared();
    let realloc = "(if (i32.gt_u (local.get $size) (i32.const 4096)) (then (loop (br 0))))";
    let policy = house.policy(&Guest { realloc, ..Guest::default() });
    assert_eq!(policy.check(wordy_call(WORDY)).outcome, Err(Fault::Fuel));
    house.assert_neighbour_is_well();
}

#[test]
fn a_trap_after_the_answer_is_a_trap() {
    let house = House::shared();
    let policy = house.policy(&Guest { post: &later("(unreachable)"), ..Guest::default() });
    assert!(words(house.fault(&policy)).contains("unreachable"));
    let policy = house.policy(&Guest { post: &later("(loop (br 0))"), ..Guest::default() });
    assert_eq!(house.fault(&policy), Fault::Fuel);
}

/// The fuel decides at which instruction a call is cut off, in the trial or in service.
#[test]
fn a_call_cut_off_at_any_instruction_is_out_of_fuel_and_nothing_else() {
    let house = House::shared();
    let component =
        Guest { post: "(drop (i32.add (i32.const 1) (i32.const 2)))", ..Guest::default() }
            .component();
    let whole = house.load(&component).expect("let in").check(wordy_call(8));
    assert!(is_healthy(&whole), "{whole:?}");
    let answered: Vec<bool> = (0..=whole.fuel + 1)
        .map(|call_fuel| {
            let limits = Limits { call_fuel, ..Limits::default() };
            let outcome = match sandbox(limits).load(&component, "{}") {
                Ok(policy) => policy.check(wordy_call(8)).outcome,
                Err(Refused::Trial { fault, .. }) => Err(fault),
                Err(refused) => panic!("refused otherwise: {refused}"),
            };
            assert!(
                outcome == whole.outcome || outcome == Err(Fault::Fuel),
                "with {call_fuel} of fuel: {outcome:?}"
            );
            outcome.is_ok()
        })
        .collect();
    assert!(answered.is_sorted(), "more fuel is not worse: {answered:?}");
    assert_eq!((answered.first(), answered.last()), (Some(&false), Some(&true)));
    house.assert_neighbour_is_well();
}
