//! `tollgate policy diff`.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value as Json, json};
use tollgate_host::registry::Registry;
use tollgate_host::store::{RegistryStore, RevisionRow, Store};

use super::arguments::{Named, Place};
use crate::period::Period;
use crate::replay;

/// Two revisions.
#[derive(Args)]
pub struct Diff {
    #[command(flatten)]
    pub place: Place,
    /// What is compared: `monthly@3`
    pub from: Named,
    /// With what: `monthly@4`
    pub to: Named,
    #[command(flatten)]
    pub period: Period,
}

impl Diff {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let from = revision(registry, self, &self.from).await?;
        let to = revision(registry, self, &self.to).await?;
        let settings = |row: &RevisionRow| serde_json::from_str::<Json>(&row.settings);
        let mut changes = Vec::new();
        changed("", &settings(&from)?, &settings(&to)?, &mut changes);
        let tenants = self.place.tenants(registry).await?;
        let candidate = replay::candidate(registry, to.id()).await;
        let candidate = candidate.with_context(|| format!("`{}`", to.id()))?;
        let period = self.period.clone().or_last_hours(24);
        let report = replay::judge(registry, &tenants, &period, Some(candidate)).await;
        if self.place.json {
            let changes: Vec<Json> = changes
                .iter()
                .map(|(path, before, after)| json!({ "path": path, "from": before, "to": after }))
                .collect();
            let component = from.digest != to.digest;
            let mut told = json!({ "component_differs": component, "settings": changes });
            match report {
                Ok(report) => told["replay"] = json!(report),
                Err(error) => told["replay_error"] = json!(format!("{error:#}")),
            }
            println!("{told}");
            return Ok(());
        }
        if from.digest != to.digest {
            println!("component  sha256:{} -> sha256:{}", from.digest, to.digest);
        }
        for (path, before, after) in &changes {
            let word =
                |value: &Option<Json>| value.as_ref().map_or("nothing".into(), Json::to_string);
            println!("{path}  {} -> {}", word(before), word(after));
        }
        if from.digest == to.digest && changes.is_empty() {
            println!("they are the same");
        }
        match report {
            Ok(report) => replay::print(&report),
            // What changed is told in any case.
            Err(error) => println!("{error:#}"),
        }
        Ok(())
    }
}

async fn revision<S: Store + RegistryStore>(
    registry: &Registry<S>,
    own: &Diff,
    named: &Named,
) -> Result<RevisionRow> {
    let id = named.of(registry, own.place.owner()).await?;
    let rows = registry.revisions(&id.owner, Some(&id.policy)).await?;
    let row = rows.into_iter().find(|row| row.number == id.number);
    row.with_context(|| format!("there is no revision `{id}`: push it first"))
}

type Changed = (String, Option<Json>, Option<Json>);

/// Whatever stands otherwise, by its path.
fn changed(path: &str, from: &Json, to: &Json, all: &mut Vec<Changed>) {
    match (from, to) {
        (Json::Object(before), Json::Object(after)) => {
            for (name, own) in before {
                let path = format!("{path}.{name}");
                match after.get(name) {
                    Some(other) => changed(&path, own, other, all),
                    None => all.push((path, Some(own.clone()), None)),
                }
            }
            for (name, own) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
                all.push((format!("{path}.{name}"), None, Some(own.clone())));
            }
        }
        (Json::Array(before), Json::Array(after)) => {
            for place in 0..before.len().max(after.len()) {
                let path = format!("{path}[{place}]");
                match (before.get(place), after.get(place)) {
                    (Some(own), Some(other)) => changed(&path, own, other, all),
                    (own, other) => all.push((path, own.cloned(), other.cloned())),
                }
            }
        }
        _ if from == to => {}
        _ => all.push((path.to_owned(), Some(from.clone()), Some(to.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_otherwise_is_told_by_its_path() {
        let from = json!({ "limits": [{ "limit": 5, "per": "user" }, { "limit": 7 }], "old": 1 });
        let to = json!({ "limits": [{ "limit": 6, "per": "user" }], "new": { "a": 2 } });
        let mut all = Vec::new();
        changed("", &from, &to, &mut all);
        let told: Vec<String> = all
            .iter()
            .map(|(path, before, after)| format!("{path} {before:?} {after:?}"))
            .collect();
        assert_eq!(
            told,
            [
                ".limits[0].limit Some(Number(5)) Some(Number(6))",
                ".limits[1] Some(Object {\"limit\": Number(7)}) None",
                ".old Some(Number(1)) None",
                ".new None Some(Object {\"a\": Number(2)})",
            ]
        );
        all.clear();
        changed("", &from, &from, &mut all);
        assert!(all.is_empty());
    }
}
