//! What a policy is fed: of all that is known of a call, the part that its manifest reads.

use serde_json::Value as Json;
use tollgate_policy_core::Meter;
use tollgate_policy_core::contract::{Dimension, Fact, Quantity, Read, Value, dimension};
use tollgate_policy_core::messages::{Language, TENANT_LANGUAGE};
use tollgate_policy_core::window::Instant;

use super::accounts::{Account, Accounts};
use super::amounts::Amounts;
use super::records::Records;
use super::tariff::Tariff;
use super::{Call, Setup};

/// What is known of a tenant beside the call; none of it where a price follows from the call alone.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    pub records: Option<&'a Records>,
    pub accounts: Option<&'a Accounts>,
}

pub struct Feed<'a>(&'a [Read]);

impl<'a> Feed<'a> {
    pub fn new(reads: &'a [Read]) -> Self {
        Self(reads)
    }

    pub fn dimensions(&self, dimensions: &[Dimension]) -> Vec<Dimension> {
        let read = |name: &str| {
            self.0.iter().any(|read| matches!(read, Read::Dimension(_)) && read.covers(name))
        };
        dimensions.iter().filter(|dimension| read(&dimension.name)).cloned().collect()
    }

    pub fn asks(&self, asks: &Amounts) -> Vec<Quantity> {
        let read = |meter: &Meter| {
            self.0.iter().any(|read| matches!(read, Read::Ask(_)) && read.covers(meter.as_str()))
        };
        asks.iter().filter(|quantity| read(&quantity.meter)).cloned().collect()
    }

    /// The local time, the record of the call's agent, balances, the tenant's language, and `more`.
    pub fn facts(
        &self,
        setup: &Setup,
        known: Known,
        call: &Call,
        at: Instant,
        more: &[Fact],
    ) -> Vec<Fact> {
        let mut facts = Vec::new();
        if self.reads_fact_under("local.")
            && let Ok(local) = setup.calendar.local(at)
        {
            let number = |name: &str, value: u32| Fact {
                name: format!("local.{name}"),
                value: Value::Number(value.into()),
            };
            facts.push(number("weekday", u8::from(local.weekday).into()));
            facts.push(number("hour", local.hour));
            facts.push(number("minute", local.minute));
            facts.push(Fact {
                name: "local.date".into(),
                value: Value::Text(local.date.to_string()),
            });
        }
        let agent = dimension(&call.dimensions, "agent");
        if self.reads_fact_under("agent.")
            && let Some(record) = known.records.and_then(|records| records.agent(agent))
        {
            let called = record.name.as_deref().unwrap_or(agent);
            facts.push(Fact { name: "agent.name".into(), value: Value::Text(called.into()) });
            flatten("agent", &record.settings, &mut facts);
        }
        if self.reads_fact_under("balance.")
            && let Some(accounts) = known.accounts
        {
            for (currency, account) in accounts.of_tariff(Tariff::Cost) {
                let Account { balance, held } = account;
                if let Ok(left) = balance.checked_sub(held) {
                    let name = format!("balance.{}", currency.code().to_ascii_lowercase());
                    facts.push(Fact { name, value: Value::Number(left) });
                }
            }
        }
        // Most speak English, which needs no fact.
        if setup.language != Language::English && self.reads_fact_under("tenant.") {
            let tag = setup.language.tag().to_owned();
            facts.push(Fact { name: TENANT_LANGUAGE.into(), value: Value::Text(tag) });
        }
        facts.extend_from_slice(more);
        facts.retain(|fact| self.reads_fact(fact));
        facts
    }

    /// Those that are read.
    pub fn reads(&self, facts: &[Fact]) -> Vec<Fact> {
        facts.iter().filter(|fact| self.reads_fact(fact)).cloned().collect()
    }

    fn reads_fact(&self, fact: &Fact) -> bool {
        self.0.iter().any(|read| matches!(read, Read::Fact(_)) && read.covers(&fact.name))
    }

    fn reads_fact_under(&self, prefix: &str) -> bool {
        self.0.iter().any(|read| match read {
            Read::Fact(pattern) => pattern == "*" || pattern.starts_with(prefix),
            _ => false,
        })
    }
}

/// A JSON object as facts: `{"rate_limits": {"enabled": true}}` as `agent.rate_limits.enabled`.
/// Lists and nulls are left out.
fn flatten(prefix: &str, json: &Json, facts: &mut Vec<Fact>) {
    let value = match json {
        Json::Object(members) => {
            for (name, member) in members {
                flatten(&format!("{prefix}.{name}"), member, facts);
            }
            return;
        }
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match number.to_string().parse() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Text(number.to_string()),
        },
        Json::Array(_) | Json::Null => return,
    };
    facts.push(Fact { name: prefix.to_owned(), value });
}
