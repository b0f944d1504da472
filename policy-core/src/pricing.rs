//! The standard pricing policy: a price list, the host's rates, or a share of what the call costs; and
//! dated exchange rates.

use chrono::{DateTime, NaiveDate};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value as Json;

use crate::contract::{
    CURRENCY, Fact, Manifest, Quantity, Quote, RATES, Rate, Read, Refusal, Usage, Value, dimension,
};
use crate::decimal::Decimal;
use crate::limits::SettingsError;
use crate::meter::Meter;
use crate::money::Currency;
use crate::prices::{MODEL_UNKNOWN, PriceList, PriceListError, price_lines};
use crate::window::Instant;

/// The quote is wanted in a currency for which no exchange rate is known on that day.
pub const EXCHANGE_RATE_MISSING: &str = "exchange_rate_missing";

/// The rates of one model are in more than one currency.
pub const RATES_MIXED: &str = "rates_mixed";

/// What the call costs is charged on, and nothing told it.
pub const COST_UNKNOWN: &str = "cost_unknown";

/// How the meters begin of what only a model takes. A call of no model that asks for none of them
/// costs nothing.
const OF_MODELS: &str = "llm_";

/// The configured policy.
#[derive(Clone, Debug)]
pub struct PricingPolicy {
    prices: Prices,
    currency: Option<Currency>,
    exchange_rates: Vec<ExchangeRate>,
}

#[derive(Clone, Debug)]
enum Prices {
    List(PriceList),
    Host,
    /// So many times what the call costs.
    Cost(Decimal),
}

/// What one unit of a currency is worth in another, from a day on (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeRate {
    /// One of this …
    pub from: Currency,
    /// … in that …
    pub to: Currency,
    /// … is so much.
    pub rate: Decimal,
    /// The first day on which it holds; until a later one for the same pair.
    pub on: NaiveDate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    prices: Named,
    factor: Option<Decimal>,
    currency: Option<Currency>,
    #[serde(default)]
    exchange_rates: Vec<ExchangeRate>,
}

enum Named {
    Name(String),
    List(Box<PriceList>),
}

impl<'de> Deserialize<'de> for Named {
    /// A name or a list: told apart first, so that an error is about what was meant.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::String(name) => Ok(Self::Name(name)),
            list => serde_json::from_value(list)
                .map(Self::List)
                .map_err(|error| de::Error::custom(format!("price list: {error}"))),
        }
    }
}

impl Default for Named {
    fn default() -> Self {
        Self::Name("seed".into())
    }
}

impl From<PriceListError> for SettingsError {
    fn from(error: PriceListError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl PricingPolicy {
    /// Reads the settings (JSON).
    pub fn configure(settings: &str) -> Result<Self, SettingsError> {
        let settings: Settings = serde_json::from_str(settings)?;
        let prices = match settings.prices {
            Named::Name(name) if name == "seed" => Prices::List(PriceList::seed()?),
            Named::Name(name) if name == "host" => Prices::Host,
            Named::Name(name) if name == "cost" => {
                Prices::Cost(settings.factor.unwrap_or(Decimal::ONE))
            }
            Named::Name(name) => {
                return Err(SettingsError::Malformed(format!(
                    "`{name}` is not a price list: write `seed`, `host`, `cost`, or a list with `name`, `currency` and `models`"
                )));
            }
            Named::List(list) => {
                list.validate()?;
                Prices::List(*list)
            }
        };
        if let Some(wrong) = settings.exchange_rates.iter().find(|rate| rate.rate <= Decimal::ZERO)
        {
            let ExchangeRate { from, to, .. } = wrong;
            return Err(SettingsError::Malformed(format!(
                "exchange rate from `{from}` to `{to}`: write a `rate` above zero"
            )));
        }
        match (settings.factor, &prices) {
            (Some(factor), Prices::Cost(_)) if factor > Decimal::ZERO => {}
            (Some(_), Prices::Cost(_)) => {
                return Err(SettingsError::Malformed("write a `factor` above zero".into()));
            }
            (Some(_), _) => {
                let words =
                    "`factor` multiplies what a call costs: write `prices` as `cost` with it";
                return Err(SettingsError::Malformed(words.into()));
            }
            (None, _) => {}
        }
        let exchange_rates = settings.exchange_rates;
        Ok(Self { prices, currency: settings.currency, exchange_rates })
    }

    /// What it asks the host for.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let read = match self.prices {
            Prices::List(_) | Prices::Host => Read::Dimension("model".into()),
            Prices::Cost(_) => Read::Fact("cost.*".into()),
        };
        let currency = match (&self.currency, &self.prices) {
            (Some(currency), _) => Some(currency.code()),
            (None, Prices::List(list)) => Some(list.currency.code()),
            (None, Prices::Host) => Some(RATES),
            (None, Prices::Cost(_)) => None,
        };
        let fact = |own: &str| Fact { name: CURRENCY.into(), value: Value::Text(own.into()) };
        let about = currency.map(fact).into_iter().collect();
        Manifest { reads: vec![read], about, ..Manifest::default() }
    }

