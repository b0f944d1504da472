//! How revisions and bindings are printed.

use serde_json::{Value as Json, json};
use tollgate_host::engine::{BindingMode, Failing};
use tollgate_host::registry::Bindings;
use tollgate_host::store::RevisionRow;

use super::arguments::Place;
use crate::period::instant;

pub fn revision(row: &RevisionRow) -> Json {
    json!({
        "revision": row.id().to_string(),
        "digest": row.digest,
        "settings": serde_json::from_str::<Json>(&row.settings).unwrap_or_default(),
        "signer": row.signer,
        "at": instant(row.signed.at),
        "author": row.signed.author,
        "message": row.signed.message,
    })
}

pub fn print(place: &Place, version: i64, bindings: &Bindings) {
    if place.json {
        println!("{}", json!({ "version": version, "bound": bindings }));
        return;
    }
    for bound in &bindings.policies {
        let open = if bound.failing == Failing::Open { ", open where it fails" } else { "" };
        let mode = match &bound.mode {
            BindingMode::Enforce => String::new(),
            mode => format!(", {mode}"),
        };
        println!("  {}{mode}{open}", bound.id());
    }
    for key in &bindings.signing.keys {
        println!("  signed by `{}` {}", key.name, key.public);
    }
    if bindings.signing.required {
        println!("  a signature is required");
    }
    if let Some(plan) = &bindings.tenant.plan {
        println!("  on plan `{plan}`");
    }
    println!("  as of version {version}");
}
