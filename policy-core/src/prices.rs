//! Price lists, and what a usage costs by one.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value as Json;

use crate::contract::{Line, Quantity, Rate, Refusal, Tier};
use crate::decimal::{Decimal, DecimalError, SCALE_MAX};
use crate::meter::{LLM_TOKENS, Meter};
use crate::money::Currency;

/// The model stands in no price list.
pub const MODEL_UNKNOWN: &str = "model_unknown";
/// A class of tokens has no price.
pub const METER_UNPRICED: &str = "meter_unpriced";
/// An amount or a cost does not fit.
pub const AMOUNT_OUT_OF_RANGE: &str = "amount_out_of_range";

/// What models cost. Names match exactly or by an explicit alias, never by guess.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// What the list is called.
    pub name: String,
    /// Where its prices were read, and on which day.
    #[serde(default)]
    pub source: Option<String>,
    /// Of all its prices.
    pub currency: Currency,
    /// By the model's name.
    pub models: BTreeMap<String, ModelPrices>,
    /// Other names of the same models.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrices {
    /// Who runs it.
    #[serde(default)]
    pub provider: Option<String>,
    /// How many units a price is for: 1000, 1000000.
    #[serde(default = "one")]
    pub units: Decimal,
    /// By meter; a class without a price takes that of its parent.
    pub prices: BTreeMap<Meter, Price>,
}

/// One price, plain or with tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Price {
    /// A price for each `units` of the model.
    Plain(Decimal),
    /// More than that.
    Tiered(TieredPrice),
}

/// A price with units of its own, or with tiers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TieredPrice {
    /// Below the first tier.
    pub price: Decimal,
    /// In place of the model's.
    #[serde(default)]
    pub units: Option<Decimal>,
    /// In rising order of thresholds.
    #[serde(default)]
    pub tiers: Vec<Tier>,
}

/// What is wrong with a price list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceListError {
    /// Not of the schema's shape.
    #[error("price list: {0}")]
    Malformed(String),
    /// A price that makes no sense.
    #[error("price list: `{model}`, `{meter}`: {reason}")]
    Price {
        /// The model.
        model: String,
        /// The meter.
        meter: Meter,
        /// What is wrong.
        reason: &'static str,
    },
    /// A model that costs nothing known.
    #[error("price list: model `{0}` has no prices: add them, or remove the model")]
    NoPrices(String),
    /// A name of two models.
    #[error("price list: alias `{0}` is a model of the list as well: keep one of them")]
    TwoNames(String),
    /// An alias of nothing.
    #[error("price list: alias `{alias}` stands for `{model}`, which the list does not have")]
    Alias {
        /// The other name.
        alias: String,
        /// What it stands for.
        model: String,
    },
}

fn one() -> Decimal {
    Decimal::ONE
}

impl<'de> Deserialize<'de> for Price {
    /// A number, a string, or an object: told apart first, so that an error is about what was
    /// meant.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            object @ Json::Object(_) => serde_json::from_value(object).map(Self::Tiered),
            plain => serde_json::from_value(plain).map(Self::Plain),
        }
        .map_err(de::Error::custom)
    }
}

impl PriceList {
    /// The six models of the seed, per 1,000 tokens, in US dollars.
    pub fn seed() -> Result<Self, PriceListError> {
        Self::parse(include_str!("prices/seed.json"))
    }

    /// The current prices of the main providers' models; the file says when they were read.
    pub fn catalog() -> Result<Self, PriceListError> {
        Self::parse(include_str!("prices/catalog.json"))
    }

    /// Reads a list and checks it.
    pub fn parse(json: &str) -> Result<Self, PriceListError> {
        let list: Self = serde_json::from_str(json)
            .map_err(|error| PriceListError::Malformed(error.to_string()))?;
        list.validate()?;
        Ok(list)
    }

