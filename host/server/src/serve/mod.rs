//! `tollgate serve`: the host as a service over HTTP.

mod agents;
mod answers;
mod audit;
mod calls;
mod channels;
mod cloud_events;
mod decisions;
mod disablements;
mod document;
mod door;
mod happened;
mod invoices;
mod ledger;
mod listen;
mod metrics;
mod notified;
mod policies;
mod problem;
mod quotas;
mod rollout;
mod route;
mod routes;
mod runs;
mod settings;
mod shapes;
mod shares;
mod stream;
mod telemetry;
mod tenants;
mod tokens;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tollgate_host::engine::{BindingMode, Failing, Host, Random};
use tollgate_host::registry::{Bound, By, Registry, Upload};
use tollgate_host::store::{Clock, Owner, Scope, Tenant};
use tracing::Instrument;

use crate::access::{Role, Token};
use crate::components::{self, Cache};
use crate::hosts::{self, Keeping};
use crate::monitor::{self, Monitor};
use crate::notices::{self, Outbox, Outgoing, Sending};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::{random, steady_clock, told_to_stop};
use crate::token::{New, create};
pub use audit::ActBody;
use door::Tokens;
use metrics::Metrics;
use problem::Problem;
use route::Route;
use shares::{Budget, Shares};
use stream::Feeds;

/// How often hosts ask what was bound, where nobody tells them.
const FOLLOWING: Duration = Duration::from_millis(250);

/// Workers that are never idle ask for what has come in after so many tasks. Judging is a long one: with
/// tokio's 61 the slowest hundredth of answers took twice as long, and there were a tenth fewer.
const EVENT_INTERVAL: u32 = 7;

/// So many requests that take long are taken in at a time.
const LONG_AT_A_TIME: usize = 2;

/// So many channels are tried at a time, one of each tenant.
const TRIALS_AT_A_TIME: usize = 16;

/// Where and for whom to serve.
#[derive(Args)]
pub struct Arguments {
    /// Settings, TOML: its keys are these flags, `requests_max = 512`
    #[arg(long, env = "TOLLGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints all settings with their defaults, as such a file, and ends
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub place: StorePlace,
    /// Where to listen
    #[arg(
        long,
        env = "TOLLGATE_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,
    /// A collector's address for traces over OTLP, `http://localhost:4318/v1/traces`
    #[arg(long, env = "TOLLGATE_OTLP", value_name = "URL")]
    otlp: Option<String>,
    /// What is logged: `debug`, or by where it comes from, `warn,tollgate=debug`
    #[arg(long, env = "TOLLGATE_LOG", value_name = "LEVEL", default_value = "info")]
    log: String,
    #[command(flatten)]
    pub cache: Cache,
    #[command(flatten)]
    pub sending: Sending,
    #[command(flatten)]
    keeping: Keeping,
    #[command(flatten)]
    limits: Limits,
}

/// How much is taken in at a time.
#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// So many connections are open at a time; others wait to be let in
    #[arg(long, env = "TOLLGATE_CONNECTIONS_MAX", default_value_t = 4_096)]
    pub connections_max: usize,
    /// So many requests are answered at a time, of one tenant's tokens half as many; others are told to
    /// come again
    #[arg(long, env = "TOLLGATE_REQUESTS_MAX", default_value_t = 1_024)]
    pub requests_max: usize,
    /// So many streams of one tenant are open at a time; others are told to come again
    #[arg(long, env = "TOLLGATE_STREAMS_MAX", default_value_t = 64)]
    pub streams_max: usize,
    /// The longest body of a request
    #[arg(long, env = "TOLLGATE_BODY_BYTES", default_value_t = 1 << 20)]
    pub body_bytes: usize,
    /// So many bytes of bodies are held at a time, half of them for one tenant's tokens; others are told
    /// to come again
    #[arg(long, env = "TOLLGATE_BODIES_BYTES", default_value_t = 64 << 20)]
    pub bodies_bytes: usize,
    /// The longest header of a request
    #[arg(long, env = "TOLLGATE_HEADER_BYTES", default_value_t = 16 << 10)]
    pub header_bytes: usize,
    /// How long a request may take to arrive, and a connection be silent
    #[arg(long, env = "TOLLGATE_ARRIVAL_SECONDS", default_value_t = 30)]
    pub arrival_seconds: u64,
    /// How long the service takes connections yet when it is told to stop, and says that it is not ready:
    /// until whoever balances its load has noticed
    #[arg(long, env = "TOLLGATE_STOP_DELAY_SECONDS", default_value_t = 0)]
    pub stop_delay_seconds: u64,
    /// How long all that is under way has to end after that
    #[arg(long, env = "TOLLGATE_STOP_SECONDS", default_value_t = 25)]
    pub stop_seconds: u64,
}

