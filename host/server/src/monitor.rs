//! The monitor: at every full hour of a tenant's own time its alerting policies look at all whom they
//! count, also where nothing was asked. One server at a time sees to a tenant; hours that were missed
//! are caught up at once. `tollgate monitor` does it where no service runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::json;
use tokio::sync::watch;
use tollgate_host::engine::{Event, Host, HostError, monitor, next_look};
use tollgate_host::store::Tenant;
use tollgate_policy_core::window::Instant;

use crate::hosts;
use crate::notices::{self, Outbox, Sending};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::{random, told_to_stop};

/// How often it is asked whose hour is full.
pub const EVERY: Duration = Duration::from_secs(20);

/// Who takes a tenant has so long for it; after that somebody else does.
const TAKEN_MS: i64 = 600_000;

/// Under this name the store knows the duty.
const DUTY: &str = "monitor";

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    place: StorePlace,
    /// Looks once, whether an hour is full or not, delivers what is due, and ends
    #[arg(long)]
    once: bool,
    /// Prints what followed as JSON, a line a tenant
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sending: Sending,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.place.open_there().await? {
            AnyStore::Postgres(store) => of(arguments, store).await,
            AnyStore::Sqlite(store, _) => of(arguments, store).await,
        }
    })
}

async fn of<S: Stores>(arguments: &Arguments, store: S) -> Result<()> {
    let (store, random) = (Arc::new(store), random());
    let outgoing = arguments.sending.outgoing()?;
    let registry = hosts::registry(Arc::clone(&store))?;
    let host = hosts::start(&registry, &random, None).await?;
    let monitor = Monitor::new(Arc::clone(&store), host.clone());
    let (stop, stopping) = watch::channel(false);
    let outbox = Outbox { store: Arc::clone(&store), host, outgoing, random, stopping };
    if arguments.once {
        let mut failed = Vec::new();
        for tenant in store.tenants().await? {
            let seen = monitor.look(&tenant, true).await;
            arguments.tell(&tenant, &seen);
            match seen {
                Ok(Seen::Looked(_) | Seen::Taken) => {}
                Ok(Seen::Unserved) => failed.push(format!("{tenant}: {UNSERVED}")),
                Err(error) => failed.push(format!("{tenant}: {error:#}")),
            }
        }
        // What one tenant lacks keeps nobody's notices.
        if let Err(error) = outbox.round().await {
            failed.push(format!("deliveries: {error:#}"));
        }
        if !failed.is_empty() {
            bail!("not all was looked at and delivered\n{}", failed.join("\n"));
        }
        return Ok(());
    }
    let following = registry.clone().follow(outbox.host.clone(), Duration::from_millis(250));
    let told = told_to_stop()?;
    let sending = tokio::spawn(Arc::new(outbox).run(notices::EVERY));
    tokio::select! {
        () = following => {}
        () = monitor.run(EVERY) => {}
        () = told => {}
    }
    stop.send_replace(true);
    let _ = tokio::time::timeout(notices::SENDING, sending).await;
    Ok(())
}

impl Arguments {
    fn tell(&self, tenant: &Tenant, seen: &Result<Seen>) {
        let events = match seen {
            Ok(Seen::Looked(look)) => Some(&look.events),
            _ => None,
        };
        if self.json {
            println!("{}", json!({ "tenant": tenant.as_str(), "events": events }));
            return;
        }
        let Some(events) = events else {
            // Of what failed more is said at the end.
            match seen {
                Ok(Seen::Taken) => println!("{tenant}: another one is at it"),
                Ok(_) => println!("{tenant}: {UNSERVED}"),
                Err(_) => println!("{tenant}: failed"),
            }
            return;
        };
        let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
        let notices = count(|event| matches!(event, Event::Notice { .. }));
        let disabled = count(|event| matches!(event, Event::Disabled { .. }));
        let enabled = count(|event| matches!(event, Event::Enabled { .. }));
        let limited = count(|event| matches!(event, Event::Limited { .. }));
        println!(
            "{tenant}: {notices} notices, {disabled} disabled, {enabled} enabled, {limited} limits changed"
        );
    }
}

/// So many tenants are looked at at a time.
const AT_ONCE: usize = 4;

/// Why nobody looks at a tenant.
const UNSERVED: &str = "it cannot be served with what is bound: `tollgate doctor` says why";

/// What came of a tenant's turn.
pub enum Seen {
    /// It was looked at, or its hour is not full.
    Looked(Look),
    /// Somebody else is at it.
    Taken,
    /// It is not served here, or not yet.
    Unserved,
}

/// What came of looking at a tenant.
pub struct Look {
    events: Vec<Event>,
    /// When it is to be looked at next.
    next: Instant,
}

/// Looks at tenants as their hours are full.
pub struct Monitor<S> {
    store: Arc<S>,
    host: Host,
    /// When tenants are to be looked at next, as far as it is known here.
    next: HashMap<Tenant, Instant>,
}

impl<S: Stores> Monitor<S> {
    pub fn new(store: Arc<S>, host: Host) -> Self {
        Self { store, host, next: HashMap::new() }
    }

    /// Looks for as long as it is not dropped.
    pub async fn run(mut self, every: Duration) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "the monitor could not look");
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Looks at those whose hour is full.
    pub async fn round(&mut self) -> Result<()> {
        let now = self.store.now().await?;
        let mut due = self.store.tenants().await?;
        due.retain(|tenant| self.next.get(tenant).is_none_or(|next| *next <= now));
        let this = &*self;
        let looks = due.into_iter().map(|tenant| async move {
            let look = this.look(&tenant, false).await;
            (tenant, look)
        });
        let mut looked = stream::iter(looks).buffer_unordered(AT_ONCE);
        let mut next = Vec::new();
        while let Some((tenant, look)) = looked.next().await {
            match look {
                Ok(Seen::Looked(look)) => next.push((tenant, look.next)),
                Ok(Seen::Taken | Seen::Unserved) => {}
                Err(error) => tracing::warn!(%tenant, %error, "the monitor could not look"),
            }
        }
        drop(looked);
        self.next.extend(next);
        Ok(())
    }

    /// Looks at one of them if its hour is full, or in any case.
    pub async fn look(&self, tenant: &Tenant, anyway: bool) -> Result<Seen> {
        let setup = match self.host.setup(tenant) {
            Ok(setup) => setup,
            Err(HostError::UnknownTenant(_)) => return Ok(Seen::Unserved),
            Err(error) => return Err(error.into()),
        };
        let now = self.store.now().await?;
        let until = now.saturating_add(TAKEN_MS);
        let Some(since) = self.store.take_duty(tenant, DUTY, now, until).await? else {
            return Ok(Seen::Taken);
        };
        let is_due = anyway || now >= next_look(&setup, since);
        let (done_at, events) = match is_due {
            true => (now, monitor(&self.host, &*self.store, tenant, since).await?),
            false => (since, Vec::new()),
        };
        self.store.did_duty(tenant, DUTY, until, done_at).await?;
        Ok(Seen::Looked(Look { events, next: next_look(&setup, done_at) }))
    }
}
