//! The names of what is measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What is measured: lower case, classes after a dot, at most 64 bytes (`llm_tokens.input`).
///
/// Meters are open: any name of this form works. Token classes are disjoint, so that
/// `llm_tokens` is their sum and a cached token is counted once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Meter(String);

/// Not a meter's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a meter: write lower-case words with `_`, classes after a dot, like `llm_tokens.input`"
)]
pub struct MeterError(String);

/// Calls to a model; a message counts as one.
pub const LLM_REQUESTS: &str = "llm_requests";
/// Input and output tokens of all classes.
pub const LLM_TOKENS: &str = "llm_tokens";
/// Runs that are started and not finished.
pub const ACTIVE_RUNS: &str = "active_runs";

/// The eleven resources of the standard quotas.
pub const RESOURCES: [&str; 11] = [
    LLM_REQUESTS,
    LLM_TOKENS,
    "database_queries",
    "file_operations",
    "network_requests",
    "execution_time",
    "memory_usage",
    "storage_space",
    "concurrent_tasks",
    "agent_creations",
    "tool_creations",
];

impl Meter {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Meter {
    type Err = MeterError;

    fn from_str(text: &str) -> Result<Self, MeterError> {
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if text.len() <= 64 && text.split('.').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MeterError(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Meter {
    type Error = MeterError;

    fn try_from(text: String) -> Result<Self, MeterError> {
        text.parse()
    }
}

impl From<Meter> for String {
    fn from(meter: Meter) -> Self {
        meter.0
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_lower_case_words_with_classes_after_dots() {
        for name in RESOURCES.into_iter().chain([ACTIVE_RUNS, "llm_tokens.input", "cost.usd", "x"])
        {
            assert_eq!(name.parse::<Meter>().unwrap().as_str(), name);
        }
        for name in ["", "LLM", "a b", "a.", ".a", "a..b", "é", &"x".repeat(65)] {
            assert!(name.parse::<Meter>().is_err(), "{name}");
        }
    }
}
