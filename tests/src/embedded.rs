//! A host as the fault tests embed it, in a process of its own or in the test's: the one place of
//! theirs that knows the engine. What is asked and answered is in words of the tests' own, so that
//! what judges the answers knows nothing of who gave them.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tollgate_host::engine::{
    Binding, Call, Denied, Host, HostError, Mode, Operation, Outcome, Recorded, Reserved, Setup,
};
use tollgate_host::registry::Registry;
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{RegistryStore, Store, StoreError};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Dimension, Quantity};
use uuid::Uuid;

/// Something to ask of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// By which the test knows it; asked again it is the same number.
    pub number: u64,
    /// Whose.
    pub tenant: String,
    /// The idempotency key, if it has one.
    pub key: Option<String>,
    /// What.
    pub what: What,
}

/// What there is to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Tokens for an agent.
    Reserve {
        /// How many.
        amount: Decimal,
        /// Whose.
        agent: String,
        /// For how long.
        ttl_ms: i64,
    },
    /// A reservation's tokens were used.
    Settle {
        /// The reservation's.
        id: Uuid,
        /// How many.
        used: Decimal,
    },
    /// A reservation is given back.
    Release {
        /// The reservation's.
        id: Uuid,
    },
}

/// What a host says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's.
    pub number: u64,
    /// What it says.
    pub answer: Answer,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It may go ahead.
    Reserved {
        /// By which it is ended.
        id: Uuid,
        /// The answer as a whole, as it was given.
        whole: String,
    },
    /// It may not.
    Denied {
        /// Why.
        code: String,
        /// The answer as a whole, as it was given.
        whole: String,
    },
    /// Its use is booked.
    Settled {
        /// What it cost.
        cost: Option<Decimal>,
        /// The answer as a whole, as it was given.
        whole: String,
    },
    /// It is given back.
    Released,
    /// The host gave no answer.
    None(Trouble, String),
}

/// Why a host gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The store is not available: nothing was written.
    Unavailable,
    /// The store was lost: it may stand or not.
    Lost,
    /// The store refuses it for ever.
    Refused,
    /// The reservation ended before.
    Ended,
    /// The key was used for something else.
    KeyReused,
    /// Anything else. Nothing was written.
    Other,
}

/// A host and the tenants it serves: `t0`, `t1` and so on, which may each use so many tokens for
/// each agent, until something else is bound for them.
#[derive(Clone)]
pub struct Embedded(Host);

impl Embedded {
    /// Starts one on a store. Compiled components are kept in `cache`.
    pub async fn start<S: Store + RegistryStore>(
        store: Arc<S>,
        cache: &Path,
        tenants: usize,
        limit: Decimal,
    ) -> Result<Self, String> {
        let sandbox = sandbox(cache);
        let setup = Arc::new(setup(&sandbox, limit));
        let registry = Registry::new(Arc::clone(&store), sandbox);
        let random = Random::default();
        let mut builder = Host::builder(store, Arc::new(clock_ms), Arc::new(move || random.next()));
        for number in 0..tenants {
            let tenant = format!("t{number}").parse().expect("a tenant's name");
            builder = builder.tenant(tenant, Arc::clone(&setup));
        }
        let host = builder.start().await.map_err(|error| error.to_string())?;
        tokio::spawn(registry.follow(host.clone(), FOLLOWING));
        Ok(Self(host))
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, request: &Request) -> Answer {
        let tenant = request.tenant.parse().expect("a tenant's name");
        let operation = match &request.what {
            What::Reserve { amount, agent, ttl_ms } => Operation::Reserve {
                call: Call {
                    dimensions: [("agent", agent.as_str()), ("model", "gpt-4o")]
                        .map(|(name, value)| Dimension { name: name.into(), value: value.into() })
                        .to_vec(),
                    quantities: tokens(*amount),
                },
                ttl_ms: *ttl_ms,
                mode: Mode::All,
            },
            What::Settle { id, used } => Operation::Settle { id: *id, used: tokens(*used) },
            What::Release { id } => Operation::Release { id: *id },
        };
        match self.0.ask(&tenant, request.key.clone(), operation).await {
            Ok(outcome) => said(&outcome),
            Err(error) => Answer::None(trouble(&error), error.to_string()),
        }
    }
}

fn said(outcome: &Outcome) -> Answer {
    let whole = serde_json::to_string(outcome).expect("an answer is JSON");
    match outcome {
        Outcome::Reserved(Reserved { id, .. }) => Answer::Reserved { id: *id, whole },
        Outcome::Denied(Denied { denial, .. }) => {
            Answer::Denied { code: denial.code.clone(), whole }
        }
        Outcome::Settled(Recorded { charged, .. }) => {
            Answer::Settled { cost: charged.cost.map(|cost| cost.amount), whole }
        }
        Outcome::Released => Answer::Released,
        other => Answer::None(Trouble::Other, format!("{other:?}")),
    }
}

fn trouble(error: &HostError) -> Trouble {
    match error {
        HostError::Store(StoreError::Unavailable(_)) => Trouble::Unavailable,
        HostError::Store(StoreError::Lost(_)) => Trouble::Lost,
        HostError::Store(StoreError::Refused(_)) => Trouble::Refused,
        HostError::Ended { .. } => Trouble::Ended,
        HostError::KeyReused(_) => Trouble::KeyReused,
        _ => Trouble::Other,
    }
}

/// The one in which a host's policies run.
#[must_use]
pub fn sandbox(cache: &Path) -> Arc<Sandbox> {
    let limits = Limits::default();
    let (instances, compiler) = (Instances::Pooled(32), Compiler::InProcess);
    let settings = Settings { limits, instances, compiler, cache: Some(cache.to_owned()) };
    Arc::new(Sandbox::new(settings).expect("the sandbox"))
}

/// How often a host looks for what is bound, if nobody tells it.
const FOLLOWING: Duration = Duration::from_millis(250);

/// One counter of tokens, priced by the seed list: so all that moves for a tenant is in one place.
fn setup(sandbox: &Sandbox, limit: Decimal) -> Setup {
    let binding = |name: &str, settings: &str| {
        let component = tollgate_plugins::standard(name).expect("a standard component");
        Binding::new(name, sandbox.load(component, settings).expect("let in"))
    };
    let quota = format!(
        r#"{{"limits":[{{"meter":"llm_tokens","period":"total","per":["agent"],"limit":"{limit}"}}]}}"#
    );
    Setup { bindings: vec![binding("pricing", "{}"), binding("quota", &quota)], ..Setup::default() }
}

fn tokens(amount: Decimal) -> Vec<Quantity> {
    ["llm_tokens", "llm_tokens.input"]
        .map(|meter| Quantity { meter: meter.parse().expect("a meter"), amount })
        .to_vec()
}

/// The time of day: what the tests start is the outermost layer.
#[allow(clippy::disallowed_methods, reason = "the outermost layer")]
pub fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the end of time")
}

/// Numbers that no other process draws, since its hashers are seeded by the system.
#[derive(Default)]
struct Random {
    hashers: [RandomState; 2],
    drawn: AtomicU64,
}

impl Random {
    fn next(&self) -> u128 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one(drawn));
        u128::from(high) << 64 | u128::from(low)
    }
}
