//! What the host itself has people told: as facts, so that an alerting policy may word it, and in the
//! standard words, in case none does.

use std::fmt::Display;

use crate::contract::{Fact, Value, fact};
use crate::decimal::Decimal;
use crate::messages::{Language, Messages, Wording};
use crate::money::Money;

/// Something that the host saw, and no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matter {
    /// A policy failed so often that it is asked no longer.
    Quarantined {
        /// What people call it.
        policy: String,
        /// `acme/own@3`, or a digest.
        revision: String,
        /// How it failed last: `policy_trapped`.
        code: String,
    },
    /// A limit was set to what a policy proposed.
    LimitChanged {
        /// The policy.
        policy: String,
        /// What is limited.
        meter: String,
        /// Over which time.
        window: String,
        /// Whose it is: ``agent `sdr` ``; empty: the tenant's.
        whose: String,
        /// The limit that was set before, if there was one.
        before: Option<Decimal>,
        /// The one that holds now.
        limit: Decimal,
    },
    /// A provider invoiced something else than was computed.
    ProviderDrift {
        /// Who did.
        provider: String,
        /// For which model; none: for all of them.
        model: Option<String>,
        /// For which day, in UTC: `2026-03-01`.
        day: String,
        /// How much.
        invoiced: Money,
        /// What was computed, in the same currency.
        computed: Money,
    },
}

/// Facts of this kind by their names, and back.
struct Facts<'a> {
    all: &'a [Fact],
    of: &'static str,
}

impl Facts<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        fact(self.all, &format!("{}.{name}", self.of))
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn number(&self, name: &str) -> Option<Decimal> {
        match self.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl Matter {
    /// As keys of notices begin, and as settings name its texts.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Quarantined { .. } => "policy_quarantined",
            Self::LimitChanged { .. } => "limit_changed",
            Self::ProviderDrift { .. } => "provider_drift",
        }
    }

    /// As an observation names it.
    #[must_use]
    pub const fn occasion(&self) -> &'static str {
        match self {
            Self::Quarantined { .. } => "policy-quarantined",
            Self::LimitChanged { .. } => "limit-changed",
            Self::ProviderDrift { .. } => "provider-drift",
        }
    }

    /// `info`, `warning`, `critical`.
    #[must_use]
    pub const fn severity(&self) -> &'static str {
        match self {
            Self::Quarantined { .. } => "critical",
            Self::LimitChanged { .. } => "info",
            Self::ProviderDrift { .. } => "warning",
        }
    }

    /// What a manifest reads that words all of them.
    pub const READS: [&'static str; 3] = ["quarantine.*", "limit.*", "drift.*"];

    /// As a policy is fed it.
    #[must_use]
    pub fn facts(&self) -> Vec<Fact> {
        let text = |name: &str, text: &String| (name.to_owned(), Value::Text(text.clone()));
        let number = |name: &str, number| (name.to_owned(), Value::Number(number));
        let facts = match self {
            Self::Quarantined { policy, revision, code } => vec![
                text("quarantine.policy", policy),
                text("quarantine.revision", revision),
                text("quarantine.code", code),
            ],
            Self::LimitChanged { policy, meter, window, whose, before, limit } => {
                let mut facts = vec![
                    text("limit.policy", policy),
                    text("limit.meter", meter),
                    text("limit.window", window),
                    text("limit.whose", whose),
                    number("limit.now", *limit),
                ];
                facts.extend(before.map(|before| number("limit.before", before)));
                facts
            }
            Self::ProviderDrift { provider, model, day, invoiced, computed } => {
                let mut facts = vec![
                    text("drift.provider", provider),
                    text("drift.day", day),
                    text("drift.currency", &invoiced.currency.code().to_owned()),
                    number("drift.invoiced", invoiced.amount),
                    number("drift.computed", computed.amount),
                ];
                facts.extend(model.iter().map(|model| text("drift.model", model)));
                facts
            }
        };
        facts.into_iter().map(|(name, value)| Fact { name, value }).collect()
    }

    /// What a policy is fed on this occasion; none where it is another one.
    #[must_use]
    pub fn observed(occasion: &str, all: &[Fact]) -> Option<Self> {
        match occasion {
            "policy-quarantined" => {
                let facts = Facts { all, of: "quarantine" };
                Some(Self::Quarantined {
                    policy: facts.text("policy")?,
                    revision: facts.text("revision")?,
                    code: facts.text("code")?,
                })
            }
            "limit-changed" => {
                let facts = Facts { all, of: "limit" };
                Some(Self::LimitChanged {
                    policy: facts.text("policy")?,
                    meter: facts.text("meter")?,
                    window: facts.text("window")?,
                    whose: facts.text("whose")?,
                    before: facts.number("before"),
                    limit: facts.number("now")?,
                })
            }
            "provider-drift" => {
                let facts = Facts { all, of: "drift" };
                let currency = facts.text("currency")?.parse().ok()?;
                Some(Self::ProviderDrift {
                    provider: facts.text("provider")?,
                    model: facts.text("model"),
                    day: facts.text("day")?,
                    invoiced: Money::new(facts.number("invoiced")?, currency),
                    computed: Money::new(facts.number("computed")?, currency),
                })
            }
            _ => None,
        }
    }

    /// Title and body in these words.
    #[must_use]
    pub fn say(&self, messages: &Messages) -> (String, String) {
        let wording = match self {
            Self::Quarantined { .. } => &messages.policy_quarantined,
            Self::LimitChanged { .. } => &messages.limit_changed,
            Self::ProviderDrift { .. } => &messages.provider_drift,
        };
        self.fill(wording, messages.language)
    }

    /// Title and body in the standard words.
    #[must_use]
    pub fn say_standard(&self, language: Language) -> (String, String) {
        let texts = language.texts();
        let text = match self {
            Self::Quarantined { .. } => texts.policy_quarantined,
            Self::LimitChanged { .. } => texts.limit_changed,
            Self::ProviderDrift { .. } => texts.provider_drift,
        };
        self.fill(&Wording::standard(text), language)
    }

    fn fill(&self, wording: &Wording, language: Language) -> (String, String) {
        let texts = language.texts();
        let part = |before: &str, own: Option<&dyn Display>| {
            own.map(|own| format!("{before}{own}")).unwrap_or_default()
        };
        match self {
            Self::Quarantined { policy, revision, code } => {
                wording.say(&[("policy", policy), ("revision", revision), ("code", code)])
            }
            Self::LimitChanged { policy, meter, window, whose, before, limit } => {
                let whose = Some(whose).filter(|whose| !whose.is_empty());
                let of = part(texts.of, whose.map(|whose| whose as &dyn Display));
                let from = part(texts.from, before.as_ref().map(|before| before as &dyn Display));
                wording.say(&[
                    ("policy", policy),
                    ("meter", meter),
                    ("window", window),
                    ("of", &of),
                    ("from", &from),
                    ("limit", limit),
                ])
            }
            Self::ProviderDrift { provider, model, day, invoiced, computed } => {
                let model = model.as_ref().map(|model| format!("`{model}`"));
                let of = part(texts.for_model, model.as_ref().map(|model| model as &dyn Display));
                wording.say(&[
                    ("provider", provider),
                    ("for_model", &of),
                    ("day", day),
                    ("invoiced", invoiced),
                    ("computed", computed),
                ])
            }
        }
    }
}
