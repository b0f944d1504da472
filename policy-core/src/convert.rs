//! Between generated records and the parsed ones, for either side of the border: host and guest
//! have bindings of their own, of the same shape.

use crate::decimal::{Decimal, DecimalError};

/// The halves of a generated decimal, as (low, high).
#[must_use]
pub fn decimal_to_halves(decimal: Decimal) -> (u64, i64) {
    let units = decimal.units();
    (units as u64, (units >> 64) as i64)
}

/// A decimal from the halves of a generated one.
pub fn decimal_from_halves(low: u64, high: i64) -> Result<Decimal, DecimalError> {
    Decimal::from_units(i128::from(high) << 64 | i128::from(low))
}

/// Implements the conversions for the generated `types` module at a path. What comes in may be
/// malformed and is refused in words; what goes out cannot be.
#[macro_export]
macro_rules! convert_wire_types {
    ($wire:path) => {
        mod wire_conversions {
            use $crate::contract::*;
            use $crate::convert::{decimal_from_halves, decimal_to_halves};
            use $crate::decimal::Decimal;
            use $wire as wire;

            fn into_all<T, W: From<T>>(list: Vec<T>) -> Vec<W> {
                list.into_iter().map(W::from).collect()
            }

            fn try_all<W, T: TryFrom<W, Error = String>>(list: Vec<W>) -> Result<Vec<T>, String> {
                // Collecting results does not know their number, and would grow the list.
                let mut all = Vec::with_capacity(list.len());
                for wire in list {
                    all.push(T::try_from(wire)?);
                }
                Ok(all)
            }

            fn try_maybe<W, T: TryFrom<W, Error = String>>(
                value: Option<W>,
            ) -> Result<Option<T>, String> {
                value.map(T::try_from).transpose()
            }

            fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, String>
            where
                T::Err: std::fmt::Display,
            {
                text.parse().map_err(|error: T::Err| error.to_string())
            }

            impl From<Decimal> for wire::Decimal {
                fn from(decimal: Decimal) -> Self {
                    let (low, high) = decimal_to_halves(decimal);
                    Self { low, high }
                }
            }

            impl TryFrom<wire::Decimal> for Decimal {
                type Error = String;
                fn try_from(wire: wire::Decimal) -> Result<Self, String> {
                    decimal_from_halves(wire.low, wire.high).map_err(|error| error.to_string())
                }
            }

            impl From<Dimension> for wire::Dimension {
                fn from(dimension: Dimension) -> Self {
                    Self { name: dimension.name, value: dimension.value }
                }
            }

            impl TryFrom<wire::Dimension> for Dimension {
                type Error = String;
                fn try_from(wire: wire::Dimension) -> Result<Self, String> {
                    Ok(Self { name: wire.name, value: wire.value })
                }
            }

            impl From<Quantity> for wire::Quantity {
                fn from(quantity: Quantity) -> Self {
                    Self { meter: quantity.meter.into(), amount: quantity.amount.into() }
                }
            }

            impl TryFrom<wire::Quantity> for Quantity {
                type Error = String;
                fn try_from(wire: wire::Quantity) -> Result<Self, String> {
                    Ok(Self { meter: parsed(&wire.meter)?, amount: wire.amount.try_into()? })
                }
            }

            impl From<Fact> for wire::Fact {
                fn from(fact: Fact) -> Self {
                    let value = match fact.value {
                        Value::Text(text) => wire::Value::Text(text),
                        Value::Number(number) => wire::Value::Number(number.into()),
                        Value::Flag(flag) => wire::Value::Flag(flag),
                        Value::Instant(instant) => wire::Value::Instant(instant),
                    };
                    Self { name: fact.name, value }
                }
            }

            impl TryFrom<wire::Fact> for Fact {
                type Error = String;
                fn try_from(wire: wire::Fact) -> Result<Self, String> {
                    let value = match wire.value {
                        wire::Value::Text(text) => Value::Text(text),
                        wire::Value::Number(number) => Value::Number(number.try_into()?),
                        wire::Value::Flag(flag) => Value::Flag(flag),
                        wire::Value::Instant(instant) => Value::Instant(instant),
                    };
                    Ok(Self { name: wire.name, value })
                }
            }

            impl From<Counter> for wire::Counter {
                fn from(counter: Counter) -> Self {
                    Self {
                        meter: counter.meter.into(),
                        window: counter.window.to_string(),
                        per: counter.per,
                        limit: counter.limit.map(Into::into),
                    }
                }
            }

            impl TryFrom<wire::Counter> for Counter {
                type Error = String;
                fn try_from(wire: wire::Counter) -> Result<Self, String> {
                    Ok(Self {
                        meter: parsed(&wire.meter)?,
                        window: parsed(&wire.window)?,
                        per: wire.per,
                        limit: try_maybe(wire.limit)?,
                    })
                }
            }

            impl From<Manifest> for wire::Manifest {
                fn from(manifest: Manifest) -> Self {
                    Self {
                        counters: into_all(manifest.counters),
                        reads: manifest.reads.iter().map(ToString::to_string).collect(),
                        about: into_all(manifest.about),
                    }
                }
            }

            impl TryFrom<wire::Manifest> for Manifest {
                type Error = String;
                fn try_from(wire: wire::Manifest) -> Result<Self, String> {
                    Ok(Self {
                        counters: try_all(wire.counters)?,
                        reads: wire
                            .reads
                            .iter()
                            .map(|read| parsed(read))
                            .collect::<Result<_, _>>()?,
                        about: try_all(wire.about)?,
                    })
                }
            }

            impl From<Reading> for wire::Reading {
                fn from(reading: Reading) -> Self {
                    Self {
                        used: reading.used.into(),
                        held: reading.held.into(),
                        asked: reading.asked.into(),
                        limit: reading.limit.map(Into::into),
                        opened: reading.opened,
                        closes: reading.closes,
                    }
                }
            }

            impl TryFrom<wire::Reading> for Reading {
                type Error = String;
                fn try_from(wire: wire::Reading) -> Result<Self, String> {
                    Ok(Self {
                        used: wire.used.try_into()?,
                        held: wire.held.try_into()?,
                        asked: wire.asked.try_into()?,
                        limit: try_maybe(wire.limit)?,
                        opened: wire.opened,
                        closes: wire.closes,
                    })
                }
            }

            impl From<Request> for wire::Request {
                fn from(request: Request) -> Self {
                    Self {
                        at: request.at,
                        dimensions: into_all(request.dimensions),
                        asks: into_all(request.asks),
                        readings: into_all(request.readings),
                        facts: into_all(request.facts),
                        partial: request.partial,
                    }
                }
            }

            impl TryFrom<wire::Request> for Request {
                type Error = String;
                fn try_from(wire: wire::Request) -> Result<Self, String> {
                    Ok(Self {
                        at: wire.at,
                        dimensions: try_all(wire.dimensions)?,
                        asks: try_all(wire.asks)?,
                        readings: try_all(wire.readings)?,
                        facts: try_all(wire.facts)?,
                        partial: wire.partial,
                    })
                }
            }

            impl From<Status> for wire::Status {
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

            impl From<wire::Status> for Status {
                fn from(wire: wire::Status) -> Self {
                    match wire {
                        wire::Status::WithinLimit => Self::WithinLimit,
                        wire::Status::ApproachingLimit => Self::ApproachingLimit,
                        wire::Status::AtLimit => Self::AtLimit,
                        wire::Status::Exceeded => Self::Exceeded,
                        wire::Status::Unknown => Self::Unknown,
                    }
                }
            }

            impl From<Finding> for wire::Finding {
                fn from(finding: Finding) -> Self {
                    Self {
                        counter: finding.counter,
                        status: finding.status.into(),
                        limit: finding.limit.map(Into::into),
                        remaining: finding.remaining.map(Into::into),
                        message: finding.message,
                    }
                }
            }

            impl TryFrom<wire::Finding> for Finding {
                type Error = String;
                fn try_from(wire: wire::Finding) -> Result<Self, String> {
                    Ok(Self {
                        counter: wire.counter,
                        status: wire.status.into(),
                        limit: try_maybe(wire.limit)?,
                        remaining: try_maybe(wire.remaining)?,
                        message: wire.message,
                    })
                }
            }

            impl From<Verdict> for wire::Verdict {
                fn from(verdict: Verdict) -> Self {
                    let decision = match verdict.decision {
                        Decision::Allow => wire::Decision::Allow,
                        Decision::Grant(quantities) => wire::Decision::Grant(into_all(quantities)),
                        Decision::Deny(Denial { code, message, retry_at }) => {
                            wire::Decision::Deny(wire::Denial { code, message, retry_at })
                        }
                    };
                    Self {
                        decision,
                        findings: into_all(verdict.findings),
                        facts: into_all(verdict.facts),
                    }
                }
            }

            impl TryFrom<wire::Verdict> for Verdict {
                type Error = String;
                fn try_from(wire: wire::Verdict) -> Result<Self, String> {
                    let decision = match wire.decision {
                        wire::Decision::Allow => Decision::Allow,
                        wire::Decision::Grant(quantities) => Decision::Grant(try_all(quantities)?),
                        wire::Decision::Deny(wire::Denial { code, message, retry_at }) => {
                            Decision::Deny(Denial { code, message, retry_at })
                        }
                    };
                    Ok(Self {
                        decision,
                        findings: try_all(wire.findings)?,
                        facts: try_all(wire.facts)?,
                    })
                }
            }

            impl From<Tier> for wire::Tier {
                fn from(tier: Tier) -> Self {
                    Self {
                        threshold: tier.threshold.into(),
                        of: tier.of.into_iter().map(Into::into).collect(),
                        whole: tier.whole,
                        price: tier.price.into(),
                    }
                }
            }

            impl TryFrom<wire::Tier> for Tier {
                type Error = String;
                fn try_from(wire: wire::Tier) -> Result<Self, String> {
                    Ok(Self {
                        threshold: wire.threshold.try_into()?,
                        of: wire.of.iter().map(|meter| parsed(meter)).collect::<Result<_, _>>()?,
                        whole: wire.whole,
                        price: wire.price.try_into()?,
                    })
                }
            }

            impl From<Rate> for wire::Rate {
                fn from(rate: Rate) -> Self {
                    Self {
                        meter: rate.meter.into(),
                        price: rate.price.into(),
                        currency: rate.currency.into(),
                        units: rate.units.into(),
                        tiers: into_all(rate.tiers),
                        facts: into_all(rate.facts),
                    }
                }
            }

            impl TryFrom<wire::Rate> for Rate {
                type Error = String;
                fn try_from(wire: wire::Rate) -> Result<Self, String> {
                    Ok(Self {
                        meter: parsed(&wire.meter)?,
                        price: wire.price.try_into()?,
                        currency: parsed(&wire.currency)?,
                        units: wire.units.try_into()?,
                        tiers: try_all(wire.tiers)?,
                        facts: try_all(wire.facts)?,
                    })
                }
            }

            impl From<Usage> for wire::Usage {
                fn from(usage: Usage) -> Self {
                    Self {
                        at: usage.at,
                        dimensions: into_all(usage.dimensions),
                        quantities: into_all(usage.quantities),
                        rates: into_all(usage.rates),
                        readings: into_all(usage.readings),
                        currency: usage.currency.map(String::from).unwrap_or_default(),
                        facts: into_all(usage.facts),
                    }
                }
            }

            impl TryFrom<wire::Usage> for Usage {
                type Error = String;
                fn try_from(wire: wire::Usage) -> Result<Self, String> {
                    let currency = match wire.currency.as_str() {
                        "" => None,
                        code => Some(parsed(code)?),
                    };
                    Ok(Self {
                        at: wire.at,
                        dimensions: try_all(wire.dimensions)?,
                        quantities: try_all(wire.quantities)?,
                        rates: try_all(wire.rates)?,
                        readings: try_all(wire.readings)?,
                        currency,
                        facts: try_all(wire.facts)?,
                    })
                }
            }

            impl From<Line> for wire::Line {
                fn from(line: Line) -> Self {
                    Self {
                        meter: line.meter.into(),
                        amount: line.amount.into(),
                        price: line.price.into(),
                        units: line.units.into(),
                        cost: line.cost.into(),
                    }
                }
            }

            impl TryFrom<wire::Line> for Line {
                type Error = String;
                fn try_from(wire: wire::Line) -> Result<Self, String> {
                    Ok(Self {
                        meter: parsed(&wire.meter)?,
                        amount: wire.amount.try_into()?,
                        price: wire.price.try_into()?,
                        units: wire.units.try_into()?,
                        cost: wire.cost.try_into()?,
                    })
                }
            }

            impl From<Quote> for wire::Quote {
                fn from(quote: Quote) -> Self {
                    Self {
                        currency: quote.currency.into(),
                        lines: into_all(quote.lines),
                        facts: into_all(quote.facts),
                    }
                }
            }

            impl TryFrom<wire::Quote> for Quote {
                type Error = String;
                fn try_from(wire: wire::Quote) -> Result<Self, String> {
                    Ok(Self {
                        currency: parsed(&wire.currency)?,
                        lines: try_all(wire.lines)?,
                        facts: try_all(wire.facts)?,
                    })
                }
            }

            impl From<Refusal> for wire::Refusal {
                fn from(refusal: Refusal) -> Self {
                    Self { code: refusal.code, message: refusal.message }
                }
            }

            impl From<wire::Refusal> for Refusal {
                fn from(wire: wire::Refusal) -> Self {
                    Self { code: wire.code, message: wire.message }
                }
            }

            impl From<Observation> for wire::Observation {
                fn from(observation: Observation) -> Self {
                    Self {
                        at: observation.at,
                        now: observation.now,
                        occasion: observation.occasion,
                        dimensions: into_all(observation.dimensions),
                        readings: into_all(observation.readings),
                        facts: into_all(observation.facts),
                    }
                }
            }

            impl TryFrom<wire::Observation> for Observation {
                type Error = String;
                fn try_from(wire: wire::Observation) -> Result<Self, String> {
                    Ok(Self {
                        at: wire.at,
                        now: wire.now,
                        occasion: wire.occasion,
                        dimensions: try_all(wire.dimensions)?,
                        readings: try_all(wire.readings)?,
                        facts: try_all(wire.facts)?,
                    })
                }
            }

            impl From<Action> for wire::Action {
                fn from(action: Action) -> Self {
                    match action {
                        Action::Raise(Notice { key, counter, severity, title, body, facts }) => {
                            let facts = into_all(facts);
                            Self::Raise(wire::Notice { key, counter, severity, title, body, facts })
                        }
                        Action::Resolve(key) => Self::Resolve(key),
                        Action::Disable(Disablement { dimension, reason, until }) => {
                            Self::Disable(wire::Disablement { dimension, reason, until })
                        }
                        Action::Enable(dimension) => Self::Enable(dimension),
                        Action::ProposeLimit { counter, limit } => {
                            Self::ProposeLimit(wire::Proposal { counter, limit: limit.into() })
                        }
                    }
                }
            }

            impl TryFrom<wire::Action> for Action {
                type Error = String;
                fn try_from(wire: wire::Action) -> Result<Self, String> {
                    Ok(match wire {
                        wire::Action::Raise(notice) => {
                            let wire::Notice { key, counter, severity, title, body, facts } =
                                notice;
                            let facts = try_all(facts)?;
                            Self::Raise(Notice { key, counter, severity, title, body, facts })
                        }
                        wire::Action::Resolve(key) => Self::Resolve(key),
                        wire::Action::Disable(disablement) => {
                            let wire::Disablement { dimension, reason, until } = disablement;
                            Self::Disable(Disablement { dimension, reason, until })
                        }
                        wire::Action::Enable(dimension) => Self::Enable(dimension),
                        wire::Action::ProposeLimit(wire::Proposal { counter, limit }) => {
                            Self::ProposeLimit { counter, limit: limit.try_into()? }
                        }
                    })
                }
            }

            impl From<Task> for wire::Task {
                fn from(task: Task) -> Self {
                    Self {
                        description: task.description,
                        dimensions: into_all(task.dimensions),
                        facts: into_all(task.facts),
                    }
                }
            }

            impl TryFrom<wire::Task> for Task {
                type Error = String;
                fn try_from(wire: wire::Task) -> Result<Self, String> {
                    Ok(Self {
                        description: wire.description,
                        dimensions: try_all(wire.dimensions)?,
                        facts: try_all(wire.facts)?,
                    })
                }
            }
        }
    };
}
