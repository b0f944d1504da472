//! The host: takes requests for any tenant, and answers each once what it decided stands in the
//! store. Requests queue in shards; a shard judges what has gathered, writes it all in one go, and
//! only then answers. A tenant belongs to one shard, so that its books have one owner.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tollgate_policy_core::contract::{Denial, Finding, Quantity, Quote};
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter, Money};
use uuid::Uuid;

use super::shard::Shard;
use super::{Call, EngineError, Event, Setup};
use crate::store::{Clock, Closure, Store, StoreError, Tenant};

/// Draws a random number.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// How a host is set up.
#[derive(Clone)]
pub struct HostSettings {
    /// Among how many tasks tenants are divided.
    pub shards: usize,
    /// So many requests are judged before they are written.
    pub batch_max: usize,
    /// Measures time between two answers of the store, whose clock is the one that counts.
    pub clock: Clock,
    /// For identifiers and stamps.
    pub random: Random,
}

/// What a host is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// May this call go ahead? What it needs is held.
    Reserve {
        /// The call; its instant is that of the answer.
        call: Call,
        /// For how long.
        ttl_ms: i64,
    },
    /// This is what a reserved call used.
    Settle {
        /// The reservation's.
        id: Uuid,
        /// What was used.
        used: Vec<Quantity>,
    },
    /// A reserved call does not take place.
    Release {
        /// The reservation's.
        id: Uuid,
    },
}

impl Operation {
    fn check(&self) -> Result<(), HostError> {
        let quantities = match self {
            Self::Reserve { call, .. } => &call.quantities,
            Self::Settle { used, .. } => used,
            Self::Release { .. } => return Ok(()),
        };
        match quantities.iter().find(|quantity| quantity.amount.is_negative()) {
            Some(Quantity { meter, amount }) => {
                Err(HostError::Negative { meter: meter.clone(), amount: *amount })
            }
            None => Ok(()),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Settle { .. } => "settle",
            Self::Release { .. } => "release",
        }
    }

    /// Of all that was asked.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(serde_json::to_vec(self).unwrap_or_default()).into()
    }
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The call may go ahead.
    Reserved {
        /// By which it is settled or released.
        id: Uuid,
        /// Until then it is held.
        expires_at: Instant,
        /// What its estimate costs; none where nothing prices.
        quote: Option<Quote>,
        /// What the policies found.
        findings: Vec<Finding>,
    },
    /// It may not.
    Denied {
        /// Why.
        denial: Denial,
        /// What follows from that.
        events: Vec<Event>,
    },
    /// Its use is booked.
    Settled {
        /// What it cost; none where nothing prices.
        cost: Option<Money>,
        /// Whether its reservation's time was over.
        late: bool,
        /// What follows from it.
        events: Vec<Event>,
    },
    /// What was held is given back.
    Released,
}

/// A host gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine's. Nothing was written.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No such tenant is set up in this host.
    #[error("there is no tenant `{0}`: set it up first")]
    UnknownTenant(Tenant),
    /// The key was used for something else.
    #[error("the key `{0}` was used for another request: choose a new one")]
    KeyReused(String),
    /// An amount below zero, which would make room for others.
    #[error("{amount} of `{meter}` is below zero: report what was used too much by an adjustment")]
    Negative {
        /// Of what.
        meter: Meter,
        /// How much.
        amount: Decimal,
    },
    /// There never was such a reservation.
    #[error("there is no reservation `{0}`")]
    UnknownReservation(Uuid),
    /// It ended before.
    #[error("reservation `{id}` was {how} before", how = words(*how))]
    Ended {
        /// The reservation's.
        id: Uuid,
        /// How.
        how: Closure,
    },
    /// The host is going down.
    #[error("the host is going down")]
    Stopped,
}

fn words(how: Closure) -> &'static str {
    match how {
        Closure::Settled => "settled",
        Closure::Released => "released",
        Closure::Expired => "given up, as its time was over,",
    }
}

/// A request on its way.
pub(super) struct Ask {
    pub tenant: Tenant,
    pub key: Option<String>,
    pub operation: Operation,
    pub reply: oneshot::Sender<Result<Outcome, HostError>>,
}

/// A host. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    shards: Arc<[mpsc::Sender<Ask>]>,
}

impl Host {
    /// Starts a host on a store, with these tenants, which are created where they are not there.
    pub async fn start<S: Store>(
        store: Arc<S>,
        tenants: HashMap<Tenant, Arc<Setup>>,
        settings: HostSettings,
    ) -> Result<Self, HostError> {
        for tenant in tenants.keys() {
            store.create(tenant).await?;
        }
        let tenants = Arc::new(tenants);
        let shards = (0..settings.shards.max(1)).map(|_| {
            let (sender, receiver) = mpsc::channel(settings.batch_max.max(1) * 4);
            let shard = Shard::new(Arc::clone(&store), Arc::clone(&tenants), settings.clone());
            tokio::spawn(shard.run(receiver));
            sender
        });
        Ok(Self { shards: shards.collect() })
    }

    /// Asks, and waits until the answer stands. With a key, asking again gives the same answer. A
    /// caller that no longer waits changes nothing of what becomes of it.
    pub async fn ask(
        &self,
        tenant: &Tenant,
        key: Option<String>,
        operation: Operation,
    ) -> Result<Outcome, HostError> {
        operation.check()?;
        let mut hasher = DefaultHasher::new();
        tenant.hash(&mut hasher);
        let count = u64::try_from(self.shards.len()).unwrap_or(1);
        let place = usize::try_from(hasher.finish() % count).unwrap_or_default();
        let (reply, answer) = oneshot::channel();
        let ask = Ask { tenant: tenant.clone(), key, operation, reply };
        self.shards[place].send(ask).await.map_err(|_| HostError::Stopped)?;
        answer.await.map_err(|_| HostError::Stopped)?
    }
}
