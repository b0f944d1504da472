//! The generated bindings: an interface a module, all sharing one set of records, so that a
//! component can export abilities in any combination.
#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unsafe_code,
    missing_docs,
    reason = "generated code"
)]

mod records {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tollgate:records; world records { import tollgate:policy/types@0.1.0; }",
        world: "tollgate:records/records",
        generate_all,
    });
}

pub use records::tollgate::policy::types;

macro_rules! interface {
    ($name:ident, $inline:literal, $world:literal) => {
        pub mod $name {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $inline,
                world: $world,
                with: { "tollgate:policy/types@0.1.0": crate::guest::bindings::types },
                pub_export_macro: true,
            });
        }
    };
}

interface!(
    policy,
    "package tollgate:guest; world export-policy { export tollgate:policy/policy@0.1.0; }",
    "tollgate:guest/export-policy"
);
interface!(
    quota,
    "package tollgate:guest; world export-quota { export tollgate:policy/quota@0.1.0; }",
    "tollgate:guest/export-quota"
);
interface!(
    pricing,
    "package tollgate:guest; world export-pricing { export tollgate:policy/pricing@0.1.0; }",
    "tollgate:guest/export-pricing"
);
interface!(
    alerting,
    "package tollgate:guest; world export-alerting { export tollgate:policy/alerting@0.1.0; }",
    "tollgate:guest/export-alerting"
);
interface!(
    estimation,
    "package tollgate:guest; world export-estimation { export tollgate:policy/estimation@0.1.0; }",
    "tollgate:guest/export-estimation"
);
