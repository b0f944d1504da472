//! Every way in which a policy can fail to answer.

use serde::{Deserialize, Serialize};
use wasmtime::Trap;

use super::guest::Guest;

/// Why a policy gave no answer. A fault is the policy's own, or the host's where the host cut
/// the call short for reasons that another run may not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It trapped.
    #[error("the policy trapped: {0}")]
    Trap(String),
    /// It used up its fuel.
    #[error("the policy ran out of fuel: it loops, or does too much for one call")]
    Fuel,
    /// It called itself too deeply.
    #[error("the policy exhausted its stack: it recurses too deeply")]
    Stack,
    /// It asked for more memory or table space than it may have, and could not go on.
    #[error("the policy asked for more memory than it may have")]
    Memory,
    /// It handed back too much.
    #[error("the policy returned more than it may: shorten its strings and lists")]
    Output,
    /// What it handed back is not of the contract.
    #[error("the policy returned something that is not of the contract: {0}")]
    Malformed(String),
    /// It does not have this ability.
    #[error("the policy does not export `{0}`")]
    NotExported(String),
    /// It refused its settings.
    #[error("the policy refused its settings: {0}")]
    Settings(String),
    /// The clock ran out first: the host's doing.
    #[error("the policy ran for too long and was stopped")]
    Time,
    /// No instance was free: the host's doing.
    #[error(
        "no instance of the sandbox is free: raise its number of instances, or ask less at a time"
    )]
    Busy,
    /// The host failed: its own doing.
    #[error("the sandbox failed: {0}")]
    Host(String),
    /// It failed too often: the host does not ask it.
    #[error(
        "the policy failed again and again, and is not asked: let it back, or bind another revision"
    )]
    Quarantined,
}

impl Fault {
    /// Whether the host forced it. Such outcomes are recorded as forced, are not replayed, and do
    /// not count against the policy.
    #[must_use]
    pub fn is_hosts(&self) -> bool {
        matches!(self, Self::Time | Self::Busy | Self::Host(_) | Self::Quarantined)
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "policy_trapped",
            Self::Fuel => "policy_out_of_fuel",
            Self::Stack => "policy_stack_exhausted",
            Self::Memory => "policy_out_of_memory",
            Self::Output => "policy_output_too_large",
            Self::Malformed(_) => "policy_answer_malformed",
            Self::NotExported(_) => "policy_not_exported",
            Self::Settings(_) => "policy_settings_refused",
            Self::Time => "policy_out_of_time",
            Self::Busy => "sandbox_busy",
            Self::Host(_) => "sandbox_failed",
            Self::Quarantined => "policy_quarantined",
        }
    }

    /// What an error of a call means.
    pub(super) fn of_call(error: &wasmtime::Error, guest: &Guest) -> Self {
        let trap = error.downcast_ref::<Trap>().copied();
        match trap {
            Some(Trap::OutOfFuel) => return Self::Fuel,
            Some(Trap::Interrupt) => return Self::Time,
            Some(Trap::StackOverflow) => return Self::Stack,
            _ => {}
        }
        if guest.memory_denied() {
            return Self::Memory;
        }
        let words = format!("{error:#}");
        if words.contains("fuel allocated for hostcalls") {
            return Self::Output;
        }
        match trap {
            Some(trap) => Self::Trap(trap.to_string()),
            // The outermost words are a backtrace; the innermost say what happened.
            None => Self::Trap(first_line(&error.root_cause().to_string())),
        }
    }

    /// What an error of instantiating means.
    pub(super) fn of_instantiation(error: &wasmtime::Error, guest: &Guest) -> Self {
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return Self::Busy;
        }
        Self::of_call(error, guest)
    }
}

/// Messages may hold a backtrace, and whatever the guest put into them.
pub(super) fn first_line(words: &str) -> String {
    words
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}
