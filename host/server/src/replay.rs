//! `tollgate replay`: recorded decisions are judged again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tollgate_host::engine::Candidate;
use tollgate_host::registry::{Flip, Hit, Registry, ReplayReport, Sums};
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{RegistryStore, RevisionId, Store, Tenant};
use tollgate_policy_core::window::Instant;

use crate::components;
use crate::period::{Period, instant};
use crate::policies::Named;
use crate::policy::read_settings;
use crate::stores::{AnyStore, StorePlace};
use crate::surroundings::wall_clock;

/// What is judged again, and with what.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: StorePlace,
    /// With this revision in the place of the policy's own: `monthly@3`, or a tenant's
    /// `acme/monthly@3`; without any, by the same policies
    #[arg(long, value_name = "REVISION")]
    revision: Option<Named>,
    /// With this component: a .wasm file, or the name of a standard one
    #[arg(long, conflicts_with = "revision", requires = "policy")]
    component: Option<String>,
    /// The component's settings, a JSON file; none: `{}`
    #[arg(long, requires = "component")]
    settings: Option<PathBuf>,
    /// In the place of which policy the component is asked
    #[arg(long, requires = "component")]
    policy: Option<String>,
    /// Whose decisions; may be repeated; without it everybody's
    #[arg(long)]
    tenant: Vec<Tenant>,
    #[command(flatten)]
    period: Period,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints what came out. A failure where the same policies say something else.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        match arguments.place.open_there().await? {
            AnyStore::Postgres(store) => replay(store, arguments).await,
            AnyStore::Sqlite(store, _) => replay(store, arguments).await,
        }
    })?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    let is_proof = arguments.revision.is_none() && arguments.component.is_none();
    let failed = is_proof && (report.told.differences > 0 || report.told.unreadable > 0);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What came out, and how long it took.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    told: ReplayReport,
    elapsed_ms: u64,
}

async fn replay<S: Store + RegistryStore>(store: S, arguments: &Arguments) -> Result<Report> {
    let sandbox = components::sandbox(Limits::default(), components::cache_directory())?;
    let store = Arc::new(store);
    let registry = Registry::new(Arc::clone(&store), Arc::new(sandbox));
    let candidate = match (&arguments.revision, &arguments.component, &arguments.policy) {
        (Some(named), ..) => Some(candidate(&registry, named.revision(&registry).await?).await?),
        (None, Some(component), Some(name)) => {
            let bytes = components::read(component)?.into_owned();
            let settings = match &arguments.settings {
                Some(path) => read_settings(path)?,
                None => "{}".into(),
            };
            let policy = registry.load_bytes(name, bytes, &settings).await?;
            Some(Candidate { name: name.clone(), owner: None, policy })
        }
        _ => None,
    };
    let tenants = match arguments.tenant.is_empty() {
        true => store.tenants().await?,
        false => arguments.tenant.clone(),
    };
    judge(&registry, &tenants, &arguments.period, candidate).await
}

/// A revision as a candidate for its policy's place.
pub async fn candidate<S: Store + RegistryStore>(
    registry: &Registry<S>,
    id: RevisionId,
) -> Result<Candidate> {
    let policy = registry.load(&id).await?;
    Ok(Candidate { name: id.policy, owner: Some(id.owner), policy })
}

/// Judges, and shows how far it is.
pub async fn judge<S: Store + RegistryStore>(
    registry: &Registry<S>,
    tenants: &[Tenant],
    period: &Period,
    candidate: Option<Candidate>,
) -> Result<Report> {
    components::know_standard(registry);
    let range = period.range()?;
    let progress = Progress::of(tenants.len(), range.end);
    let on = |tenant: &Tenant, at| progress.on(tenant, at);
    let begun = std::time::Instant::now();
    let told = registry.replay(tenants, range, candidate.map(Arc::new), on).await;
    progress.bar.finish_and_clear();
    let told = told.context("what was decided cannot be judged again")?;
    let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let unjudged = told.unasked + told.forced + told.unreadable;
    if told.decisions + unjudged == 0 && told.unrecorded.is_empty() {
        bail!("nothing was decided then: look at `--since`, `--until` and `--tenant`");
    }
    Ok(Report { told, elapsed_ms })
}

/// How far it is: of each tenant the share of the time from its first decision to the end.
struct Progress {
    bar: ProgressBar,
    end: Instant,
    /// When they began, and the share of each.
    tenants: Mutex<HashMap<Tenant, (Instant, u64)>>,
}

