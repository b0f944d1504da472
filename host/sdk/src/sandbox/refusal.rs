//! Why a component is not let in, and what to do about it.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// A component was refused, or could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// More bytes than are taken.
    #[error(
        "the component has {bytes} bytes, and at most {bytes_max} are taken: strip it of debug information"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It compiles to more than is kept.
    #[error(
        "the component compiles to {bytes} bytes, and at most {bytes_max} are kept: make it smaller"
    )]
    CodeTooLarge {
        /// The size of its code.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Not WebAssembly.
    #[error("this is not a WebAssembly component: build one for the target `wasm32-wasip2`")]
    NotWasm,
    /// A module without the component around it.
    #[error(
        "this is a core module and not a component: build for the target `wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Compiled code, which could do anything.
    #[error(
        "this is precompiled code, which is never taken from anyone: hand in the `.wasm` component"
    )]
    Precompiled,
    /// Malformed, or in need of a feature that is off.
    #[error("the component is not valid: {0}; build it again with a current toolchain")]
    Invalid(String),
    /// It wants something that no policy gets.
    #[error(
        "the component imports `{0}`, and a policy gets nothing but what it is fed: remove the import"
    )]
    Import(String),
    /// It lacks the interface that every policy exports.
    #[error(
        "the component does not export `{expected}`; it exports {found}: build it against the WIT package `tollgate:policy@0.1.0`"
    )]
    NoPolicy {
        /// The interface's name.
        expected: String,
        /// What it exports instead, in words.
        found: String,
    },
    /// It can do nothing.
    #[error(
        "the component exports no ability: export at least one of `quota`, `pricing`, `alerting`, `estimation` of `tollgate:policy@0.1.0`"
    )]
    NoAbility,
    /// An export has the right name and another type.
    #[error(
        "the export `{export}` has another type than the contract's: build it against the WIT package `tollgate:policy@0.1.0` ({reason})"
    )]
    WrongType {
        /// The interface and function.
        export: String,
        /// What differs.
        reason: String,
    },
    /// What it tells as its settings' schema is none.
    #[error("what the policy tells as the schema of its settings is no JSON Schema: {0}")]
    Schema(String),
    /// The settings do not fit the component's schema.
    #[error("the settings do not fit the policy's schema: {0}")]
    Misfit(String),
    /// `configure` said no.
    #[error("the policy refused its settings: {0}")]
    Settings(String),
    /// It failed while it was configured.
    #[error("while it was configured, {0}; `configure` must return an error instead")]
    Configure(Fault),
    /// It asks for what no host feeds.
    #[error("the manifest is not acceptable: {0}")]
    Manifest(String),
    /// It failed on a call with nothing in it.
    #[error("in a trial call of `{ability}`, {fault}")]
    Trial {
        /// Which one.
        ability: String,
        /// How.
        fault: Fault,
    },
    /// Compiling took too long.
    #[error(
        "compiling was stopped after {seconds} s: the component is too large or built to be slow; make its functions smaller"
    )]
    CompileTime {
        /// The limit.
        seconds: u64,
    },
    /// Compiling failed hard, most likely for want of memory.
    #[error(
        "the compiler was ended by `{status}`, most likely for want of memory: make the component smaller"
    )]
    CompileCrashed {
        /// How it ended.
        status: String,
    },
    /// All that can be told at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Refused>),
    /// The host's own trouble.
    #[error("the sandbox could not judge the component: {0}")]
    Host(String),
}

impl Refused {
    /// One by one.
    #[must_use]
    pub fn reasons(&self) -> &[Self] {
        match self {
            Self::Several(reasons) => reasons,
            one => std::slice::from_ref(one),
        }
    }

    /// Nothing, where there is nothing to refuse.
    pub(super) fn all(mut reasons: Vec<Self>) -> Result<(), Self> {
        match reasons.len() {
            0 => Ok(()),
            1 => Err(reasons.remove(0)),
            _ => Err(Self::Several(reasons)),
        }
    }
}
