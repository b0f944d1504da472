//! What a policy may spend: fuel, time, stack, memory, tables and handles.

use tollgate_host::sandbox::{Fault, Limits, Refused};

use crate::guest::{CONTRACT, Guest, encode, later};
use crate::house::{House, call, is_healthy};

const LOOP: &str = "(loop (br 0))";

/// Traps where memory is denied.
const GROW_TO_1_GB: &str =
    "(if (i32.eq (memory.grow (i32.const 16384)) (i32.const -1)) (then (unreachable)))";

/// The fault that a guest is refused for before it is tried.
fn fault_on_configuring(house: &House, guest: &Guest) -> Fault {
    match house.refused(&guest.component()) {
        Refused::Configure(fault) => fault,
        refused => panic!("refused otherwise: {refused}"),
    }
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let house = House::shared();
    assert_eq!(house.fault_of(LOOP, Guest::default()), Fault::Fuel);
    let fields = "(func $again (return_call $again))";
    assert_eq!(house.fault_of("(call $again)", Guest { fields, ..Guest::default() }), Fault::Fuel);
}

#[test]
fn an_endless_loop_on_the_way_in_runs_out_of_fuel() {
    let house = House::with(Limits { configure_fuel: 10_000_000, ..Limits::default() });
    let guests = [
        Guest { configure: LOOP, ..Guest::default() },
        Guest { schema: LOOP, ..Guest::default() },
        Guest { realloc: LOOP, ..Guest::default() },
        Guest { fields: "(func $start (loop (br 0))) (start $start)", ..Guest::default() },
    ];
    for guest in guests {
        assert_eq!(fault_on_configuring(&house, &guest), Fault::Fuel);
    }
}

/// At the price of one unit each would outlast the clock, and the host would have to end it.
#[test]
fn instructions_cost_fuel_by_what_they_take() {
    let fields = r#"(global $left (mut i32) (i32.const 1000))
        (table $t 1 funcref) (elem $e declare func $f) (func $f) (data $d "d")"#;
    // The least that a thousand of each come to, in thousands.
    let repeated = [
        ("(memory.fill (i32.const 65536) (i32.const 0) (i32.const 4096))", 4_096),
        ("(memory.copy (i32.const 65536) (i32.const 0) (i32.const 4096))", 4_096),
        ("(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))", 30),
        ("(memory.copy (i32.const 0) (i32.const 0) (i32.const 0))", 30),
        ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0))", 30),
        ("(data.drop $d)", 30),
        ("(elem.drop $e)", 30),
        ("(table.fill $t (i32.const 0) (ref.null func) (i32.const 0))", 30),
        ("(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 0))", 30),
        ("(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 0))", 30),
        ("(drop (ref.func $f))", 30),
        ("(drop (memory.grow (i32.const 0)))", 255),
        ("(drop (table.grow $t (ref.null func) (i32.const 0)))", 255),
        ("(drop (i64.div_u (i64.const 7) (i64.const 3)))", 8),
        ("(drop (i64.rem_s (i64.const -7) (i64.const 3)))", 8),
        ("(drop (i32.rem_u (i32.const 7) (i32.const 3)))", 8),
    ];
    let house = House::shared();
    let fuel = |body: &str| {
        let check = format!(
            "(loop {body}
                (global.set $left (i32.sub (global.get $left) (i32.const 1)))
                (br_if 0 (global.get $left)))"
        );
        let answer =
            house.policy(&Guest { fields, check: &check, ..Guest::default() }).check(call());
        assert!(is_healthy(&answer), "{body}: {:?}", answer.outcome);
        answer.fuel
    };
    let idle = fuel("");
    for (body, thousands) in repeated {
        let spent = fuel(body) - idle;
        assert!(spent >= thousands * 1_000, "{body}: {spent}");
    }
    let grow = "(drop (memory.grow (i32.const 100)))";
    let guest = Guest { check: grow, ..Guest::default() };
    let spent = house.policy(&guest).check(call()).fuel;
    assert!(spent > 100 * 255, "{spent}");
}

#[test]
fn an_endless_loop_of_costly_instructions_runs_out_of_fuel() {
    let check = "(loop (memory.fill (i32.const 65536) (i32.const 0) (i32.const 65536)) (br 0))";
    assert_eq!(House::shared().fault_of(check, Guest::default()), Fault::Fuel);
}

#[test]
fn time_stops_what_fuel_does_not() {
    let limits = Limits { call_fuel: u64::MAX, call_ms: 100, ..Limits::default() };
    let house = House::with(limits);
    let fault = house.fault_of(LOOP, Guest::default());
    assert_eq!(fault, Fault::Time);
    assert!(fault.is_hosts());
}

