//! What the service answers, as JSON.

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;
use tollgate_host::engine::{
    ByTariff, Checked, Consulted, Denied, Layer, LimitFinding, Outcome, Recorded, Reserved,
    Standing,
};
use tollgate_policy_core::contract::{Denial, Quote, Status};
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Decimal, Meter, Money};
use uuid::Uuid;

use super::problem::Problem;
use super::route::Answer;
use super::shapes::dimensions_of;
use super::shapes::{Amounts, DecimalText, Dimensions, MeterName, MoneyBody, Time, WindowText};

/// Whether a call may go ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// What was decided on a call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decided {
    pub decision: Decision,
    /// By which it is found under `/v1/decisions`.
    pub decision_id: Uuid,
    /// Where it may go ahead: by which it is settled or released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Uuid>,
    /// Until then it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// What is held: all that was asked for, or what could be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Amounts>,
    /// Where it may not: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialBody>,
    /// What its estimate costs, where it is priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MoneyBody>,
    /// What the tenant charges for that, where it has prices of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyBody>,
    /// What the policies found, limit by limit.
    pub findings: Vec<FindingBody>,
    /// The revisions of the policies that decided: `*/house@3`, `acme/own@1`.
    pub revisions: Vec<String>,
}

/// Why a call may not go ahead.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Denial")]
pub struct DenialBody {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// When it may be worth asking again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
}

/// What a policy found of one of its limits.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct FindingBody {
    /// Whose limit it is.
    pub policy: String,
    pub layer: LayerName,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MeterName>")]
    pub meter: Option<Meter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<WindowText>")]
    pub window: Option<Window>,
    pub status: StatusName,
    /// Settled, before this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub used: Option<Decimal>,
    /// Held by open reservations, before this call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub held: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub limit: Option<Decimal>,
    /// limit − used − held, at least zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub remaining: Option<Decimal>,
    /// When the window closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Time>,
    /// In words.
    pub message: String,
}

/// Whose a policy is.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerName {
    /// The platform's, for all tenants.
    Platform,
    /// The platform's, for tenants on a plan.
    Plan,
    /// The tenant's own.
    Tenant,
}

impl From<Layer> for LayerName {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Platform => Self::Platform,
            Layer::Plan => Self::Plan,
            Layer::Tenant => Self::Tenant,
        }
    }
}

/// How near a limit is, with what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatusName {
    WithinLimit,
    ApproachingLimit,
    AtLimit,
    Exceeded,
    Unknown,
}

impl From<Status> for StatusName {
    fn from(status: Status) -> Self {
        match status {
            Status::WithinLimit => Self::WithinLimit,
            Status::ApproachingLimit => Self::ApproachingLimit,
            Status::AtLimit => Self::AtLimit,
            Status::Exceeded => Self::Exceeded,
            Status::Unknown => Self::Unknown,
        }
    }
}

/// A usage that is booked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Booked {
    /// By which it can be undone.
    pub usage: Uuid,
    /// What it cost, where it is priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MoneyBody>,
    /// What the tenant charges for it, where it has prices of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyBody>,
    /// Whether it was told after the reservation's time, or lies in a window that closed.
    pub late: bool,
    /// Whether it is more than was held for it.
    pub overshoot: bool,
}

impl From<Recorded> for Booked {
    fn from(recorded: Recorded) -> Self {
        let Recorded { usage, charged, late, overshoot, .. } = recorded;
        let ByTariff { cost, price } = charged;
        Self { usage, cost: cost.map(Into::into), price: price.map(Into::into), late, overshoot }
    }
}

/// How near a limit is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Quota {
    /// Whose limit: a policy's name, or who set it.
    pub by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<MeterName>")]
    pub meter: Option<Meter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<WindowText>")]
    pub window: Option<Window>,
    /// Whom it limits; none: the tenant.
    pub dimensions: Dimensions,
    /// Whether there is room for what is asked.
    pub allowed: bool,
    pub status: StatusName,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub limit: Option<Decimal>,
    /// Settled.
    #[schemars(with = "DecimalText")]
    pub used: Decimal,
    /// Held by open reservations.
    #[schemars(with = "DecimalText")]
    pub held: Decimal,
    /// limit − used − held, at least zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<DecimalText>")]
    pub remaining: Option<Decimal>,
    /// When the window closes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Time>,
    /// In words.
    pub message: String,
}

