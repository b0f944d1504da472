//! `tollgate policy shadow-report`.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use tollgate_host::registry::{Compared, Evidence, Registry};
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::Place;
use crate::components;
use crate::period::Period;
use crate::replay::print_flips;

/// What candidates said.
#[derive(Args)]
pub struct ShadowReport {
    #[command(flatten)]
    pub place: Place,
    /// Of one policy
    pub policy: Option<String>,
    #[command(flatten)]
    pub period: Period,
}

impl ShadowReport {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        components::know_standard(registry);
        let tenants = self.place.tenants(registry).await?;
        let evidence = registry.evidence(&tenants, self.period.range()?, |_, _| {}).await?;
        let is_asked_for =
            |own: &&Evidence| self.policy.as_ref().is_none_or(|name| *name == own.candidate.policy);
        let evidence: Vec<&Evidence> = evidence.iter().filter(is_asked_for).collect();
        if self.place.json {
            println!("{}", json!(evidence));
            return Ok(());
        }
        if evidence.is_empty() {
            println!("no candidate was asked then");
        }
        for own in evidence {
            let what = match own.compared {
                Compared::Quota => "calls allowed and denied",
                Compared::Pricing => "prices",
                Compared::Alerting => "alerts",
            };
            let beside = own.beside.as_ref().map_or("nothing", |beside| &beside.revision);
            println!("`{}` {}, beside `{beside}`: {what}", own.candidate.revision, own.mode);
            println!("{:>10}  said the same", own.agreed);
            println!("{:>10}  did not, of which {} failed", own.diverged, own.failed);
            print_flips(&own.flips, &own.users, &own.agents);
        }
        Ok(())
    }
}