/// What all requests share.
pub struct Service<S> {
    pub host: Host,
    pub registry: Registry<S>,
    pub tokens: Tokens,
    pub clock: Clock,
    pub random: Random,
    pub limits: Limits,
    pub outgoing: Arc<Outgoing>,
    pub feeds: Feeds,
    pub metrics: Metrics,
    /// Turns true when the service is told to stop.
    leaving: watch::Receiver<bool>,
    /// Turns true when the service stops.
    pub stopping: watch::Receiver<bool>,
    /// Requests that may be answered at a time.
    places: Arc<Semaphore>,
    /// Those among them that each tenant's tokens take.
    shares: Shares,
    /// What their bodies may come to until they are read.
    bodies: Budget,
    /// Those among them that take long.
    turns: Arc<Semaphore>,
    /// Trials of channels, which take as long as their receivers.
    trials: Budget,
}

impl<S: Stores> Service<S> {
    /// An error: there is no such tenant. One of which this server has not heard is asked after.
    async fn know(&self, tenant: &Tenant) -> Result<(), Problem> {
        let Err(unknown) = self.host.setup(tenant) else { return Ok(()) };
        self.registry.bring_to(&self.host, Some(tenant)).await?;
        let is_there = self.host.setup(tenant).is_ok()
            // It cannot be judged, and may be looked at.
            || self.registry.troubles().iter().any(|(own, _)| own == tenant);
        if is_there { Ok(()) } else { Err(unknown.into()) }
    }

    /// Judges by what is bound now; an error: this tenant cannot be judged here at all.
    pub async fn bring(&self, tenant: Option<&Tenant>) -> Result<(), Problem> {
        self.registry.bring_to(&self.host, tenant).await?;
        let troubles = self.registry.troubles();
        match troubles.into_iter().find(|(own, _)| Some(own) == tenant) {
            Some((own, trouble)) if self.host.setup(&own).is_err() => {
                let why = Problem::from(trouble).detail;
                let words = format!("it is bound, and does not load on this server: {why}");
                Err(Problem::unavailable(words))
            }
            _ => Ok(()),
        }
    }
}

/// Serves until it is told to stop.
pub fn run(arguments: &Arguments) -> Result<()> {
    // It ends last, after the runtime, with all that is to be told.
    let _telemetry = telemetry::begin(&arguments.log, arguments.otlp.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .event_interval(EVENT_INTERVAL)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match arguments.place.open().await? {
            AnyStore::Postgres(store) => serve(arguments, store).await,
            AnyStore::Sqlite(store, _) => serve(arguments, store).await,
        }
    })
}