    /// Prices a usage, in the wanted currency.
    pub fn price(&self, usage: &Usage) -> Result<Quote, Refusal> {
        let model = dimension(&usage.dimensions, "model");
        let of_model = |own: &Quantity| own.meter.as_str().starts_with(OF_MODELS);
        if model.is_empty()
            && !matches!(self.prices, Prices::Cost(_))
            && !usage.quantities.iter().any(of_model)
        {
            let listed = match &self.prices {
                Prices::List(list) => list.currency,
                Prices::Host | Prices::Cost(_) => Currency::USD,
            };
            let currency = self.currency.or(usage.currency).unwrap_or(listed);
            let lines = price_lines(&usage.quantities, &[], Decimal::ONE)?;
            return Ok(Quote { currency, lines, facts: Vec::new() });
        }
        let (listed, cost);
        let (rates, quantities) = match &self.prices {
            Prices::List(list) => {
                listed = list.rates(model)?;
                (&listed, &usage.quantities)
            }
            Prices::Host => (&usage.rates, &usage.quantities),
            Prices::Cost(factor) => {
                (listed, cost) = cost_of(&usage.facts, *factor)?;
                (&listed, &cost)
            }
        };
        let Some(from) = rates.first().map(|rate| rate.currency) else {
            let message = if model.is_empty() {
                "the call names no `model`, so that it cannot be priced: name one".to_owned()
            } else {
                format!("model `{model}` has no rates in the host's catalog: add it there")
            };
            return Err(Refusal::new(MODEL_UNKNOWN, message));
        };
        if let Some(other) = rates.iter().map(|rate| rate.currency).find(|other| *other != from) {
            let message = format!(
                "the rates of model `{model}` are in `{from}` and in `{other}`: give them in one currency"
            );
            return Err(Refusal::new(RATES_MIXED, message));
        }
        let currency = self.currency.or(usage.currency).unwrap_or(from);
        let rate = self.exchange_rate(from, currency, usage.at)?;
        let lines = price_lines(quantities, rates, rate)?;
        let facts = if currency == from {
            Vec::new()
        } else {
            vec![Fact {
                name: format!("exchange_rate.{from}.{currency}"),
                value: Value::Number(rate),
            }]
        };
        Ok(Quote { currency, lines, facts })
    }

    fn exchange_rate(&self, from: Currency, to: Currency, at: Instant) -> Result<Decimal, Refusal> {
        if from == to {
            return Ok(Decimal::ONE);
        }
        let day = DateTime::from_timestamp_millis(at).unwrap_or_default().date_naive();
        self.exchange_rates
            .iter()
            .filter(|rate| rate.from == from && rate.to == to && rate.on <= day)
            .max_by_key(|rate| rate.on)
            .map(|rate| rate.rate)
            .ok_or_else(|| {
                Refusal::new(
                    EXCHANGE_RATE_MISSING,
                    format!("no exchange rate from `{from}` to `{to}` holds on {day}: add one to `exchange_rates`"),
                )
            })
    }
}

/// What the call costs as something that is used itself, and its rate.
fn cost_of(facts: &[Fact], factor: Decimal) -> Result<(Vec<Rate>, Vec<Quantity>), Refusal> {
    let cost = facts.iter().find_map(|fact| {
        let currency: Currency = fact.name.strip_prefix("cost.")?.parse().ok()?;
        let meter: Meter = fact.name.parse().ok()?;
        match fact.value {
            Value::Number(amount) => Some((currency, Quantity { meter, amount })),
            _ => None,
        }
    });
    let Some((currency, cost)) = cost else {
        let message =
            "what the call costs is not known: have the platform bind a policy that prices";
        return Err(Refusal::new(COST_UNKNOWN, message));
    };
    let (meter, price, units) = (cost.meter.clone(), factor, Decimal::ONE);
    let (tiers, facts) = (Vec::new(), Vec::new());
    let rate = Rate { meter, price, currency, units, tiers, facts };
    Ok((vec![rate], vec![cost]))
}
