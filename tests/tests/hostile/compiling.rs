//! Compiling in a child process: bombs, and children that are not what they should be.

use tollgate_host::sandbox::{Compiler, Instances, Limits, Policy, Refused, Sandbox, Settings};

use crate::guest::{Guest, bomb};
use crate::house::{House, call, is_healthy, settings};

/// Loads a component in a sandbox whose child is this program.
fn load(
    program: &str,
    arguments: &[&str],
    limits: Limits,
    component: &[u8],
) -> Result<Policy, Refused> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let compiler = Compiler::Child { program: program.into(), arguments };
    let settings = Settings { compiler, ..settings(limits, Instances::OnDemand) };
    let loaded = Sandbox::new(settings).expect("the sandbox").load(component, "{}");
    House::shared().assert_neighbour_is_well();
    loaded
}

/// What a component is refused for there.
fn refused(program: &str, arguments: &[&str], limits: Limits, component: &[u8]) -> Refused {
    load(program, arguments, limits, component).err().expect("refused")
}

/// The child that compiles.
const WORKER: &str = env!("CARGO_BIN_EXE_compile-worker");

#[test]
fn a_healthy_policy_comes_out_of_the_child_as_it_went_in() {
    let component = Guest::default().component();
    let policy = load(WORKER, &[], Limits::default(), &component).expect("let in");
    assert!(is_healthy(&policy.check(call())));
    let here = House::shared().load(&component).expect("let in");
    assert_eq!(here.manifest(), policy.manifest());
}

#[test]
fn a_refusal_comes_out_of_the_child_as_it_was() {
    let refused = refused(WORKER, &[], Limits::default(), b"\0asm\x0d\0\x01\0");
    assert!(matches!(refused, Refused::NoPolicy { .. }), "{refused}");
}

#[test]
fn a_bomb_runs_out_of_processor_time() {
    let limits = Limits { compile_cpu_seconds: 2, compile_seconds: 60, ..Limits::default() };
    let bomb = bomb(1_000, 1_000);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let refused = refused(WORKER, &[], limits, &bomb);
    assert_eq!(refused, Refused::CompileTime { seconds: 2 });
}

#[test]
fn a_bomb_runs_out_of_time() {
    let limits = Limits { compile_cpu_seconds: 60, compile_seconds: 1, ..Limits::default() };
    let refused = refused(WORKER, &[], limits, &bomb(1_000, 1_000));
    assert_eq!(refused, Refused::CompileTime { seconds: 1 });
}

#[test]
fn a_bomb_runs_out_of_memory() {
    let limits =
        Limits { compile_memory_bytes: 64 << 20, compile_cpu_seconds: 20, ..Limits::default() };
    assert!(load(WORKER, &[], limits, &Guest::default().component()).is_ok());
    let refused = refused(WORKER, &[], limits, &bomb(1_000, 1_000));
    assert!(matches!(refused, Refused::CompileCrashed { .. }), "{refused}");
    assert!(refused.to_string().contains("make the component smaller"));
}

#[test]
fn a_child_that_is_not_there_is_named() {
    let refused =
        refused("/nonexistent/compiler", &[], Limits::default(), &Guest::default().component());
    assert!(
        matches!(&refused, Refused::Host(words) if words.contains("`/nonexistent/compiler`")),
        "{refused}"
    );
}

#[test]
fn a_child_that_is_another_program_is_the_hosts_trouble() {
    let component = Guest::default().component();
    for (program, arguments) in
        [("/bin/echo", &["let in"][..]), ("/bin/true", &[]), ("/bin/cat", &[])]
    {
        let refused = refused(program, arguments, Limits::default(), &component);
        assert!(matches!(refused, Refused::Host(_)), "{program}: {refused}");
    }
    let refused = refused("/bin/false", &[], Limits::default(), &component);
    assert!(matches!(refused, Refused::CompileCrashed { .. }), "{refused}");
}

#[test]
fn a_child_that_does_not_end_is_ended() {
    let limits = Limits { compile_seconds: 1, ..Limits::default() };
    let component = Guest::default().component();
    for script in ["cat > /dev/null; exec sleep 100", "exec sleep 100"] {
        let refused = refused("/bin/sh", &["-c", script], limits, &component);
        assert_eq!(refused, Refused::CompileTime { seconds: 1 }, "{script}");
    }
}

#[test]
fn a_child_that_has_said_all_and_does_not_end_is_ended() {
    let limits = Limits { compile_seconds: 60, ..Limits::default() };
    let component = Guest::default().component();
    let script = "cat > /dev/null; exec > /dev/null; exec sleep 100";
    let refused = refused("/bin/sh", &["-c", script], limits, &component);
    assert!(matches!(refused, Refused::CompileCrashed { .. }), "{refused}");
}

#[test]
fn a_child_that_talks_without_end_is_ended() {
    let limits = Limits { compile_seconds: 60, code_bytes: 1 << 20, ..Limits::default() };
    let component = Guest::default().component();
    let refused = refused("/bin/cat", &["/dev/zero"], limits, &component);
    assert!(matches!(refused, Refused::CompileCrashed { .. }), "{refused}");
}

#[test]
fn code_over_its_limit_is_not_kept() {
    let limits = Limits { code_bytes: 1_000, ..Limits::default() };
    let refused = refused(WORKER, &[], limits, &Guest::default().component());
    assert!(matches!(refused, Refused::CodeTooLarge { bytes_max: 1_000, .. }), "{refused}");
}
