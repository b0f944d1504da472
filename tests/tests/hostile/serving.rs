//! A full pool, and a cache that somebody wrote to.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use tollgate_host::sandbox::{
    Compiler, Fault, Instances, Limits, Policy, Refused, Sandbox, Settings,
};

use crate::guest::{Guest, later, with_modules};
use crate::house::{House, call, is_healthy, settings};

/// Asks a healthy policy for as long as another holds the only instance, until time is up for
/// that one; returns what the healthy one said.
fn beside_a_loop(call_ms: u64) -> Vec<Option<Fault>> {
    let limits = Limits { call_fuel: u64::MAX, call_ms, ..Limits::default() };
    let house = House::open(settings(limits, Instances::Pooled(1)));
    let healthy = house.policy(&Guest::default());
    let looping = house.policy(&Guest { check: &later("(loop (br 0))"), ..Guest::default() });
    thread::scope(|scope| {
        let looping = scope.spawn(move || looping.check(call()).outcome);
        let mut answers = Vec::new();
        while !looping.is_finished() {
            answers.push(healthy.check(call()).outcome.err());
        }
        assert_eq!(looping.join().expect("no panic"), Err(Fault::Time));
        assert!(is_healthy(&healthy.check(call())));
        answers
    })
}

#[test]
fn a_call_waits_for_an_instance_that_is_soon_free() {
    assert!(beside_a_loop(200).iter().all(Option::is_none));
}

#[test]
fn a_call_that_finds_no_instance_is_told_so() {
    let answers = beside_a_loop(1_500);
    assert!(answers.contains(&Some(Fault::Busy)), "{answers:?}");
    assert!(answers.iter().flatten().all(|fault| *fault == Fault::Busy), "{answers:?}");
    assert!(Fault::Busy.is_hosts());
}

#[test]
fn a_policy_that_is_let_in_finds_room_in_the_smallest_pool() {
    let house = House::open(settings(Limits::default(), Instances::Pooled(1)));
    for module in ["(module)", "(module (memory 1))", "(module (table 1 funcref))"] {
        for count in [1, 3, 7, 10, 20] {
            match house.load(&with_modules(module, count)) {
                Ok(policy) => {
                    let answer = policy.check(call());
                    assert!(is_healthy(&answer), "{count} of {module}: {:?}", answer.outcome);
                }
                // For its author, who cannot wait for the pool to grow.
                Err(refused) => {
                    let invalid = matches!(refused, Refused::Invalid(_));
                    assert!(invalid, "{count} of {module}: {refused}");
                }
            }
        }
    }
}

#[test]
fn a_pool_takes_what_single_instances_take() {
    for fields in ["(memory 1)", "(table 1 funcref) (table 1 funcref)"] {
        let component = Guest { fields, ..Guest::default() }.component();
        let single = House::unpooled().load(&component).map(|policy| policy.admitted().frozen);
        let pooled = House::shared().load(&component).map(|policy| policy.admitted().frozen);
        assert_eq!(pooled, single, "{fields}");
    }
}

/// A compiler that would fail.
fn broken() -> Compiler {
    Compiler::Child { program: "/nonexistent/compiler".into(), arguments: Vec::new() }
}

/// Loads the guest with a cache, and what is not in it with a compiler.
fn load(cache: &Path, compiler: Compiler, component: &[u8]) -> Result<Policy, Refused> {
    let settings = Settings {
        cache: Some(cache.to_owned()),
        compiler,
        ..settings(Limits::default(), Instances::OnDemand)
    };
    Sandbox::new(settings).expect("the sandbox").load(component, "{}")
}

/// The one entry of a cache.
fn entry(cache: &Path) -> PathBuf {
    let mut entries: Vec<PathBuf> = fs::read_dir(cache)
        .expect("the cache")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name != "key"))
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

#[test]
fn what_was_compiled_once_is_loaded_from_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let component = Guest::default().component();
    let compiled = load(&cache, Compiler::InProcess, &component).expect("let in");
    let cached = load(&cache, broken(), &component).expect("from the cache");
    assert_eq!(cached.admitted(), compiled.admitted());
    assert!(is_healthy(&cached.check(call())));
    // Other bytes are another entry, even where they mean the same.
    let other = Guest { text: b"other", ..Guest::default() }.component();
    assert!(matches!(load(&cache, broken(), &other), Err(Refused::Host(_))));
}

#[test]
fn an_entry_that_somebody_wrote_to_is_compiled_anew_and_not_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let component = Guest::default().component();
    load(&cache, Compiler::InProcess, &component).expect("let in");
    let entry = entry(&cache);
    let whole = fs::read(&entry).expect("the entry");
    let flipped = |index: usize| {
        let mut bytes = whole.clone();
        bytes[index] ^= 1;
        bytes
    };
    let forgeries = [
        Vec::new(),
        flipped(0),
        flipped(whole.len() / 2),
        flipped(whole.len() - 1),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"more"].concat(),
    ];
    for forged in forgeries {
        fs::write(&entry, &forged).expect("written");
        assert!(matches!(load(&cache, broken(), &component), Err(Refused::Host(_))));
        let policy = load(&cache, Compiler::InProcess, &component).expect("compiled anew");
        assert!(is_healthy(&policy.check(call())));
        assert!(load(&cache, broken(), &component).is_ok(), "the entry is whole again");
    }
}

#[test]
fn an_entry_of_another_name_is_not_taken() {
    let directory = tempfile::tempdir().expect("a directory");
    let [cache, elsewhere] = ["a", "b"].map(|name| directory.path().join(name));
    let other = Guest { text: b"other", ..Guest::default() }.component();
    let component = Guest::default().component();
    load(&cache, Compiler::InProcess, &component).expect("let in");
    let ours = entry(&cache);
    load(&elsewhere, Compiler::InProcess, &other).expect("let in");
    let theirs = entry(&elsewhere);
    // Compiled by us, but for another component.
    fs::copy(&ours, cache.join(theirs.file_name().expect("a name"))).expect("copied");
    assert!(matches!(load(&cache, broken(), &other), Err(Refused::Host(_))));
    // Compiled by another host, with its own key.
    fs::copy(&theirs, cache.join(theirs.file_name().expect("a name"))).expect("copied");
    assert!(matches!(load(&cache, broken(), &other), Err(Refused::Host(_))));
}
