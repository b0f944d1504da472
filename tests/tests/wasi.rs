//! Policies built like any program, for `wasm32-wasip2`: what they import is there, and empty.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tollgate_host::sandbox::{
    Answer, Compiler, Fault, Instances, Limits, Policy, Sandbox, Settings,
};
use tollgate_policy_core::contract::{Decision, Fact, Request, Value, Verdict};

/// The components of `tollgate-wasi-guest` and of the example `hours`.
fn components() -> &'static [Vec<u8>; 2] {
    static COMPONENTS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    COMPONENTS.get_or_init(|| {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
        let status = Command::new(env!("CARGO"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--lib", "--profile", "guest"])
            .args(["--target", "wasm32-wasip2", "--target-dir"])
            .arg(&target)
            .args(["--package", "tollgate-wasi-guest", "--package", "tollgate-example-hours"])
            .status()
            .expect("cargo");
        assert!(status.success(), "the guests do not build for `wasm32-wasip2`");
        ["tollgate_wasi_guest", "tollgate_example_hours"].map(|name| {
            let path = target.join("wasm32-wasip2/guest").join(name).with_extension("wasm");
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    })
}

fn load(component: &[u8], settings: &str) -> Policy {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    let sandbox = SANDBOX.get_or_init(|| {
        let settings = Settings {
            limits: Limits::default(),
            instances: Instances::Pooled(8),
            compiler: Compiler::InProcess,
            cache: None,
        };
        Sandbox::new(settings).expect("the sandbox")
    });
    sandbox.load(component, settings).unwrap_or_else(|refused| panic!("{refused}"))
}

fn curious(about: &str) -> Policy {
    load(&components()[0], &format!("\"{about}\""))
}

/// What the guest found in a call at this instant.
fn found(policy: &Policy, at: i64) -> String {
    match policy.check(Request { at, ..Request::default() }).outcome.expect("a verdict").decision {
        Decision::Deny(denial) => denial.message,
        decision => panic!("{decision:?}"),
    }
}

fn answer(about: &str) -> Answer<Verdict> {
    curious(about).check(Request { at: 1, ..Request::default() })
}

#[test]
fn the_clock_stands_at_the_calls_instant() {
    let policy = curious("clock");
    assert!(policy.admitted().imports_wasi());
    for at in [1_700_000_000_123, 1, 4_102_444_800_000] {
        assert_eq!(found(&policy, at), at.to_string());
    }
    // Before 1970 its clock has no number.
    assert_eq!(found(&policy, -1), "0");
    assert!(found(&curious("stopwatch"), 1).ends_with("after 0ns"));
}

#[test]
fn randomness_follows_from_the_input() {
    let policy = curious("randomness");
    let first = found(&policy, 1);
    assert_eq!(found(&policy, 1), first);
    assert_ne!(found(&policy, 2), first);
}

#[test]
fn nothing_of_the_host_is_there() {
    assert_eq!(found(&curious("environment"), 1), "0 and 0");
    assert_eq!(found(&curious("files"), 1), "false false false false");
    assert_eq!(found(&curious("network"), 1), "false");
    assert_eq!(found(&curious("stdin"), 1), "0");
}

#[test]
fn what_it_writes_is_its_log_and_speaks_to_no_terminal() {
    assert_eq!(answer("log").log, "said\nand warned[2J\n");
    assert_eq!(answer("flood").log.len(), Limits::default().log_bytes);
    assert_eq!(answer("clock").log, "");
}

#[test]
fn it_cannot_wait() {
    let fault = answer("sleep").outcome.expect_err("a fault");
    assert!(matches!(&fault, Fault::Trap(words) if words.contains("cannot wait")), "{fault}");
}

#[test]
fn ending_the_program_is_a_trap() {
    let exit = answer("exit");
    assert!(matches!(exit.outcome, Err(Fault::Trap(_))), "{exit:?}");
    let panic = answer("panic");
    assert!(matches!(panic.outcome, Err(Fault::Trap(_))), "{panic:?}");
    assert!(panic.log.contains("nothing more to reach for"), "{}", panic.log);
}

#[test]
fn the_example_of_the_readme_builds_for_it() {
    let policy = load(&components()[1], r#"{"from": 9, "until": 17}"#);
    for (hour, open) in [(8_u32, false), (9, true), (16, true), (17, false)] {
        let facts = vec![Fact { name: "local.hour".into(), value: Value::Number(hour.into()) }];
        let verdict = policy.check(Request { facts, ..Request::default() }).outcome;
        let decision = verdict.expect("a verdict").decision;
        assert_eq!(decision == Decision::Allow, open, "{hour}: {decision:?}");
    }
}
