//! Components that are not let in: their shape, their settings and their manifests.

use tollgate_host::sandbox::{Fault, Refused};

use crate::guest::{CONTRACT, Guest, encode};
use crate::house::House;

/// A component of a world of its own, with the contract changed.
fn of_world(guest: &Guest, contract: &str, world: &str) -> Vec<u8> {
    let contract = format!("{contract} world test {{ {world} }}");
    encode(&guest.module(), &contract, "test")
}

/// What a refusal says, which names what to do after a colon or a semicolon.
fn advice(refused: &Refused) -> String {
    let words = refused.to_string();
    assert!(words.contains(": ") || words.contains("; "), "no advice: {words}");
    words
}

#[test]
fn a_policy_exports_the_policy_interface_and_an_ability() {
    let house = House::shared();
    let guest = Guest::default();
    let nothing = house.refused(&wat::parse_str("(component)").expect("WAT"));
    assert!(matches!(&nothing, Refused::NoPolicy { found, .. } if found == "nothing"), "{nothing}");
    let no_policy = house.refused(&of_world(&guest, CONTRACT, "export quota;"));
    assert!(matches!(&no_policy, Refused::NoPolicy { found, .. } if found.contains("quota")));
    assert!(advice(&no_policy).contains("build it against"));
    let no_ability = house.refused(&of_world(&guest, CONTRACT, "export policy;"));
    assert_eq!(no_ability, Refused::NoAbility);
    assert!(advice(&no_ability).contains("export at least one of"));
}

#[test]
fn another_version_of_the_contract_is_refused() {
    let next = |text: &str| text.replace("@0.1.0", "@0.2.0");
    let component = encode(&next(&Guest::default().module()), &next(CONTRACT), "quota-policy");
    let refused = House::shared().refused(&component);
    assert!(matches!(refused, Refused::NoPolicy { .. }), "{refused}");
    assert!(advice(&refused).contains("it exports `tollgate:policy/policy@0.2.0`"), "{refused}");
}

#[test]
fn a_policy_imports_nothing_that_is_not_offered() {
    let cases = [
        ("evil:host", "exec", "evil:host/exec"),
        ("wasi:evil", "exec", "wasi:evil/exec"),
        ("tollgate:evil@0.1.0", "types", "tollgate:evil/types@0.1.0"),
    ];
    for (package, interface, import) in cases {
        let contract = format!(
            "{CONTRACT} package {package} {{ interface {interface} {{ run: func(command: string); }} }}"
        );
        let imports = &format!(r#"(import "{import}" "run" (func (param i32 i32)))"#);
        let world = format!("import {import}; export policy; export quota;");
        let guest = Guest { imports, ..Guest::default() };
        let refused = House::shared().refused(&of_world(&guest, &contract, &world));
        assert!(matches!(&refused, Refused::Import(name) if name.contains(import)), "{refused}");
        assert!(advice(&refused).contains("remove the import"));
    }
}

#[test]
fn names_in_a_refusal_are_short_and_do_not_speak_to_a_terminal() {
    let import = |url: &str| format!(r#"(component (import "url=<https://{url}>" (func)))"#);
    let exports: String =
        (0..300).map(|index| format!(r#"(export "a:b/c{index}" (instance $i))"#)).collect();
    let components = [
        import(r"a/\1b[2J\1b]0;owned\07"),
        import(&"a".repeat(10_000)),
        format!("(component (instance $i) {exports})"),
    ];
    for component in components {
        advice(&House::shared().refused(&wat::parse_str(component).expect("WAT")));
    }
}

#[test]
fn an_export_of_another_type_is_refused() {
    let house = House::shared();
    let module = Guest::default().module();
    // Each differs in one place that the core module does not show.
    let cases = [
        (
            "check: func(request: request) -> verdict",
            "check: func(request: request) -> request",
            "check",
        ),
        ("high: s64", "high: u64", "configure"),
        ("partial: bool", "partial: u8", "check"),
        ("exceeded,", "exceeded-by-far,", "check"),
        ("configure: func(settings: string)", "configure: func(settings: list<u8>)", "configure"),
        (
            "settings-schema: func() -> string",
            "settings-schema: func() -> list<u8>",
            "settings-schema",
        ),
    ];
    for (from, to, function) in cases {
        assert!(CONTRACT.contains(from), "{from}");
        let component = encode(&module, &CONTRACT.replacen(from, to, 1), "quota-policy");
        let refused = house.refused(&component);
        let is_it = |own: &Refused| matches!(own, Refused::WrongType { export, .. } if export.ends_with(function));
        assert!(refused.reasons().iter().any(is_it), "{to}: {refused}");
        assert!(advice(&refused).contains("build it against"));
    }
}

#[test]
fn what_was_not_compared_with_the_contract_cannot_be_called() {
    // A version that wasmtime takes for 0.1.0, of a type that is not the contract's.
    let other = "tollgate:policy@0.1.0+a-b";
    let contract = format!(
        "{CONTRACT} package {other} {{ interface pricing {{ price: func(usage: u32) -> u32; }} }}"
    );
    let fields = r#"(func (export "tollgate:policy/pricing@0.1.0+a-b#price") (param i32) (result i32)
        (local.get 0))"#;
    let world = "export policy; export quota; export tollgate:policy/pricing@0.1.0+a-b;";
    let component = of_world(&Guest { fields, ..Guest::default() }, &contract, world);
    match House::shared().load(&component) {
        Ok(policy) => {
            for ability in tollgate_host::sandbox::Ability::ALL {
                let admitted = policy.admitted().abilities.contains(&ability);
                assert_eq!(policy.can(ability), admitted, "{ability}");
            }
        }
        Err(refused) => assert!(matches!(refused, Refused::WrongType { .. }), "{refused}"),
    }
}

#[test]
fn a_refusal_of_settings_does_not_speak_to_a_terminal() {
    let configure = "(i32.store (global.get $manifest) (i32.const 1))
        (call $put (i32.add (global.get $manifest) (i32.const 4)))";
    let text = b"\x1b[2J\x1b[31mno\x07 good\nnext line";
    let refused =
        House::shared().refused(&Guest { configure, text, ..Guest::default() }.component());
    assert_eq!(refused, Refused::Settings("[2J[31mno good".into()));
    advice(&refused);
}

/// Declares the same counter so many times, from the second page on.
fn counters(count: u32) -> String {
    format!(
        "(local $i i32)
        (loop
            (memory.copy
                (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 48)))
                (global.get $counter) (i32.const 48))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const {count}))))
        (i32.store offset=4 (global.get $manifest) (i32.const 65536))
        (i32.store offset=8 (global.get $manifest) (i32.const {count}))"
    )
}

