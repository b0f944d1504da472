//! The pure part of Tollgate: decimals, money, meters, windows, price lists and the standard
//! rules. No input or output, no clock, no panic: what a policy decides follows from what it is
//! handed.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::float_arithmetic,
        clippy::disallowed_methods,
    )
)]

pub mod alerts;
pub mod anomaly;
#[cfg(feature = "windows")]
pub mod calendar;
pub mod contract;
#[doc(hidden)]
pub mod convert;
pub mod decimal;
pub mod estimate;
pub mod forecast;
#[cfg(feature = "guest")]
pub mod guest;
pub mod limits;
pub mod matter;
pub mod messages;
pub mod meter;
pub mod money;
pub mod prices;
pub mod pricing;
pub mod quota;
pub mod scaling;
mod template;
mod texts;
pub mod window;

pub use decimal::Decimal;
pub use meter::Meter;
pub use money::{Currency, Money};