    /// Positive units, prices of zero or more, tiers that rise, aliases of something.
    pub fn validate(&self) -> Result<(), PriceListError> {
        for (name, model) in &self.models {
            if model.prices.is_empty() {
                return Err(PriceListError::NoPrices(name.clone()));
            }
            let total = model.prices.keys().find(|meter| meter.as_str() == LLM_TOKENS);
            if let Some(meter) = total.filter(|_| model.prices.keys().any(is_token_class)) {
                return Err(PriceListError::Price {
                    model: name.clone(),
                    meter: meter.clone(),
                    reason: "priced beside its classes, it would be billed twice",
                });
            }
            for rate in model.rates(self.currency) {
                check_rate(&rate).map_err(|reason| PriceListError::Price {
                    model: name.clone(),
                    meter: rate.meter.clone(),
                    reason,
                })?;
            }
        }
        for (alias, model) in &self.aliases {
            if !self.models.contains_key(model) {
                return Err(PriceListError::Alias { alias: alias.clone(), model: model.clone() });
            }
            if self.models.contains_key(alias) {
                return Err(PriceListError::TwoNames(alias.clone()));
            }
        }
        Ok(())
    }

    /// The rates of a model, by its name or an alias of it.
    pub fn rates(&self, model: &str) -> Result<Vec<Rate>, Refusal> {
        let name = self.aliases.get(model).map_or(model, String::as_str);
        self.models.get(name).map(|model| model.rates(self.currency)).ok_or_else(|| {
            let list = &self.name;
            let message = if model.is_empty() {
                format!("the call names no `model`, so that price list `{list}` cannot price it")
            } else {
                format!("model `{model}` is not in price list `{list}`: add it, or an alias for it")
            };
            Refusal::new(MODEL_UNKNOWN, message)
        })
    }
}

impl ModelPrices {
    fn rates(&self, currency: Currency) -> Vec<Rate> {
        let rate = |(meter, price): (&Meter, &Price)| {
            let (price, units, tiers) = match price {
                Price::Plain(price) => (*price, None, Vec::new()),
                Price::Tiered(tiered) => (tiered.price, tiered.units, tiered.tiers.clone()),
            };
            let units = units.unwrap_or(self.units);
            Rate { meter: meter.clone(), price, currency, units, tiers, facts: Vec::new() }
        };
        self.prices.iter().map(rate).collect()
    }
}

fn check_rate(rate: &Rate) -> Result<(), &'static str> {
    if rate.units <= Decimal::ZERO {
        return Err("`units` must be above zero");
    }
    if rate.price.is_negative() || rate.tiers.iter().any(|tier| tier.price.is_negative()) {
        return Err("a price must be zero or more");
    }
    if rate.tiers.iter().any(|tier| !tier.of.is_empty() && !tier.whole) {
        return Err("a tier measured on other meters must take the `whole` amount");
    }
    let rising = rate.tiers.iter().zip(rate.tiers.iter().skip(1));
    if rising.into_iter().any(|(lower, upper)| lower.threshold >= upper.threshold) {
        return Err("tiers must stand in rising order of `threshold`");
    }
    Ok(())
}

/// A conversion into the currency of a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Of the quote.
    pub currency: Currency,
    /// So much of it for one of the rate's.
    pub rate: Decimal,
}

/// Prices each quantity by its rate; each line is rounded once, half to even, after conversion.
///
/// Every class of `llm_tokens` must have a price, its own or its parent's. What else has no
/// rate, such as the count of requests, is free.
pub fn price_lines(
    quantities: &[Quantity],
    rates: &[Rate],
    exchange: Decimal,
) -> Result<Vec<Line>, Refusal> {
    let mut lines = Vec::new();
    for quantity in quantities.iter().filter(|quantity| !quantity.amount.is_zero()) {
        if quantity.amount.is_negative() {
            let message = format!("`{}` is below zero: usage is zero or more", quantity.meter);
            return Err(Refusal::new(AMOUNT_OUT_OF_RANGE, message));
        }
        let Some(rate) = rate_of(quantity.meter.as_str(), rates) else {
            if must_have_price(&quantity.meter, quantities) {
                let message = format!("`{}` has no price for this model: add one", quantity.meter);
                return Err(Refusal::new(METER_UNPRICED, message));
            }
            continue;
        };
        add_lines(&mut lines, quantity, rate, quantities, exchange).map_err(|error| {
            Refusal::new(AMOUNT_OUT_OF_RANGE, format!("`{}`: {error}", quantity.meter))
        })?;
    }
    Ok(lines)
}

