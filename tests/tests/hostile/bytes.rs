//! Bytes that are no component, or were one before something happened to them.

use tollgate_host::sandbox::{Limits, Refused};

use crate::guest::{Guest, leb, section};
use crate::house::{House, call, sandbox, standard};

/// Bytes that look random and are the same in each run (xorshift).
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

/// Whatever the bytes are: they are refused, or make a policy that can be asked.
fn try_bytes(bytes: &[u8], what: &str) -> Result<(), Refused> {
    let policy = House::shared().load(bytes)?;
    let answer = policy.check(call());
    assert!(!matches!(&answer.outcome, Err(fault) if fault.is_hosts()), "{what}: {answer:?}");
    Ok(())
}

#[test]
fn what_is_no_component_is_told_apart() {
    let house = House::shared();
    let module = wat::parse_str("(module)").expect("WAT");
    let engine = wasmtime::Engine::default();
    let component = Guest::default().component();
    let precompiled = [
        engine.precompile_component(&component).expect("compiled"),
        engine.precompile_module(&module).expect("compiled"),
    ];
    for bytes in [&b""[..], b"\0", b"\0asm", b"\0asm\x0d\0\x01", b"#!/bin/sh\n", b"(component)"] {
        assert_eq!(house.refused(bytes), Refused::NotWasm, "{bytes:?}");
    }
    assert_eq!(house.refused(&module), Refused::CoreModule);
    for bytes in precompiled {
        assert_eq!(house.refused(&bytes), Refused::Precompiled);
    }
    for refused in [Refused::NotWasm, Refused::CoreModule, Refused::Precompiled] {
        assert!(refused.to_string().contains(": "), "no advice: {refused}");
    }
    // The preamble of a component of a time to come.
    let refused = house.refused(b"\0asm\xff\0\x01\0");
    assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
}

#[test]
fn more_bytes_than_are_taken_are_not_looked_at() {
    let component_bytes = 1_000;
    let sandbox = sandbox(Limits { component_bytes, ..Limits::default() });
    let refused = sandbox.load(&[0; 1_001], "{}").err();
    assert_eq!(refused, Some(Refused::TooLarge { bytes: 1_001, bytes_max: 1_000 }));
}

#[test]
fn random_bytes_are_refused() {
    for seed in 1..=100 {
        let bytes: Vec<u8> = noise(seed).take(1_000).collect();
        assert_eq!(try_bytes(&bytes, "noise"), Err(Refused::NotWasm));
        let bytes = [&b"\0asm\x0d\0\x01\0"[..], &bytes].concat();
        let refused = try_bytes(&bytes, "noise after a preamble");
        assert!(matches!(refused, Err(Refused::Invalid(_))), "{seed}: {refused:?}");
    }
}

#[test]
fn truncated_components_are_refused() {
    let component = standard();
    for index in 0..64 {
        let length = component.len() * index / 64;
        let refused = try_bytes(&component[..length], "truncated");
        assert!(refused.is_err(), "{length} of {} bytes", component.len());
    }
}

/// Flips so many bits of a component, one at a time.
fn flip(component: &[u8], flips: usize) {
    let mut noise = noise(1);
    for _ in 0..flips {
        let place = [(); 4].map(|()| noise.next().unwrap_or_default());
        let index = u32::from_le_bytes(place) as usize % component.len();
        let bit = place[3] % 8;
        let mut flipped = component.to_vec();
        flipped[index] ^= 1 << bit;
        // Refused or not: what counts is that this process lives to tell.
        let _ = try_bytes(&flipped, &format!("bit {bit} of byte {index}"));
    }
}

#[test]
fn flipped_bits_of_a_small_policy_are_refused_or_make_another() {
    flip(&Guest::default().component(), 300);
}

#[test]
fn flipped_bits_of_a_standard_policy_are_refused_or_make_another() {
    // Few, since one that passes takes a second to compile.
    flip(standard(), 40);
}

#[test]
fn nesting_of_any_depth_is_refused() {
    const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
    let nested =
        (0..2_000).fold(PREAMBLE.to_vec(), |inner, _| [PREAMBLE, &section(4, &inner)].concat());
    // Each type is a list of the one before, and the first of characters.
    let lists =
        (0..50_000).fold(vec![0x70, 0x74], |types, index| [types, vec![0x70], leb(index)].concat());
    let lists = section(7, &[leb(50_001), lists].concat());
    for component in [nested, [PREAMBLE, &lists].concat()] {
        let refused = House::shared().refused(&component);
        assert!(matches!(refused, Refused::Invalid(_) | Refused::NoPolicy { .. }), "{refused}");
    }
}
