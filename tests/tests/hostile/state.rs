//! What a policy cannot keep from one call to the next, and cannot draw from elsewhere.

use tollgate_host::sandbox::{Instances, Limits, Policy, Sandbox};

use crate::guest::Guest;
use crate::house::{House, call, settings};

/// The limit that the verdict names, which a guest here makes from its state.
fn limit_units(policy: &Policy) -> i128 {
    let verdict = policy.check(call()).outcome.expect("a verdict");
    verdict.findings[0].limit.expect("a limit").units()
}

/// Counts calls in a global and in memory, and says how many there were of both.
const COUNT: &str = "
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (i64.store (i32.const 70000) (i64.add (i64.load (i32.const 70000)) (i64.const 1)))
    (i64.store (global.get $limit) (i64.add (global.get $calls) (i64.load (i32.const 70000))))";

#[test]
fn nothing_is_kept_from_one_call_to_the_next() {
    // A table that could grow keeps a policy from being frozen.
    let growing = "(table $t 1 funcref)
        (func (export \"grow\") (drop (table.grow $t (ref.null func) (i32.const 1))))";
    for (fields, frozen) in [("", true), (growing, false)] {
        let fields = &format!("(global $calls (mut i64) (i64.const 0)) {fields}");
        let guest = Guest { fields, configure: COUNT, check: COUNT, ..Guest::default() };
        let policy = House::shared().policy(&guest);
        assert_eq!(policy.admitted().frozen, frozen);
        // The trial call left nothing behind either.
        for _ in 0..5 {
            assert_eq!(limit_units(&policy), 4, "once configured, once called, in both places");
        }
    }
}

#[test]
fn being_asked_for_the_schema_leaves_nothing_behind() {
    let fields = "(global $asked (mut i64) (i64.const 0))";
    let schema = "(global.set $asked (i64.const 1))";
    let check = "(i64.store (global.get $limit) (global.get $asked))";
    let policy = House::shared().policy(&Guest { fields, schema, check, ..Guest::default() });
    assert!(policy.admitted().frozen);
    assert_eq!(limit_units(&policy), 0);
}

#[test]
fn memory_that_was_grown_and_written_is_not_seen_by_the_next() {
    // Were it seen, a page would hold what the one before wrote.
    let check = "(i64.store (global.get $limit) (i64.const 0))
        (if (i32.ne (memory.size) (i32.const 2)) (then (unreachable)))
        (if (i32.ne (memory.grow (i32.const 4)) (i32.const 2)) (then (unreachable)))
        (if (i64.ne (i64.load (i32.const 200000)) (i64.const 0)) (then (unreachable)))
        (i64.store (i32.const 200000) (i64.const -1))";
    for instances in [Instances::Pooled(1), Instances::OnDemand] {
        let sandbox = Sandbox::new(settings(Limits::default(), instances)).expect("the sandbox");
        let component = Guest { check, ..Guest::default() }.component();
        let policy = sandbox.load(&component, "{}").expect("let in");
        for _ in 0..5 {
            assert_eq!(limit_units(&policy), 0, "{instances:?}");
        }
    }
}

#[test]
fn what_is_not_a_number_is_the_same_everywhere() {
    // The upper 16 bits of the one canonical NaN; x86 makes another of 0/0.
    let cases = [
        "(f64.div (f64.const 0) (f64.const 0))",
        "(f64.add (f64.const nan:0x123) (f64.const 1))",
        "(f64.sub (f64.const inf) (f64.const inf))",
        "(f64.sqrt (f64.const -1))",
    ];
    for case in cases {
        let check = &format!(
            "(i64.store (global.get $limit) (i64.shr_u (i64.reinterpret_f64 {case}) (i64.const 48)))"
        );
        let policy = House::shared().policy(&Guest { check, ..Guest::default() });
        assert_eq!(limit_units(&policy), 0x7ff8, "{case}");
    }
}

#[test]
fn relaxed_simd_is_not_relaxed() {
    // x86 alone would make 0x80000000 of it.
    let check = "(i64.store (global.get $limit) (i64.extend_i32_u (i32x4.extract_lane 0
        (i32x4.relaxed_trunc_f32x4_s (f32x4.splat (f32.const nan))))))";
    let policy = House::shared().policy(&Guest { check, ..Guest::default() });
    assert_eq!(limit_units(&policy), 0);
}