/// A class is billed by its own rate or, going up, by that of what it is a kind of: first within
/// its service (`.batch`), then at the plain price. So a cached token is never free, nor cheaper
/// than an uncached one, for want of a price.
fn rate_of<'a>(meter: &str, rates: &'a [Rate]) -> Option<&'a Rate> {
    const SERVICES: [&str; 3] = [".batch", ".flex", ".priority"];
    let named = |name: &str| rates.iter().find(|rate| rate.meter.as_str() == name);
    let service = SERVICES.into_iter().find(|service| meter.ends_with(service)).unwrap_or("");
    let class = meter.strip_suffix(service).unwrap_or(meter);
    if service.is_empty() {
        return lineage(class).find_map(named);
    }
    let within = lineage(class)
        .find_map(|class| named(&format!("{class}{service}")).map(|rate| (class, rate)));
    // A plain price of the class itself tells more of it than its parent's in the service.
    let plain = lineage(class).take_while(|class| within.is_none_or(|(found, _)| found != *class));
    match (within, plain.filter_map(named).max_by_key(|rate| rate.price)) {
        (Some((_, within)), Some(plain)) if plain.price > within.price => Some(plain),
        (Some((_, within)), _) => Some(within),
        (None, _) => lineage(class).find_map(named),
    }
}

/// A class, what it is a kind of, and so on.
fn lineage(class: &str) -> impl Iterator<Item = &str> {
    const KINDS: [(&str, &str); 8] = [
        ("llm_tokens.cached_input", "llm_tokens.input"),
        ("llm_tokens.cache_write", "llm_tokens.input"),
        ("llm_tokens.cache_write_1h", "llm_tokens.cache_write"),
        ("llm_tokens.audio", "llm_tokens.input"),
        ("llm_tokens.image", "llm_tokens.input"),
        ("llm_tokens.reasoning", "llm_tokens.output"),
        ("llm_tokens.audio_output", "llm_tokens.output"),
        ("llm_tokens.image_output", "llm_tokens.output"),
    ];
    std::iter::successors(Some(class), |class| {
        KINDS.iter().find(|(kind, _)| kind == class).map(|(_, of)| *of)
    })
}

fn is_token_class(meter: &Meter) -> bool {
    meter.as_str().strip_prefix(LLM_TOKENS).is_some_and(|rest| rest.starts_with('.'))
}

/// The sum `llm_tokens` needs no price of its own where its classes stand beside it.
fn must_have_price(meter: &Meter, quantities: &[Quantity]) -> bool {
    let class = is_token_class;
    class(meter)
        || (meter.as_str() == LLM_TOKENS
            && !quantities.iter().any(|other| class(&other.meter) && !other.amount.is_zero()))
}

fn add_lines(
    lines: &mut Vec<Line>,
    quantity: &Quantity,
    rate: &Rate,
    quantities: &[Quantity],
    exchange: Decimal,
) -> Result<(), DecimalError> {
    let mut push = |amount: Decimal, price: Decimal| -> Result<(), DecimalError> {
        let cost = Decimal::mul_div(&[amount, price, exchange], rate.units, SCALE_MAX)?;
        let meter = quantity.meter.clone();
        lines.push(Line { meter, amount, price, units: rate.units, cost });
        Ok(())
    };
    let mut price = rate.price;
    // The highest tier that takes the whole amount leaves nothing to those below it.
    let mut rest = rate.tiers.as_slice();
    for (tier, above) in rate.tiers.iter().zip(1..) {
        if tier.whole && measured(tier, quantity, quantities)? > tier.threshold {
            price = tier.price;
            rest = rate.tiers.get(above..).unwrap_or_default();
        }
    }
    let mut priced = Decimal::ZERO;
    for tier in rest.iter().filter(|tier| !tier.whole && quantity.amount > tier.threshold) {
        let below = tier.threshold.checked_sub(priced)?;
        if below > Decimal::ZERO {
            push(below, price)?;
            priced = tier.threshold;
        }
        price = tier.price;
    }
    push(quantity.amount.checked_sub(priced)?, price)
}

fn measured(tier: &Tier, quantity: &Quantity, all: &[Quantity]) -> Result<Decimal, DecimalError> {
    if tier.of.is_empty() {
        return Ok(quantity.amount);
    }
    all.iter()
        .filter(|other| tier.of.contains(&other.meter))
        .try_fold(Decimal::ZERO, |sum, other| sum.checked_add(other.amount))
}
