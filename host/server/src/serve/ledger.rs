//! The ledger: what was charged and paid in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_host::engine::{Line, Revisions, lines};
use tollgate_host::store::{Place, RevisionId};
use tollgate_policy_core::contract::{self, Quote};
use tollgate_policy_core::{Decimal, Meter};
use uuid::Uuid;

use super::audit::page;
use super::problem::Problem;
use super::route::{Answer, Asked};
use super::shapes::{DecimalText, MeterName, MoneyBody, Time};
use crate::stores::Stores;

/// Which entries.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// That were booked then or later.
    pub from: Option<Time>,
    /// That were booked before then.
    pub to: Option<Time>,
    /// After where the page before ended, as that said.
    pub after: Option<Cursor>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// A place in what was booked, as pages tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub Place);

/// An entry of the ledger.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Entry")]
pub struct EntryBody {
    pub id: Uuid,
    /// The usage's that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Uuid>,
    /// `cost`, `price`.
    pub account: String,
    /// `charge`, `credit`, `adjustment`, `refund`, `expiry`.
    pub kind: String,
    /// What the account moves by: charges lie below zero.
    #[serde(flatten)]
    pub money: MoneyBody,
    /// By which a charge was priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<QuoteBody>,
    /// The revisions that priced it: `*/house@3`.
    pub priced_by: Vec<String>,
    /// The revisions that allowed what it is for.
    pub allowed_by: Vec<String>,
    /// In words, where a person booked it, or it tells what was put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was booked.
    pub at: Time,
}

/// What a usage costs, line by line.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Quote")]
pub struct QuoteBody {
    /// Of all lines: ISO 4217.
    pub currency: String,
    /// One for each price applied.
    pub lines: Vec<LineBody>,
    /// What else the policy said of it: by `name`, each with a `value`.
    pub facts: Vec<serde_json::Value>,
}

/// A price that was applied.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "QuoteLine")]
pub struct LineBody {
    /// What is paid for.
    #[schemars(with = "MeterName")]
    pub meter: Meter,
    /// How much of it.
    #[schemars(with = "DecimalText")]
    pub amount: Decimal,
    /// The price.
    #[schemars(with = "DecimalText")]
    pub price: Decimal,
    /// For so many units.
    #[schemars(with = "DecimalText")]
    pub units: Decimal,
    /// What that comes to, rounded once.
    #[schemars(with = "DecimalText")]
    pub cost: Decimal,
}

/// Entries, in the order in which they were booked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entries {
    pub entries: Vec<EntryBody>,
    /// After which the next page begins; none: there is none.
    pub next: Option<Cursor>,
}

/// `GET /v1/ledger`
pub async fn list<S: Stores>(asked: Asked<S, Which>) -> Result<Answer<Entries>, Problem> {
    let Which { from, to, after, limit } = &asked.parameters;
    let limit = page(*limit)?;
    let begin = from.map_or(Place::before(0), |Time(at)| Place::before(at));
    let after = after.map_or(begin, |Cursor(after)| after.max(begin));
    let rows = lines(&**asked.service.registry.store(), asked.tenant()?, after, limit).await?;
    let is_whole = rows.len() == limit as usize;
    let within = |(place, _): &(Place, _)| to.is_none_or(|Time(to)| place.at < to);
    let found = rows.len();
    let rows: Vec<_> = rows.into_iter().take_while(within).collect();
    let next = rows.last().filter(|_| is_whole && rows.len() == found);
    let next = next.map(|(place, _)| Cursor(*place));
    let entry = |(place, line): (Place, Option<Line>)| Some(EntryBody::of(place, line?));
    Ok(Entries { entries: rows.into_iter().filter_map(entry).collect(), next }.into())
}

impl EntryBody {
    fn of(place: Place, line: Line) -> Self {
        let Line { id, usage, account, kind, money, quote, revisions, reason } = line;
        let Revisions { priced, allowed } = revisions;
        let named = |all: Vec<RevisionId>| all.iter().map(ToString::to_string).collect();
        let (priced_by, allowed_by) = (named(priced), named(allowed));
        let reason = (!reason.is_empty()).then_some(reason);
        let (money, quote, at) = (money.into(), quote.map(QuoteBody::from), Time(place.at));
        Self { id, usage, account, kind, money, quote, priced_by, allowed_by, reason, at }
    }
}

impl From<Quote> for QuoteBody {
    fn from(quote: Quote) -> Self {
        let Quote { currency, lines, facts } = quote;
        Self {
            currency: currency.to_string(),
            lines: lines.into_iter().map(LineBody::from).collect(),
            facts: facts.into_iter().map(|fact| serde_json::json!(fact)).collect(),
        }
    }
}

impl From<contract::Line> for LineBody {
    fn from(line: contract::Line) -> Self {
        let contract::Line { meter, amount, price, units, cost } = line;
        Self { meter, amount, price, units, cost }
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(Place { at, version, ordinal }) = self;
        serializer.collect_str(&format_args!("{at}.{version}.{ordinal}"))
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut parts = text.splitn(3, '.');
        let mut place = || {
            let at = parts.next()?.parse().ok()?;
            let (version, ordinal) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self(Place { at, version, ordinal }))
        };
        place().ok_or_else(|| serde::de::Error::custom("not what the page before said"))
    }
}

impl JsonSchema for Cursor {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^-?[0-9]{1,19}\.-?[0-9]{1,19}\.-?[0-9]{1,10}$",
            "description": "as the page before said",
        })
    }
}
