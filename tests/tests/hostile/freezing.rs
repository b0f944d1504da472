//! Policies whose configured state cannot be frozen, or not in the common way: they are
//! configured in each call, or refused.

use tollgate_host::sandbox::Refused;

use crate::guest::{CONTRACT, Guest, encode};
use crate::house::{House, call, is_healthy};

/// It is let in and healthy, without being frozen.
fn assert_is_configured_in_each_call(guest: &Guest) {
    let policy =
        House::shared().load(&guest.component()).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(!policy.admitted().frozen);
    let answer = policy.check(call());
    assert!(is_healthy(&answer), "{:?}", answer.outcome);
}

#[test]
fn what_cannot_be_frozen_is_configured_in_each_call() {
    let fields = [
        "(global (mut v128) (v128.const i64x2 1 2))",
        "(global (mut funcref) (ref.null func))",
        "(table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))",
        r#"(func (export "__wizer_memory_0"))"#,
    ];
    for fields in fields {
        assert_is_configured_in_each_call(&Guest { fields, ..Guest::default() });
    }
}

/// Reading a memory out takes another page of it.
#[test]
fn a_memory_without_room_for_another_page_is_not_frozen() {
    assert_is_configured_in_each_call(&Guest { pages: "2 2", ..Guest::default() });
}

#[test]
fn a_memory_at_the_hosts_limit_is_not_frozen() {
    let configure = "(drop (memory.grow (i32.const 1022)))";
    assert_is_configured_in_each_call(&Guest { configure, ..Guest::default() });
}

#[test]
fn a_memory_of_64_bits_is_not_frozen() {
    let guest = Guest { fields: "(memory i64 1)", ..Guest::default() };
    let policy =
        House::unpooled().load(&guest.component()).unwrap_or_else(|refused| panic!("{refused}"));
    assert!(is_healthy(&policy.check(call())));
}

#[test]
fn an_export_of_the_freezers_name_is_refused_or_harmless() {
    let contract = format!(
        "{CONTRACT} package wasmtime:wizer {{ interface access {{ memory0: func() -> list<u8>; }} }}
        world test {{ export policy; export quota; export wasmtime:wizer/access; }}"
    );
    let fields = r#"(func (export "wasmtime:wizer/access#memory0") (result i32) (i32.const 0))"#;
    let guest = Guest { fields, ..Guest::default() };
    match House::shared().load(&encode(&guest.module(), &contract, "test")) {
        Ok(policy) => assert!(is_healthy(&policy.check(call()))),
        Err(refused) => assert!(matches!(refused, Refused::Invalid(_)), "{refused}"),
    }
}

#[test]
fn what_only_the_freezer_understands_is_refused() {
    for fields in [
        "(tag $tag) (func (throw $tag))",
        "(type $node (struct (field (ref null $node))))",
        "(memory 1 1 shared)",
        "(memory 1 (pagesize 1))",
        "(global (shared mut i32) (i32.const 0))",
    ] {
        let refused = House::shared().refused(&Guest { fields, ..Guest::default() }.component());
        assert!(matches!(refused, Refused::Invalid(_)), "{fields}: {refused}");
    }
}

#[test]
fn a_state_that_is_written_all_over_is_frozen_as_it_is() {
    // 1 MiB of ones, and a byte every 64 for another.
    let configure = "(local $at i32)
        (drop (memory.grow (i32.const 64)))
        (memory.fill (i32.const 131072) (i32.const 1) (i32.const 1048576))
        (local.set $at (i32.const 1179648))
        (loop
            (i32.store8 (local.get $at) (i32.const 1))
            (local.set $at (i32.add (local.get $at) (i32.const 64)))
            (br_if 0 (i32.lt_u (local.get $at) (i32.const 2228224))))";
    let check = "
        (if (i32.ne (i32.load8_u (i32.const 1179584)) (i32.const 1)) (then (unreachable)))
        (if (i32.ne (i32.load8_u (i32.const 2228160)) (i32.const 1)) (then (unreachable)))
        (if (i32.ne (i32.load8_u (i32.const 2228161)) (i32.const 0)) (then (unreachable)))";
    let policy = House::shared().policy(&Guest { configure, check, ..Guest::default() });
    assert!(policy.admitted().frozen);
    assert!(is_healthy(&policy.check(call())));
}
