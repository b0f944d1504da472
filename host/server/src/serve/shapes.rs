//! What several requests and answers are made of, as JSON. Decimals are strings, instants RFC 3339 in
//! UTC.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tollgate_host::engine::Call;
use tollgate_policy_core::contract::{Dimension, Quantity};
use tollgate_policy_core::meter::LLM_TOKENS;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter, Money};

use super::problem::{Problem, invalid};

/// Has `with` say that a decimal is a string.
pub struct DecimalText;

impl JsonSchema for DecimalText {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$",
            "description": "an exact number, as a string",
            "examples": ["12.5"],
        })
    }
}

/// What a meter is called.
pub struct MeterName;

impl JsonSchema for MeterName {
    fn schema_name() -> Cow<'static, str> {
        "Meter".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$",
            "maxLength": 64,
            "examples": ["llm_tokens.input"],
        })
    }
}

/// Over which time.
pub struct WindowText;

impl JsonSchema for WindowText {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(request|calendar:.+|rolling:[0-9]+|lifetime|in-flight|level)$",
            "description": "`request`, `calendar:PERIOD`, `rolling:SECONDS`, `lifetime`, `in-flight` or `level`",
            "examples": ["calendar:month", "rolling:18000"],
        })
    }
}

/// A map in which nothing is said twice: of two words for the same, nobody knows which one was meant.
fn unique<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Visitor<'de> for Unique<K, V> {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(de::Error::custom("the same name is said twice"));
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

/// Amounts by meter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(#[serde(deserialize_with = "unique")] BTreeMap<MeterKey, Decimal>);

/// A meter as the key of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct MeterKey(Meter);

const LLM_TOKENS_OUTPUT: &str = "llm_tokens.output";

impl MeterKey {
    /// Whether it is a class of tokens.
    fn is_class(&self) -> bool {
        let class = self.0.as_str().strip_prefix(LLM_TOKENS);
        class.is_some_and(|class| class.starts_with('.'))
    }
}

impl JsonSchema for Amounts {
    fn schema_name() -> Cow<'static, str> {
        "Amounts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (meter, amount) =
            (MeterName::json_schema(generator), generator.subschema_for::<DecimalText>());
        json_schema!({
            "type": "object",
            "description": "amounts by meter",
            "propertyNames": meter,
            "additionalProperties": amount,
            "examples": [{ "llm_tokens.input": "1200" }],
        })
    }
}

impl Amounts {
    /// As the engine takes them. Tokens that are told by their classes alone are tokens as well: a
    /// limit on them would be none otherwise.
    pub fn into_quantities(mut self) -> Result<Vec<Quantity>, Problem> {
        let tokens: MeterKey = MeterKey(LLM_TOKENS.parse().map_err(invalid)?);
        if !self.0.contains_key(&tokens) && self.0.keys().any(MeterKey::is_class) {
            let classes = self.0.iter().filter(|(own, _)| own.is_class());
            let mut amounts = classes.map(|(_, amount)| *amount);
            let sum = amounts.try_fold(Decimal::ZERO, Decimal::checked_add);
            self.0.insert(tokens, sum.map_err(invalid)?);
        }
        let quantity = |(MeterKey(meter), amount)| Quantity { meter, amount };
        Ok(self.0.into_iter().map(quantity).collect())
    }

    /// The same with tokens of which nobody can tell yet what they will be taken for what costs most.
    pub fn with_classes(mut self) -> Result<Self, Problem> {
        let tokens = MeterKey(LLM_TOKENS.parse().map_err(invalid)?);
        if let Some(amount) = self.0.get(&tokens)
            && !self.0.keys().any(MeterKey::is_class)
        {
            let (output, amount) = (LLM_TOKENS_OUTPUT.parse().map_err(invalid)?, *amount);
            self.0.insert(MeterKey(output), amount);
        }
        Ok(self)
    }

    /// Whether anything of this meter is among them.
    pub fn names(&self, meter: &Meter) -> bool {
        self.0.keys().any(|MeterKey(own)| own == meter)
    }
}

impl FromIterator<Quantity> for Amounts {
    fn from_iter<I: IntoIterator<Item = Quantity>>(quantities: I) -> Self {
        Self(quantities.into_iter().map(|own| (MeterKey(own.meter), own.amount)).collect())
    }
}