#[test]
fn time_stops_a_configure_that_fuel_does_not() {
    let limits = Limits { configure_fuel: u64::MAX, compile_seconds: 1, ..Limits::default() };
    let guest = Guest { configure: LOOP, ..Guest::default() };
    assert_eq!(fault_on_configuring(&House::with(limits), &guest), Fault::Time);
}

#[test]
fn deep_recursion_exhausts_the_stack() {
    let fields = "(func $deep (result i32) (i32.add (call $deep) (i32.const 1)))";
    let guest = Guest { fields, ..Guest::default() };
    assert_eq!(House::shared().fault_of("(drop (call $deep))", guest), Fault::Stack);
}

#[test]
fn memory_grows_to_its_limit_and_no_further() {
    let house = House::unpooled();
    assert_eq!(house.fault_of(GROW_TO_1_GB, Guest::default()), Fault::Memory);
    // 600 pages twice are 75 MiB: within the limit each, and not together.
    let fields = "(memory $other 1)";
    let check = "(drop (memory.grow $other (i32.const 600)))
        (if (i32.eq (memory.grow (i32.const 600)) (i32.const -1)) (then (unreachable)))";
    assert_eq!(house.fault_of(check, Guest { fields, ..Guest::default() }), Fault::Memory);
    let configure = Guest { configure: GROW_TO_1_GB, ..Guest::default() };
    assert_eq!(fault_on_configuring(house, &configure), Fault::Memory);
}

#[test]
fn a_policy_that_is_denied_memory_may_go_on_without() {
    let check = "(drop (memory.grow (i32.const 16384)))";
    let policy = House::shared().policy(&Guest { check, ..Guest::default() });
    assert!(is_healthy(&policy.check(call())));
}

#[test]
fn memories_over_the_limit_are_not_instantiated() {
    let house = House::shared();
    let cases = [
        Guest { pages: "1025", ..Guest::default() },
        Guest { pages: "65536", ..Guest::default() },
        Guest { pages: "600", fields: "(memory 600)", ..Guest::default() },
        Guest { fields: "(memory i64 0x1_0000_0000)", ..Guest::default() },
    ];
    for guest in cases {
        assert_eq!(fault_on_configuring(house, &guest), Fault::Memory, "{}", guest.fields);
    }
}

#[test]
fn too_many_memories_or_tables_are_refused() {
    let house = House::shared();
    // One memory is the guest's own.
    for (field, count) in [("(memory 1)", 3), ("(table 1 funcref)", 16)] {
        let fields = &field.repeat(count);
        let policy = house.policy(&Guest { fields, ..Guest::default() });
        assert!(is_healthy(&policy.check(call())));
        let fields = &field.repeat(count + 1);
        let refused = house.refused(&Guest { fields, ..Guest::default() }.component());
        assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
        assert!(refused.to_string().contains("count too high"), "{refused}");
    }
}

#[test]
fn tables_grow_to_their_limit_and_no_further() {
    let house = House::unpooled();
    let fields = "(table $a 1 funcref) (table $b 1 funcref)";
    let grow = |table: &str, elements: u32| {
        format!(
            "(if (i32.eq (table.grow ${table} (ref.null func) (i32.const {elements})) (i32.const -1)) (then (unreachable)))"
        )
    };
    for check in [grow("a", 1_000_000), grow("a", 15_000) + &grow("b", 15_000)] {
        assert_eq!(house.fault_of(&check, Guest { fields, ..Guest::default() }), Fault::Memory);
    }
    let large = Guest { fields: "(table 30000 funcref)", ..Guest::default() };
    assert_eq!(fault_on_configuring(house, &large), Fault::Memory);
}

#[test]
fn handles_run_out() {
    let contract = format!(
        "{CONTRACT} interface things {{ resource thing; }}
        world hoarder {{ export policy; export quota; export things; }}"
    );
    let imports = r#"(import "[export]tollgate:policy/things@0.1.0" "[resource-new]thing"
        (func $new (param i32) (result i32)))"#;
    let check = "(loop (drop (call $new (i32.const 1))) (br 0))";
    let guest = Guest { imports, check: &later(check), ..Guest::default() };
    let house = House::shared();
    let policy = house.load(&encode(&guest.module(), &contract, "hoarder")).expect("let in");
    let fault = house.fault(&policy);
    assert!(matches!(&fault, Fault::Trap(words) if words.contains("handle")), "{fault}");
}