/// Gives the counter so many dimensions, `{text}` each.
fn dimensions(count: u32) -> String {
    let strings: String = (0..count)
        .map(|index| {
            format!("(call $put (i32.add (global.get $strings) (i32.const {})))", 8 * index)
        })
        .collect();
    format!(
        "{strings}
        (i32.store offset=16 (global.get $counter) (global.get $strings))
        (i32.store offset=20 (global.get $counter) (i32.const {count}))"
    )
}

const READ: &str = "(call $put (global.get $strings))
    (i32.store offset=12 (global.get $manifest) (global.get $strings))
    (i32.store offset=16 (global.get $manifest) (i32.const 1))";
/// Facts without a name that lie in memory of zeros.
const FACTS: &str = "(i32.store offset=20 (global.get $manifest) (i32.const 65536))
    (i32.store offset=24 (global.get $manifest) (i32.const 257))";
const METER: &str = "(call $put (global.get $counter))";
const WINDOW: &str = "(call $put (i32.add (global.get $counter) (i32.const 8)))";

#[test]
fn a_manifest_asks_for_no_more_than_is_kept() {
    let negative = "(i64.store offset=40 (global.get $counter) (i64.const -1))";
    let cases: [(&str, &[u8], &str); 11] = [
        (&counters(257), b"", "at most 256"),
        (&counters(300), b"", "300 counters"),
        (&dimensions(9), b"user", "9 dimensions"),
        (&dimensions(1), b"", "without a proper name"),
        (&dimensions(1), &[b'a'; 65], "without a proper name"),
        (FACTS, b"", "257 facts"),
        (READ, b"file:/etc/passwd", "`file:/etc/passwd` cannot be read"),
        (READ, b"fact:", "cannot be read"),
        (METER, b"Tokens", "is not a meter"),
        (WINDOW, b"fortnight", "`fortnight` is not a window"),
        (negative, b"", "limit below zero"),
    ];
    for (configure, text, expected) in cases {
        let guest = Guest { configure, text, pages: "4", ..Guest::default() };
        let refused = House::shared().refused(&guest.component());
        assert!(matches!(refused, Refused::Manifest(_)), "{refused}");
        assert!(advice(&refused).contains(expected), "{refused}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let import = |name: &str| format!(r#"(import "url=<https://{name}>" (func))"#);
    let component = format!("(component {} {})", import("a"), import("b"));
    let refused = House::shared().refused(&wat::parse_str(component).expect("WAT"));
    let reasons: Vec<bool> =
        refused.reasons().iter().map(|own| matches!(own, Refused::Import(_))).collect();
    assert_eq!(reasons, [true, true, false], "{refused}");
    assert!(matches!(refused.reasons()[2], Refused::NoPolicy { .. }), "{refused}");
    assert!(advice(&refused).contains("remove the import; the component does not export"));

    let configure =
        format!("{} (i64.store offset=40 (global.get $counter) (i64.const -1))", dimensions(9));
    let guest = Guest { configure: &configure, text: b"user", pages: "4", ..Guest::default() };
    let refused = House::shared().refused(&guest.component());
    let words: Vec<String> = refused.reasons().iter().map(ToString::to_string).collect();
    assert!(words.len() == 2 && words[0].contains("9 dimensions"), "{words:?}");
    assert!(words[1].contains("limit below zero"), "{words:?}");
}

#[test]
fn a_refusal_of_a_manifest_does_not_speak_to_a_terminal() {
    for configure in [READ, METER, WINDOW] {
        for text in [&b"file:\x1b[2J"[..], b"rolling:\x1b[2J\x07", &[b'a'; 10_000]] {
            let guest = Guest { configure, text, ..Guest::default() };
            let refused = House::shared().refused(&guest.component());
            assert!(matches!(refused, Refused::Manifest(_)), "{refused}");
            advice(&refused);
        }
    }
}

#[test]
fn a_manifest_of_a_million_counters_is_more_than_is_read() {
    let guest = Guest { configure: &counters(1_000_000), pages: "740", ..Guest::default() };
    let refused = House::shared().refused(&guest.component());
    assert_eq!(refused, Refused::Configure(Fault::Output));
    advice(&refused);
}
