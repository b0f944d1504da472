//! What a plugin author needs: the trait [`Policy`] and the macro
//! [`export_policy!`](crate::export_policy).
//!
//! ```text
//! struct Curfew { from_hour: Decimal }
//!
//! impl Policy for Curfew { /* configure and check */ }
//!
//! tollgate_policy_core::export_policy!(Curfew: quota);
//! ```

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod alloc;
#[doc(hidden)]
pub mod bindings;
crate::convert_wire_types!(crate::guest::bindings::types);
#[doc(hidden)]
pub mod glue;

pub use crate::contract::*;
pub use crate::decimal::Decimal;
pub use crate::money::Currency;

/// A policy as its author writes it. The abilities named in [`export_policy!`](crate::export_policy)
/// are the ones that a host sees; the others need not be written.
pub trait Policy: Sized + 'static {
    /// The settings' JSON Schema.
    const SETTINGS_SCHEMA: &'static str = "{}";

    /// Reads the settings (JSON) once; an error says in words what is wrong with them.
    fn configure(settings: &str) -> Result<(Self, Manifest), String>;

    /// `quota`: may this call go ahead?
    fn check(&self, _request: &Request) -> Verdict {
        Verdict { decision: Decision::Allow, findings: Vec::new(), facts: Vec::new() }
    }

    /// `pricing`: what does this usage cost?
    fn price(&self, _usage: &Usage) -> Result<Quote, Refusal> {
        Err(Refusal::new("not_priced", "this policy does not price"))
    }

    /// `alerting`: what should people be told, and who should be stopped?
    fn review(&self, _observation: &Observation) -> Vec<Action> {
        Vec::new()
    }

    /// `estimation`: what will this task need?
    fn estimate(&self, _task: &Task) -> Result<Vec<Quantity>, String> {
        Err("this policy does not estimate".into())
    }
}

/// Exports a [`Policy`] as a component with the abilities named: any of `quota`, `pricing`,
/// `alerting`, `estimation`.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty: $($ability:ident),+ $(,)?) => {
        // Elsewhere than in a component nothing is exported: its names are none for a linker.
        #[allow(dead_code)]
        struct TollgateExport;

        ::std::thread_local! {
            static TOLLGATE_POLICY: $crate::guest::glue::Slot<$policy> =
                const { $crate::guest::glue::Slot::new(None) };
        }

        impl $crate::guest::bindings::policy::exports::tollgate::policy::policy::Guest
            for TollgateExport
        {
            fn configure(
                settings: ::std::string::String,
            ) -> ::std::result::Result<$crate::guest::bindings::types::Manifest, ::std::string::String> {
                $crate::guest::glue::configure(&TOLLGATE_POLICY, &settings)
            }

            fn settings_schema() -> ::std::string::String {
                <$policy as $crate::guest::Policy>::SETTINGS_SCHEMA.into()
            }
        }

        #[cfg(target_arch = "wasm32")]

        $crate::guest::bindings::policy::export!(
            TollgateExport with_types_in $crate::guest::bindings::policy
        );

        $($crate::__export_ability!($ability);)+
    };
}

/// One ability of `export_policy!`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_ability {
    (quota) => {
        impl $crate::guest::bindings::quota::exports::tollgate::policy::quota::Guest for TollgateExport {
            fn check(
                request: $crate::guest::bindings::types::Request,
            ) -> $crate::guest::bindings::types::Verdict {
                $crate::guest::glue::check(&TOLLGATE_POLICY, request)
            }
        }
        #[cfg(target_arch = "wasm32")]
        $crate::guest::bindings::quota::export!(
            TollgateExport with_types_in $crate::guest::bindings::quota
        );
    };
    (pricing) => {
        impl $crate::guest::bindings::pricing::exports::tollgate::policy::pricing::Guest
            for TollgateExport
        {
            fn price(
                usage: $crate::guest::bindings::types::Usage,
            ) -> ::std::result::Result<
                $crate::guest::bindings::types::Quote,
                $crate::guest::bindings::types::Refusal,
            > {
                $crate::guest::glue::price(&TOLLGATE_POLICY, usage)
            }
        }
        #[cfg(target_arch = "wasm32")]
        $crate::guest::bindings::pricing::export!(
            TollgateExport with_types_in $crate::guest::bindings::pricing
        );
    };
    (alerting) => {
        impl $crate::guest::bindings::alerting::exports::tollgate::policy::alerting::Guest
            for TollgateExport
        {
            fn review(
                observation: $crate::guest::bindings::types::Observation,
            ) -> ::std::vec::Vec<$crate::guest::bindings::types::Action> {
                $crate::guest::glue::review(&TOLLGATE_POLICY, observation)
            }
        }
        #[cfg(target_arch = "wasm32")]
        $crate::guest::bindings::alerting::export!(
            TollgateExport with_types_in $crate::guest::bindings::alerting
        );
    };
    (estimation) => {
        impl $crate::guest::bindings::estimation::exports::tollgate::policy::estimation::Guest
            for TollgateExport
        {
            fn estimate(
                task: $crate::guest::bindings::types::Task,
            ) -> ::std::result::Result<
                ::std::vec::Vec<$crate::guest::bindings::types::Quantity>,
                ::std::string::String,
            > {
                $crate::guest::glue::estimate(&TOLLGATE_POLICY, task)
            }
        }
        #[cfg(target_arch = "wasm32")]
        $crate::guest::bindings::estimation::export!(
            TollgateExport with_types_in $crate::guest::bindings::estimation
        );
    };
}
