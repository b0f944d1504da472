//! Between the exported functions and the author's policy.

use std::cell::RefCell;
use std::thread::LocalKey;

use super::Policy;
use super::bindings::types as wire;
use crate::contract::{Decision, Denial, Refusal, Verdict};

/// Where a component keeps its configured policy.
pub type Slot<P> = RefCell<Option<P>>;

/// The host called something before `configure`, or fed something that is not of the contract.
const BAD_CALL: &str = "bad_call";

pub fn configure<P: Policy>(
    slot: &'static LocalKey<Slot<P>>,
    settings: &str,
) -> Result<wire::Manifest, String> {
    let (policy, manifest) = P::configure(settings)?;
    slot.set(Some(policy));
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    super::alloc::keep();
    Ok(manifest.into())
}

pub fn check<P: Policy>(slot: &'static LocalKey<Slot<P>>, request: wire::Request) -> wire::Verdict {
    let verdict = call(slot, request, P::check).unwrap_or_else(|message| Verdict {
        decision: Decision::Deny(Denial::new(BAD_CALL, message)),
        findings: Vec::new(),
        facts: Vec::new(),
    });
    verdict.into()
}

pub fn price<P: Policy>(
    slot: &'static LocalKey<Slot<P>>,
    usage: wire::Usage,
) -> Result<wire::Quote, wire::Refusal> {
    call(slot, usage, P::price)
        .unwrap_or_else(|message| Err(Refusal::new(BAD_CALL, message)))
        .map(Into::into)
        .map_err(Into::into)
}

pub fn review<P: Policy>(
    slot: &'static LocalKey<Slot<P>>,
    observation: wire::Observation,
) -> Vec<wire::Action> {
    let actions = call(slot, observation, P::review).unwrap_or_default();
    actions.into_iter().map(Into::into).collect()
}

pub fn estimate<P: Policy>(
    slot: &'static LocalKey<Slot<P>>,
    task: wire::Task,
) -> Result<Vec<wire::Quantity>, String> {
    let quantities = call(slot, task, P::estimate).and_then(|estimate| estimate)?;
    Ok(quantities.into_iter().map(Into::into).collect())
}

fn call<P: Policy, W, A: TryFrom<W, Error = String>, R>(
    slot: &'static LocalKey<Slot<P>>,
    argument: W,
    function: impl FnOnce(&P, &A) -> R,
) -> Result<R, String> {
    let argument = A::try_from(argument)?;
    slot.with_borrow(|policy| match policy {
        Some(policy) => Ok(function(policy, &argument)),
        None => Err("called before `configure`: configure the policy first".into()),
    })
}
