//! `tollgate simulate`: a trace of calls, each priced, reserved and settled, by the trace's own
//! clock.

mod config;
mod report;
mod trace;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use chrono_tz::Tz;
use indicatif::{ProgressBar, ProgressStyle};
use tollgate_host::engine::{Answer, Binding, Call, Engine, Event, Setup};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::dimension;
use tollgate_policy_core::prices::{MODEL_UNKNOWN, PriceList};

use crate::components;
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
    /// Whose set-up of the file
    #[arg(long, requires = "config")]
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
}

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
    let mut engine = Engine::new(set_up(config)?)?;
    let report =
        simulate(&mut engine, &rows).with_context(|| format!("`{}`", arguments.trace.display()))?;
    if arguments.json {
        println!("{}", report.json()?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn set_up(config: Config) -> Result<Setup> {
    let sandbox = components::sandbox(config.sandbox, components::cache_directory())?;
    let mut bindings = Vec::new();
    for policy in &config.policies {
        let name = policy.name().to_owned();
        let component = components::read(&policy.component)?;
        let settings = serde_json::to_string(&policy.settings)?;
        let policy = sandbox
            .load(&component, &settings)
            .with_context(|| format!("policy `{name}` is refused"))?;
        bindings.push(Binding { name, policy });
    }
    let catalog = match config.catalog {
        Catalog::None => None,
        Catalog::Current => Some(PriceList::catalog()?),
        Catalog::Seed => Some(PriceList::seed()?),
    };
    let calendar =
        TenantCalendar { zone: config.time_zone, first_day_of_week: config.first_day_of_week };
    Ok(Setup { bindings, calendar, catalog, agents: config.agents })
}

fn simulate(engine: &mut Engine, rows: &[Row]) -> Result<Report> {
    let mut report = Report::default();
    let progress = ProgressBar::new(rows.len() as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} calls {eta}")
    {
        progress.set_style(style);
    }
    let start = Instant::now();
    for row in rows {
        judge(engine, row, &mut report).with_context(|| format!("line {}", row.line))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    report.elapsed = start.elapsed();
    Ok(report)
}

fn judge(engine: &mut Engine, row: &Row, report: &mut Report) -> Result<()> {
    let quantities = row.quantities()?;
    let call =
        Call { at: row.at, dimensions: row.dimensions.clone(), quantities: quantities.clone() };
    let start = Instant::now();
    let answer = engine.reserve(call)?;
    report.decision_took(start.elapsed());
    match answer {
        // A trace that names what no price list knows is wrong as a whole.
        Answer::Denied(denial, _) if denial.code == MODEL_UNKNOWN => bail!("{}", denial.message),
        Answer::Denied(denial, events) => report.denied(&denial, whole(events)?),
        Answer::Allowed(reservation) => {
            let mut settled = engine.settle(*reservation, quantities)?;
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