impl FromIterator<(Meter, Decimal)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Meter, Decimal)>>(amounts: I) -> Self {
        Self(amounts.into_iter().map(|(meter, amount)| (MeterKey(meter), amount)).collect())
    }
}

/// Who and what it is about: `user`, `agent`, `session`, `model`, `provider`, …
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Dimensions(
    #[serde(deserialize_with = "unique")]
    #[schemars(with = "BTreeMap<String, String>")]
    BTreeMap<String, String>,
);

impl Dimensions {
    /// Each by its name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// One more; what was said of it before.
    pub fn insert(&mut self, name: String, value: String) -> Option<String> {
        self.0.insert(name, value)
    }
}

/// The same as the engine names them.
pub fn dimensions(dimensions: Dimensions) -> Vec<Dimension> {
    dimensions.0.into_iter().map(|(name, value)| Dimension { name, value }).collect()
}

/// And back.
pub fn dimensions_of(dimensions: &[Dimension]) -> Dimensions {
    let named = dimensions.iter().map(|own| (own.name.clone(), own.value.clone()));
    Dimensions(named.collect())
}

/// A call about these dimensions.
pub fn call(about: Dimensions, amounts: Amounts) -> Result<Call, Problem> {
    Ok(Call { dimensions: dimensions(about), quantities: amounts.into_quantities()? })
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Money")]
pub struct MoneyBody {
    /// How much.
    #[schemars(with = "DecimalText")]
    pub amount: Decimal,
    /// Of what: ISO 4217.
    pub currency: String,
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency.to_string() }
    }
}

/// A point in time, RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Instant);

impl Time {
    /// In words; what lies outside of the calendar is told in milliseconds.
    pub fn text(self) -> String {
        match DateTime::<Utc>::from_timestamp_millis(self.0) {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
            None => self.0.to_string(),
        }
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let words = || de::Error::custom("not a time: write RFC 3339, like `2026-03-01T12:00:00Z`");
        let time = DateTime::parse_from_rfc3339(&text).map_err(|_| words())?;
        Ok(Self(time.timestamp_millis()))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "examples": ["2026-03-01T12:00:00Z"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_written_as_strings() {
        let amounts: Amounts =
            serde_json::from_str(r#"{"llm_tokens": "12.5", "llm_requests": 1}"#).unwrap();
        let written = serde_json::to_string(&amounts).unwrap();
        assert_eq!(written, r#"{"llm_requests":"1","llm_tokens":"12.5"}"#);
        assert!(serde_json::from_str::<Amounts>(r#"{"LLM": 1}"#).is_err());
        assert!(serde_json::from_str::<Amounts>(r#"{"calls": 1, "calls": 2}"#).is_err());
        assert!(serde_json::from_str::<Dimensions>(r#"{"user": "a", "user": "b"}"#).is_err());
        assert!(serde_json::from_str::<Amounts>(r#"{"llm_tokens": "1e3x"}"#).is_err());
    }

    #[test]
    fn tokens_are_counted_by_whatever_class_they_are_told() {
        let told = |text: &str| {
            let amounts: Amounts = serde_json::from_str(text).unwrap();
            let quantities = amounts.into_quantities().unwrap();
            let tokens = quantities.into_iter().find(|own| own.meter.as_str() == "llm_tokens");
            tokens.map(|own| own.amount.to_string())
        };
        let classes = r#"{"llm_tokens.input": "1200", "llm_tokens.output": "400.5"}"#;
        assert_eq!(told(classes).as_deref(), Some("1600.5"));
        let both = r#"{"llm_tokens.input": "1200", "llm_tokens": "1300"}"#;
        assert_eq!(told(both).as_deref(), Some("1300"));
        assert_eq!(told(r#"{"llm_requests": "1"}"#), None);
    }

    #[test]
    fn times_are_rfc_3339() {
        let time: Time = serde_json::from_str(r#""2026-03-01T12:00:00+01:00""#).unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""2026-03-01T11:00:00.000Z""#);
        assert!(serde_json::from_str::<Time>(r#""yesterday""#).is_err());
    }
}
