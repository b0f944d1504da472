//! Answers that are not of the contract, in their form or in what they say.

use tollgate_host::sandbox::Fault;
use tollgate_policy_core::contract::{Decision, Request};

use crate::guest::Guest;
use crate::house::{House, assert_is_fit_to_print, call};

/// What was wrong with the answer, as the host's own check of the contract words it.
fn malformed(check: &str, text: &[u8]) -> String {
    let fault = House::shared().fault_of(check, Guest { text, ..Guest::default() });
    assert!(!fault.is_hosts());
    match fault {
        Fault::Malformed(words) => words,
        fault => panic!("{check}: faulted otherwise: {fault}"),
    }
}

/// What was wrong with the answer, as the canonical ABI words it.
fn trapped(check: &str, text: &[u8]) -> String {
    match House::shared().fault_of(check, Guest { text, pages: "200", ..Guest::default() }) {
        Fault::Trap(words) => words,
        fault => panic!("{check}: faulted otherwise: {fault}"),
    }
}

#[test]
fn decimals_are_in_range() {
    // 10^27 units lie between 54210108 and 54210109 times 2^64.
    for high in [54_210_109, -54_210_110, i64::MAX, i64::MIN] {
        let check = format!("(i64.store offset=8 (global.get $limit) (i64.const {high}))");
        let words = malformed(&check, b"");
        assert!(words.contains("10^15"), "{check}: {words}");
    }
}

#[test]
fn findings_are_of_counters_that_there_are() {
    for counter in ["1", "-1"] {
        let check = format!("(i32.store offset=4 (global.get $finding) (i32.const {counter}))");
        assert!(malformed(&check, b"").ends_with("of 1"), "{counter}");
    }
}

/// Grants the quantity that lies ready.
const GRANT: &str = "
    (i32.store (global.get $verdict) (i32.const 1))
    (i32.store offset=8 (global.get $verdict) (global.get $quantity))
    (i32.store offset=12 (global.get $verdict) (i32.const 1))";

#[test]
fn a_grant_is_for_those_who_take_less_than_they_ask() {
    assert!(malformed(GRANT, b"").contains("not partial"));
    let check = &format!("(if (local.get $partial) (then {GRANT}))");
    let policy = House::shared().policy(&Guest { check, ..Guest::default() });
    let partial = policy.check(Request { partial: true, ..call() }).outcome;
    assert!(matches!(partial.expect("a verdict").decision, Decision::Grant(_)));
    let whole = policy.check(call()).outcome;
    assert_eq!(whole.expect("a verdict").decision, Decision::Allow);
}

#[test]
fn nothing_below_zero_is_granted() {
    // The trial call is not partial, so that the guest gets in.
    let check = &format!(
        "(if (local.get $partial) (then {GRANT} (i64.store offset=16 (global.get $quantity) (i64.const -1))))"
    );
    let policy = House::shared().policy(&Guest { check, ..Guest::default() });
    let fault = policy.check(Request { partial: true, ..call() }).outcome.expect_err("a fault");
    assert!(matches!(&fault, Fault::Malformed(words) if words.contains("a grant of -")), "{fault}");
}

#[test]
fn names_in_an_answer_are_of_the_contract_and_hold_no_escapes() {
    let check = format!("{GRANT} (call $put (global.get $quantity))");
    for text in [&b""[..], b"Tokens", b"\x1b[2J\x1b]0;owned\x07", &[b'a'; 5_000]] {
        let words = malformed(&check, text);
        assert!(words.contains("is not a meter"), "{words:?}");
        assert_is_fit_to_print(&words);
    }
}

#[test]
fn enums_variants_and_options_are_of_the_contract() {
    let cases = [
        "(i32.store8 (global.get $verdict) (i32.const 3))",
        "(i32.store8 (global.get $verdict) (i32.const 255))",
        "(i32.store8 (global.get $status) (i32.const 5))",
        "(i32.store8 (global.get $finding) (i32.const 2))",
    ];
    for check in cases {
        let words = trapped(check, b"");
        assert!(words.contains("discriminant") || words.contains("unexpected"), "{check}: {words}");
    }
}

#[test]
fn strings_are_utf_8() {
    // A stray byte, a cut sequence, an overlong slash, a surrogate, and one beyond Unicode.
    let texts = [&b"\xff"[..], b"caf\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"];
    for text in texts {
        let words = trapped("(call $put (global.get $message))", text);
        assert!(words.contains("utf-8"), "{text:x?}: {words}");
    }
}

#[test]
fn pointers_stay_within_memory_and_aligned() {
    let cases = [
        ("(return (i32.const -8))", "out of bounds"),
        ("(return (i32.const 0x7ffffff8))", "out of bounds"),
        ("(return (i32.const 257))", "not aligned"),
        ("(i32.store (global.get $message) (i32.const -1))", "out of bounds"),
        ("(i32.store offset=4 (global.get $message) (i32.const -1))", "out of bounds"),
        ("(i32.store (global.get $findings) (i32.const -80))", "out of bounds"),
        ("(i32.store (global.get $findings) (i32.const 321))", "not aligned"),
    ];
    for (check, expected) in cases {
        let words = trapped(check, b"");
        assert!(words.contains(expected), "{check}: {words}");
    }
}

#[test]
fn lists_longer_than_memory_are_not_read() {
    for length in ["0x10000000", "0x7fffffff", "-1"] {
        for list in ["$findings", "$facts"] {
            let check = format!("(i32.store offset=4 (global.get {list}) (i32.const {length}))");
            let words = trapped(&check, b"");
            assert!(words.contains("out of bounds"), "{check}: {words}");
        }
    }
}

#[test]
fn answers_are_small() {
    let long = "(i32.store (global.get $message) (i32.const 65536))
        (i32.store offset=4 (global.get $message) (i32.const 10000000))";
    // The same 50 KB, said a thousand times.
    let repeated = "(i32.store (global.get $message) (i32.const 65536))
        (i32.store offset=4 (global.get $message) (i32.const 50000))
        (i32.store (global.get $findings) (i32.const 131072))
        (i32.store offset=4 (global.get $findings) (i32.const 1000))
        (call $repeat)";
    let many = "(i32.store offset=4 (global.get $facts) (i32.const 400000))";
    let fields = "(func $repeat (local $to i32)
        (local.set $to (i32.const 131072))
        (loop
            (memory.copy (local.get $to) (global.get $finding) (i32.const 80))
            (local.set $to (i32.add (local.get $to) (i32.const 80)))
            (br_if 0 (i32.lt_u (local.get $to) (i32.const 211072)))))";
    for check in [long, repeated, many] {
        let guest = Guest { pages: "200", fields, ..Guest::default() };
        assert_eq!(House::shared().fault_of(check, guest), Fault::Output, "{check}");
    }
}