/// A tenant's share once it is through.
const WHOLE: u64 = 1_000;

impl Progress {
    fn of(tenants: usize, until: Instant) -> Self {
        let bar = ProgressBar::new(tenants as u64 * WHOLE);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {percent} %  {elapsed}  {msg}")
        {
            bar.set_style(style);
        }
        Self { bar, end: until.min(wall_clock()()), tenants: Mutex::default() }
    }

    fn on(&self, tenant: &Tenant, at: Instant) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let (begun, share) = tenants.entry(tenant.clone()).or_insert((at, 0));
        let now = share_of(*begun, at, self.end).max(*share);
        self.bar.inc(now - *share);
        *share = now;
        self.bar.set_message(format!("{tenant} up to {}", instant(at.min(self.end))));
    }
}

fn share_of(begun: Instant, at: Instant, end: Instant) -> u64 {
    let (past, whole) = (at.saturating_sub(begun), end.saturating_sub(begun));
    match (u64::try_from(past), u64::try_from(whole)) {
        (Ok(past), Ok(whole)) if past < whole => past.saturating_mul(WHOLE) / whole,
        _ => WHOLE,
    }
}

/// For people.
pub fn print(Report { told, elapsed_ms }: &Report) {
    let rate = told.decisions * 1_000 / (*elapsed_ms).max(1);
    println!("{} decisions judged again, {rate} a second", told.decisions);
    println!("{} come out otherwise", told.differences);
    print_flips(&told.flips, &told.users, &told.agents);
    for (what, sums) in [
        ("newly denied", &told.newly_denied),
        ("newly allowed", &told.newly_allowed),
        ("still allowed, as priced", &told.cost_before),
        ("still allowed, as it would be", &told.cost_after),
        ("still allowed, as tenants charged", &told.price_before),
        ("still allowed, as tenants would charge", &told.price_after),
    ] {
        if sums.iter().next().is_some() {
            println!("{what}: {}", money(sums));
        }
    }
    for (count, why) in [
        (told.unasked, "were refused before any policy was asked"),
        (told.forced, "were cut short by the host"),
        (
            told.unreadable,
            "batches were written by a later version, or with components that are kept nowhere",
        ),
    ] {
        if count > 0 {
            println!("{count} {why}, and are not judged again");
        }
    }
    for (counter, count) in &told.unrecorded {
        println!("{count} cannot be judged: nobody was fed `{counter}` then. Bind it in shadow");
    }
    for read in &told.unfed {
        println!("it reads `{read}`, which nobody was fed then: it is judged without");
    }
}

/// What comes out otherwise, and for whom.
pub fn print_flips(flips: &[Flip], users: &[Hit], agents: &[Hit]) {
    for Flip { from, to, count, money: sums, examples } in flips {
        println!("{count:>10}  {from} -> {to}  {}", money(sums));
        for own in examples {
            let dimensions = own.dimensions.iter().map(|own| format!("{}={}", own.name, own.value));
            let dimensions = dimensions.collect::<Vec<_>>().join(" ");
            println!("            {}  {}  {dimensions}", instant(own.at), own.tenant);
            println!("              {} -> {}", own.before, own.after);
        }
    }
    for (what, hits) in [("users", users), ("agents", agents)] {
        if !hits.is_empty() {
            let hits = hits.iter().map(|own| format!("{} ({})", own.value, own.count));
            println!("{what} most hit: {}", hits.collect::<Vec<_>>().join(", "));
        }
    }
}

fn money(sums: &Sums) -> String {
    sums.iter().map(|money| money.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_through_at_the_end_and_never_goes_back() {
        let progress = Progress::of(2, 2_000);
        let (one, other): (Tenant, Tenant) = ("one".parse().unwrap(), "other".parse().unwrap());
        for (tenant, at, position) in [
            (&one, 1_000, 0),
            (&one, 1_500, 500),
            (&other, 1_900, 500),
            (&one, 1_400, 500),
            (&other, i64::MAX, 1_500),
            (&one, 2_000, 2_000),
            (&one, 2_000, 2_000),
        ] {
            progress.on(tenant, at);
            assert_eq!(progress.bar.position(), position, "{tenant} at {at}");
        }
        assert_eq!(progress.bar.length(), Some(2_000));
    }
}