impl From<Standing> for Quota {
    fn from(standing: Standing) -> Self {
        let Standing { by, meter, window, dimensions, allowed, status, limit, used, held, .. } =
            standing;
        Self {
            by,
            meter,
            window,
            dimensions: dimensions_of(&dimensions),
            allowed,
            status: status.into(),
            limit,
            used,
            held,
            remaining: standing.remaining,
            resets_at: standing.closes.map(Time),
            message: standing.message,
        }
    }
}

/// What would become of a call.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedBody {
    pub decision: Decision,
    /// Where it may not go ahead: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialBody>,
    /// What its estimate costs, where it is priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<MoneyBody>,
    /// What the tenant charges for that, where it has prices of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyBody>,
    /// How near each limit is, with this call.
    pub quotas: Vec<Quota>,
    /// As of when.
    pub at: Time,
}

impl CheckedBody {
    pub fn of(checked: Checked) -> Result<Self, Problem> {
        let Checked { at, denial, quotes, standings, .. } = checked;
        Ok(Self {
            decision: if denial.is_some() { Decision::Deny } else { Decision::Allow },
            denial: denial.map(Into::into),
            cost: total(quotes.cost.as_ref())?,
            price: total(quotes.price.as_ref())?,
            quotas: standings.into_iter().map(Into::into).collect(),
            at: Time(at),
        })
    }
}

impl From<Denial> for DenialBody {
    fn from(denial: Denial) -> Self {
        let Denial { code, message, retry_at } = denial;
        Self { code, message, retry_at: retry_at.map(Time) }
    }
}

fn total(quote: Option<&Quote>) -> Result<Option<MoneyBody>, Problem> {
    let total = quote.map(Quote::total).transpose();
    let total = total.map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(total.map(MoneyBody::from))
}

/// What was decided, with header fields that tell how much room is left.
pub fn decided(
    outcome: Outcome,
    at: Instant,
    language: Language,
) -> Result<Answer<Decided>, Problem> {
    let (mut body, consulted) = match outcome {
        Outcome::Reserved(reserved) => {
            let Reserved { id, expires_at, granted, quotes, consulted, .. } = reserved;
            let body = Decided {
                reservation: Some(id),
                expires_at: Some(Time(expires_at)),
                granted: Some(granted.into_iter().collect()),
                cost: total(quotes.cost.as_ref())?,
                price: total(quotes.price.as_ref())?,
                ..Decided::plain(Decision::Allow, id)
            };
            (body, consulted)
        }
        Outcome::Extended { decision, expires_at, quotes, consulted, .. } => {
            let body = Decided {
                expires_at: Some(Time(expires_at)),
                cost: total(quotes.cost.as_ref())?,
                price: total(quotes.price.as_ref())?,
                ..Decided::plain(Decision::Allow, decision)
            };
            (body, consulted)
        }
        Outcome::Denied(Denied { decision, denial, consulted, .. }) => {
            let denial = Some(denial.into());
            (Decided { denial, ..Decided::plain(Decision::Deny, decision) }, consulted)
        }
        _ => return Err(Problem::unavailable("the host is going down")),
    };
    let mut headers = rate_limits(&consulted, at);
    let retry_at = body.denial.as_ref().and_then(|denial| denial.retry_at);
    if let Some(Time(retry_at)) = retry_at {
        headers
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds(retry_at.saturating_sub(at))));
    }
    for Consulted { policy, layer, revision, findings, .. } in consulted {
        body.revisions.extend(revision.map(|revision| revision.to_string()));
        let finding = |own| FindingBody::of(&policy, layer, own, language);
        body.findings.extend(findings.into_iter().map(finding));
    }
    Ok(Answer { body, headers })
}

impl Decided {
    fn plain(decision: Decision, decision_id: Uuid) -> Self {
        Self {
            decision,
            decision_id,
            reservation: None,
            expires_at: None,
            granted: None,
            denial: None,
            cost: None,
            price: None,
            findings: Vec::new(),
            revisions: Vec::new(),
        }
    }
}