async fn serve<S: Stores>(arguments: &Arguments, store: S) -> Result<()> {
    let (store, random) = (Arc::new(store), random());
    let outgoing = arguments.sending.outgoing()?;
    let registry = hosts::registry_with(Arc::clone(&store), arguments.cache.directory())?;
    begin(&registry, &random).await?;
    let host = hosts::start(&registry, &random, Some(arguments.keeping.retention())).await?;
    let delay = Duration::from_secs(arguments.limits.stop_delay_seconds);
    let (leave, leaving) = watch::channel(false);
    let (stop, stopping) = watch::channel(false);
    let told = told_to_stop()?;
    tokio::spawn(async move {
        told.await;
        leave.send_replace(true);
        tokio::time::sleep(delay).await;
        stop.send_replace(true);
    });
    let outbox = Arc::new(Outbox {
        store: Arc::clone(&store),
        host: host.clone(),
        outgoing: outgoing.clone(),
        random: random.clone(),
        stopping: stopping.clone(),
    });
    let beside = [
        tokio::spawn(registry.clone().follow(host.clone(), FOLLOWING)),
        tokio::spawn(Monitor::new(store, host.clone()).run(monitor::EVERY)),
    ];
    let sending = tokio::spawn(outbox.run(notices::EVERY));
    let limits = arguments.limits.clone();
    let places = Arc::new(Semaphore::new(limits.requests_max));
    let service = Arc::new(Service {
        host: host.clone(),
        registry,
        tokens: Tokens::default(),
        clock: steady_clock(),
        random,
        outgoing,
        feeds: Feeds::default(),
        metrics: Metrics::default(),
        leaving,
        stopping: stopping.clone(),
        places: Arc::clone(&places),
        shares: Shares::default(),
        bodies: Budget::new(limits.bodies_bytes, limits.bodies_bytes.div_ceil(2)),
        turns: Arc::new(Semaphore::new(LONG_AT_A_TIME)),
        trials: Budget::new(TRIALS_AT_A_TIME, 1),
        limits,
    });
    let listener = TcpListener::bind(&arguments.listen)
        .await
        .with_context(|| format!("cannot listen on `{}`", arguments.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let limits = service.limits.clone();
    let every_place = u32::try_from(limits.requests_max).unwrap_or(u32::MAX);
    let mut stops = stopping.clone();
    let ended = async {
        // What is being sent ends by itself, or is sent again.
        let listening = listen::serve(listener, router(service), &limits, stopping);
        let ((), _) = tokio::join!(listening, sending);
        beside.iter().for_each(JoinHandle::abort);
        // Whoever hung up may have left something under way.
        let _ = places.acquire_many(every_place).await;
        host.drained().await;
    };
    let too_late = async {
        let _ = stops.wait_for(|stops| *stops).await;
        tokio::time::sleep(Duration::from_secs(limits.stop_seconds)).await;
    };
    tokio::select! {
        () = ended => {}
        () = too_late => tracing::warn!("some of what was under way did not end in time"),
    }
    Ok(())
}

/// At the first start of all, the standard policies are bound for every tenant, and whoever binds
/// them makes the first token.
async fn begin<S: Stores>(registry: &Registry<S>, random: &Random) -> Result<()> {
    let scope = Scope { owner: Owner::Platform, plan: String::new() };
    if registry.bound(&scope).await?.0 == 0 && bind_standard(registry, &scope).await? {
        let new = New { name: "first".into(), role: Role::Admin, tenant: None, ttl_ms: None };
        let token: Token = create(&**registry.store(), random, &new, "tollgate serve").await?;
        println!("the first start: this token may do everything, and is shown this once");
        println!("{}", token.reveal());
    } else if registry.store().tokens(None).await?.is_empty() {
        tracing::warn!("there is no token yet: make one with `tollgate token create`");
    }
    Ok(())
}

/// The standard policies with their standard settings; prices are those of the current catalog.
const STANDARD: [(&str, &str); 4] =
    [("pricing", r#"{"prices":"host"}"#), ("quota", "{}"), ("alerts", "{}"), ("estimate", "{}")];

/// False: somebody else bound something first.
async fn bind_standard<S: Stores>(registry: &Registry<S>, scope: &Scope) -> Result<bool> {
    let message = "the standard policies, at the first start".into();
    let by = By { author: "tollgate serve".into(), message };
    let mut policies = Vec::with_capacity(STANDARD.len());
    for (policy, settings) in STANDARD {
        let component = components::read(policy)?;
        let upload = Upload::new(policy, &component, settings);
        policies.push(Bound {
            policy: policy.into(),
            of: scope.owner.clone(),
            revision: registry.push(&scope.owner, &upload, &by).await?.id.number,
            failing: Failing::default(),
            mode: BindingMode::default(),
        });
    }
    Ok(registry.bind_first(scope, policies, &by).await?)
}

/// All routes, each behind the door.
fn router<S: Stores>(service: Arc<Service<S>>) -> Router {
    let mut router = Router::new();
    let routes = routes::routes::<S>();
    let document = Arc::new(document::of(&routes));
    for route in routes {
        let (filter, path) = (filter(&route.method), route.path);
        let route: Arc<Route<S>> = Arc::new(route);
        let handler = move |State(service): State<Arc<Service<S>>>, request: Request| {
            let route = Arc::clone(&route);
            async move {
                let waiting = Arc::clone(&service);
                let Ok(place) = Arc::clone(&waiting.places).try_acquire_owned() else {
                    waiting.metrics.refused();
                    let words = "too much is asked just now: come again";
                    return Problem::unavailable(words).into_response();
                };
                let (began, method) = (Instant::now(), route.method.as_str());
                let span = tracing::debug_span!(
                    target: telemetry::TRACED,
                    "request",
                    otel.kind = "server",
                    http.request.method = method,
                    http.route = route.path,
                    http.response.status_code = tracing::field::Empty,
                    tollgate.tenant = tracing::field::Empty,
                    tollgate.decision = tracing::field::Empty,
                );
                telemetry::go_on(&span, request.headers());
                let entered = door::enter(service, &route, request, place);
                let response = entered.instrument(span.clone()).await;
                let status = response.status();
                span.record("http.response.status_code", status.as_u16());
                waiting.metrics.answered(method, route.path, status, began.elapsed());
                response
            }
        };
        let methods: MethodRouter<Arc<Service<S>>> = on(filter, handler);
        router = router.route(path, methods);
    }
    router
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<S>))
        .route("/v1/openapi.json", get(async move || document.response()))
        .route("/", get(document::page))
        .method_not_allowed_fallback(async || {
            let words = "this address does not take that method";
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words)
        })
        .fallback(async || Problem::not_found("there is nothing at this address"))
        .with_state(service)
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}

/// Whether calls can be judged just now, and in a moment.
async fn ready<S: Stores>(State(service): State<Arc<Service<S>>>) -> Response {
    if *service.leaving.borrow() {
        return Problem::unavailable("the service is about to stop").into_response();
    }
    // The file's clock asks nothing of the file.
    match service.registry.store().token("").await {
        Ok(_) => "ready\n".into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}
