//! What providers invoice, beside what was computed.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{Invoiced, drift};
use tollgate_host::store::Owner;
use tollgate_policy_core::{Decimal, Money};

use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{DecimalText, MoneyBody};
use crate::acts::Act;
use crate::stores::Stores;

/// Where nothing else is said: 5 %.
const THRESHOLD: Decimal = Decimal::hundredths(5);

/// What a provider invoiced for a day.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// Who did, as calls name it.
    pub provider: String,
    /// For which model; none: for all of them.
    pub model: Option<String>,
    /// For which day, in UTC: one of the last 45.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub day: String,
    /// How much; zero or more.
    #[schemars(with = "DecimalText")]
    pub amount: Decimal,
    /// ISO 4217.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    pub currency: String,
    /// How far apart they may lie, as a fraction of what was invoiced; `0.05` unless said otherwise.
    #[schemars(with = "Option<DecimalText>")]
    pub threshold: Option<Decimal>,
}

/// What was invoiced beside what was computed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Compared {
    /// What calls of the day cost, in the invoice's currency.
    pub computed: MoneyBody,
    pub invoiced: MoneyBody,
    /// Whether they lie further apart than they may: then people are told, once.
    pub exceeds: bool,
}

/// `POST /v1/invoices`
pub async fn compare<S: Stores>(
    asked: Asked<S, Nothing, Json<Invoice>>,
) -> Result<Answer<Compared>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Invoice { provider, model, day, amount, currency, threshold }) = &asked.body;
    let day: NaiveDate =
        day.parse().map_err(|_| Problem::invalid("`day` is not a date: write `2026-03-01`"))?;
    let money = Money::new(*amount, currency.parse().map_err(invalid)?);
    let threshold = threshold.unwrap_or(THRESHOLD);
    let invoiced = Invoiced { provider: provider.clone(), model: model.clone(), day, money };
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "invoice.compare",
        subject: format!("{provider}:{}:{day}", model.as_deref().unwrap_or("*")),
        before: Value::Null,
        after: json!({ "invoiced": money, "threshold": threshold }),
    };
    let compared = async {
        let service = &asked.service;
        let store = &**service.registry.store();
        Ok(drift(&service.host, store, &tenant, &invoiced, threshold).await?)
    };
    let drift = asked.act(act, compared).await?;
    let (computed, invoiced) = (drift.computed.into(), drift.invoiced.money.into());
    Ok(Compared { computed, invoiced, exceeds: drift.exceeds }.into())
}