impl FindingBody {
    fn of(policy: &str, layer: Layer, finding: LimitFinding, language: Language) -> Self {
        let message = finding.words(language);
        let LimitFinding { meter, window, status, used, held, limit, remaining, closes, .. } =
            finding;
        Self {
            policy: policy.to_owned(),
            layer: layer.into(),
            meter,
            window,
            status: status.into(),
            used,
            held,
            limit,
            remaining,
            resets_at: closes.map(Time),
            message,
        }
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// So many limits are told in header fields, which proxies cut at a few kilobytes.
const TOLD_MAX: usize = 16;

/// The RateLimit header fields of the IETF's draft 10: whole numbers, rounded down. A limit is
/// called the same in both, and no two are: the second of a name is its `~2`.
fn rate_limits(consulted: &[Consulted], at: Instant) -> HeaderMap {
    let (mut limits, mut policies) = (String::new(), String::new());
    let mut names: Vec<String> = Vec::new();
    let findings = consulted.iter().flat_map(|Consulted { policy, findings, .. }| {
        findings.iter().map(move |finding| (policy, finding))
    });
    for (policy, finding) in findings {
        let LimitFinding { meter: Some(meter), window: Some(window), .. } = finding else {
            continue;
        };
        let (Some(limit), Some(remaining)) = (finding.limit, finding.remaining) else {
            continue;
        };
        if names.len() == TOLD_MAX {
            break;
        }
        let name = format!("{}/{meter}/{window}", plain(policy));
        let again = match names.iter().filter(|own| **own == name).count() {
            0 => String::new(),
            before => format!("~{}", before + 1),
        };
        let and = if names.is_empty() { "" } else { ", " };
        // They never have more digits than an integer of a structured field may.
        let (limit, remaining) = (limit.whole().max(0), remaining.whole().max(0));
        // Writing to a string does not fail.
        let _ = write!(policies, "{and}\"{name}{again}\";q={limit};qu=\"{meter}\"");
        if let Window::Rolling(rolling) = window {
            let _ = write!(policies, ";w={}", rolling.get());
        }
        let _ = write!(limits, "{and}\"{name}{again}\";r={remaining}");
        if let Some(closes) = finding.closes {
            let _ = write!(limits, ";t={}", seconds(closes.saturating_sub(at)));
        }
        names.push(name);
    }
    let field = |name, items: String| {
        let value = HeaderValue::try_from(items).ok()?;
        (!value.is_empty()).then_some((name, value))
    };
    [field(RATE_LIMIT_POLICY, policies), field(RATE_LIMIT, limits)].into_iter().flatten().collect()
}

/// Of a name, what can stand in a string of a structured field.
fn plain(name: &str) -> String {
    name.chars().filter(|own| own.is_ascii_graphic() && !matches!(own, '"' | '\\')).collect()
}

/// Seconds that are sure to be over by then.
fn seconds(ms: i64) -> i64 {
    ms.max(0).saturating_add(999) / 1_000
}

/// What the accounts stand at.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Balance {
    pub accounts: Vec<AccountBody>,
}

/// An account of the ledger.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct AccountBody {
    /// `cost`: what the platform charges; `price`: what the tenant charges.
    pub account: String,
    /// The sum of its entries: charges lie below zero.
    #[schemars(with = "DecimalText")]
    pub balance: Decimal,
    /// What open reservations hold against it.
    #[schemars(with = "DecimalText")]
    pub held: Decimal,
    /// ISO 4217.
    pub currency: String,
}

impl From<tollgate_host::engine::Account> for AccountBody {
    fn from(account: tollgate_host::engine::Account) -> Self {
        let Money { amount: balance, currency } = account.balance;
        let (held, currency) = (account.held.amount, currency.to_string());
        Self { account: account.name, balance, held, currency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_hold_whole_numbers_and_plain_names() {
        let finding = LimitFinding {
            meter: Some("cost.usd".parse().unwrap()),
            window: Some("rolling:3600".parse().unwrap()),
            status: Status::WithinLimit,
            used: None,
            held: None,
            limit: Some("10.9".parse().unwrap()),
            remaining: Some("0.4".parse().unwrap()),
            closes: Some(61_001),
            message: None,
        };
        let consulted = Consulted {
            policy: "ho\"use\r\n".into(),
            layer: Layer::Platform,
            revision: None,
            // Of a user, and of an agent.
            findings: vec![finding.clone(), finding],
            fault: None,
        };
        let headers = rate_limits(&[consulted], 1_000);
        let names = ["\"house/cost.usd/rolling:3600\"", "\"house/cost.usd/rolling:3600~2\""];
        let policies = names.map(|name| format!("{name};q=10;qu=\"cost.usd\";w=3600"));
        assert_eq!(headers[RATE_LIMIT_POLICY], policies.join(", ").as_str());
        let limits = names.map(|name| format!("{name};r=0;t=61"));
        assert_eq!(headers[RATE_LIMIT], limits.join(", ").as_str());
        assert!(rate_limits(&[], 1_000).is_empty());
    }
}
