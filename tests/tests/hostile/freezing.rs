//! Policies whose configured state cannot be frozen, or not in the common way: they are
//! configured in each call, or refused.

use tollgate_host::sandbox::Refused;

use crate::guest::{CONTRACT, Guest, encode};
use crate::house::{House, call, is_healthy};

#[test]
fn what_cannot_be_frozen_is_configured_in_each_call() {
    let house = House::shared();
    let cases = [
        // Reading a memory out takes another page, which these cannot have.
        ("memory at its own limit", Guest { pages: "2 2", ..Guest::default() }),
        (
            "memory at the host's limit",
            Guest { configure: "(drop (memory.grow (i32.const 1022)))", ..Guest::default() },
        ),
        ("a memory of 64 bits", Guest { fields: "(memory i64 1)", ..Guest::default() }),
        (
            "a vector",
            Guest { fields: "(global (mut v128) (v128.const i64x2 1 2))", ..Guest::default() },
        ),
        (
            "a reference",
            Guest { fields: "(global (mut funcref) (ref.null func))", ..Guest::default() },
        ),
        (
            "a table that is written to",
            Guest {
                fields: "(table $t 1 funcref)",
                configure: "(table.set $t (i32.const 0) (ref.null func))",
                ..Guest::default()
            },
        ),
        (
            "a name of the tool's own",
            Guest { fields: r#"(func (export "__wizer_memory_0"))"#, ..Guest::default() },
        ),
    ];
    for (what, guest) in cases {
        let policy =
            house.load(&guest.component()).unwrap_or_else(|refused| panic!("{what}: {refused}"));
        assert!(!policy.admitted().frozen, "{what}");
        let answer = policy.check(call());
        assert!(is_healthy(&answer), "{what}: {:?}", answer.outcome);
    }
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
        "(memory 1 1 shared)",
        "(memory 1 (pagesize 1))",
        "(global (mut i32) (i32.const 0)) (global (shared mut i32) (i32.const 0))",
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
