//! `tollgate simulate`: a trace of calls, each priced, reserved and settled, by the trace's own
//! clock.

mod config;
mod report;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono_tz::Tz;
use indicatif::{ProgressBar, ProgressStyle};
use tollgate_host::engine::{
    AgentText, Author, Binding, Call, Event, Host, Operation, Setup, Subject,
};
use tollgate_host::store::{Clock, Durability, Need, Owner, RegistryStore, Signed, Store, Tenant};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::dimension;
use tollgate_policy_core::prices::{MODEL_UNKNOWN, PriceList};

use crate::components;
use crate::stores::{AnyStore, Clocks, StoreUrl};
use crate::surroundings::random;
use config::{Catalog, Config, LimitFlag, Prices};
use report::Report;
use trace::Row;

/// What is simulated.
#[derive(clap::Args)]
pub struct Arguments {
    /// CSV in the order of time: TIMESTAMP,ContextTokens,GeneratedTokens and, where there are
    /// such, Model,Provider,User,Agent,Session,ApiKeyType
    #[arg(long)]
    trace: PathBuf,
    /// The policies and their settings, TOML; without it the flags below
    #[arg(long, conflicts_with_all = ["model", "prices", "monthly_limit", "limit", "time_zone"])]
    config: Option<PathBuf>,
    /// Whose set-up of the file, and whose ledger
    #[arg(long)]
    tenant: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
    /// The model of rows that name none
    #[arg(long)]
    model: Option<String>,
    /// Where prices come from
    #[arg(long, value_enum, default_value = "seed")]
    prices: Prices,
    /// What the tenant may spend in a calendar month, in US dollars
    #[arg(long, value_name = "AMOUNT")]
    monthly_limit: Option<Decimal>,
    /// A limit of the tenant, such as `llm_requests=1000/day`; may be repeated
    #[arg(long, value_name = "METER=N/PERIOD")]
    limit: Vec<LimitFlag>,
    /// The tenant's time zone
    #[arg(long, default_value = "UTC")]
    time_zone: Tz,
    /// Where the ledger is kept: `postgres://…`, or the path of a SQLite file; without it in a
    /// temporary file
    #[arg(long, value_name = "URL")]
    store: Option<StoreUrl>,
}

/// How long a call is held. It is settled at once, so that none of them expires.
const TTL: Duration = Duration::from_secs(60);

/// Runs it and prints what came out. Nothing is printed where anything fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let config = match &arguments.config {
        Some(path) => Config::read(path, arguments.tenant.as_deref())?,
        None => Config::from_flags(
            arguments.model.as_deref(),
            arguments.prices,
            arguments.time_zone,
            arguments.monthly_limit,
            &arguments.limit,
        ),
    };
    let rows = trace::read(&arguments.trace, config.default_model.as_deref())?;
    let tenant: Tenant = arguments.tenant.as_deref().unwrap_or("default").parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let now = Arc::new(AtomicI64::new(rows.first().map_or(0, |row| row.at)));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let (url, clocks) = (arguments.store.as_ref(), Clocks::All(clock.clone()));
        match StoreUrl::open(url, clocks, Durability::Required).await? {
            AnyStore::Postgres(store) => simulate(store, tenant, config, &rows, &now, clock).await,
            AnyStore::Sqlite(store, _directory) => {
                simulate(store, tenant, config, &rows, &now, clock).await
            }
        }
    });
    let report = report.with_context(|| format!("`{}`", arguments.trace.display()))?;
    if arguments.json {
        println!("{}", report.json()?);
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn set_up(store: &impl RegistryStore, config: &Config, at: i64) -> Result<Setup> {
    let sandbox = components::sandbox(config.sandbox, components::cache_directory())?;
    let mut bindings = Vec::new();
    for policy in &config.policies {
        let name = policy.name().to_owned();
        let component = components::read(&policy.component)?;
        let settings = serde_json::to_string(&policy.settings)?;
        let policy = sandbox
            .load(&component, &settings)
            .with_context(|| format!("policy `{name}` is refused"))?;
        // So that what is decided can be judged again.
        let (author, message) = ("simulation".to_owned(), String::new());
        let signed = Signed { at, author, message };
        let digest = &policy.admitted().digest;
        store.put_component(&Owner::Platform, digest, &component, &signed).await?;
        bindings.push(Binding::new(name, policy));
    }
    let catalog = match config.catalog {
        Catalog::None => None,
        Catalog::Current => Some(Arc::new(PriceList::catalog()?)),
        Catalog::Seed => Some(Arc::new(PriceList::seed()?)),
    };
    let calendar =
        TenantCalendar { zone: config.time_zone, first_day_of_week: config.first_day_of_week };
    Ok(Setup { bindings, calendar, catalog, ..Setup::default() })
}

async fn simulate(
    store: impl Store + RegistryStore,
    tenant: Tenant,
    config: Config,
    rows: &[Row],
    now: &AtomicI64,
    clock: Clock,
) -> Result<Report> {
    let begins = rows.first().map_or(0, |row| row.at);
    let setup = set_up(&store, &config, begins).await?;
    let store = Arc::new(store);
    let host = Host::builder(Arc::clone(&store), clock, random())
        .tenant(tenant.clone(), setup)
        .shards(1)
        // A trace is of another time than what others keep in this store.
        .without_upkeep()
        .start()
        .await?;
    let found = store.read(&[Need::head(tenant.clone())]).await?;
    if found.iter().any(|found| found.head.at > begins) {
        bail!(
            "tenant `{tenant}` of this store lives later than the trace begins: name a new one with `--tenant`"
        );
    }
    for (name, settings) in config.agents {
        let agent = AgentText { name: None, settings: settings.to_string(), enabled: true };
        let subject = Subject::Agent(name, Some(agent));
        let by = Author::Person("configuration".into());
        host.ask(&tenant, None, Operation::Set { subject, by }).await?;
    }
    let mut report = Report::default();
    let progress = ProgressBar::new(rows.len() as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} calls {eta}")
    {
        progress.set_style(style);
    }
    let start = Instant::now();
    for row in rows {
        now.store(row.at, Ordering::Relaxed);
        judge(&host, &tenant, row, &mut report)
            .await
            .with_context(|| format!("line {}", row.line))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    report.elapsed = start.elapsed();
    Ok(report)
}

async fn judge(host: &Host, tenant: &Tenant, row: &Row, report: &mut Report) -> Result<()> {
    let quantities = row.quantities()?;
    let call = Call { dimensions: row.dimensions.clone(), quantities: quantities.clone() };
    let start = Instant::now();
    let answer = host.reserve(tenant, None, call, TTL).await?;
    report.decision_took(start.elapsed());
    match answer {
        // A trace that names what no price list knows is wrong as a whole.
        Err(denied) if denied.denial.code == MODEL_UNKNOWN => bail!("{}", denied.denial.message),
        Err(denied) => {
            if let Some((policy, fault)) = denied.fault {
                bail!("policy `{policy}`: {fault}");
            }
            report.denied(&denied.denial, whole(denied.events)?);
        }
        Ok(reserved) => {
            let mut settled = host.settle(tenant, None, reserved.id, quantities).await?;
            settled.events = whole(settled.events)?;
            let model = dimension(&row.dimensions, "model");
            report.allowed(model, row.input, row.output, settled)?;
        }
    }
    Ok(())
}

/// A simulation in which a policy fails is wrong as a whole.
fn whole(events: Vec<Event>) -> Result<Vec<Event>> {
    for event in &events {
        if let Event::Failed { policy, fault } = event {
            bail!("policy `{policy}`: {fault}");
        }
    }
    Ok(events)
}
