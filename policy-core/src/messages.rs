//! The words that people read, in the tenant's language and, where the settings have texts of their
//! own, in those.

use std::fmt::Display;

use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

use crate::contract::{Fact, Status, Value, fact};
use crate::decimal::Decimal;
use crate::money::{Currency, Money};
use crate::template::{Template, TemplateError};
use crate::texts::{ENGLISH, PORTUGUESE, Text, Texts};

/// What the texts about an agent's cost may name.
const AGENT: &[&str] = &["agent", "limit", "cost", "percent"];
const EXCEEDED: &[&str] = &["agent", "limit", "cost", "percent", "consequence"];
const QUOTA: &[&str] = &["resource", "limit", "remaining"];
const FORECAST: &[&str] = &["agent", "resource", "limit", "cost", "day", "date"];
const ANOMALY: &[&str] = &["agent", "cost", "usual", "factor"];
/// What the texts may name that are the host's matter.
const QUARANTINED: &[&str] = &["policy", "revision", "code"];
const CHANGED: &[&str] = &["policy", "meter", "window", "of", "from", "limit"];
const DRIFT: &[&str] = &["provider", "for_model", "day", "invoiced", "computed"];

/// The tenant's language, by its tag; not fed where that is English.
pub const TENANT_LANGUAGE: &str = "tenant.language";

/// The languages that the standard policies speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Portuguese.
    #[serde(rename = "pt", alias = "pt-BR", alias = "pt-br")]
    Portuguese,
}

/// The texts of the notices, in every language.
#[derive(Clone, Debug)]
pub struct Spoken {
    english: Messages,
    portuguese: Messages,
}

/// The texts of the notices.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Of what the settings have no text for.
    pub language: Language,
    /// An agent's cost comes near its monthly limit.
    pub threshold_warning: Wording,
    /// An agent's cost is above its monthly limit.
    pub limit_exceeded: Wording,
    /// What `{consequence}` says in it where the agent was disabled.
    pub consequence: &'static str,
    /// A limit comes near.
    pub quota_approaching: Wording,
    /// A limit is reached.
    pub quota_at_limit: Wording,
    /// A limit is passed.
    pub quota_exceeded: Wording,
    /// An agent's cost will reach its monthly limit: `spend_forecast`.
    pub agent_forecast: Wording,
    /// The same of another limit.
    pub limit_forecast: Wording,
    /// An agent costs far more than usual.
    pub spend_anomaly: Wording,
    /// An agent that was disabled may go on.
    pub agent_enabled: Wording,
    /// A policy is asked no longer.
    pub policy_quarantined: Wording,
    /// A limit was set to what a policy proposed.
    pub limit_changed: Wording,
    /// A provider invoiced something else than was computed.
    pub provider_drift: Wording,
}

/// Title and body of a notice.
#[derive(Clone, Debug)]
pub struct Wording {
    title: Template,
    body: Template,
}

/// The texts that the settings have of their own, by kind of notice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "an object with texts by kind of notice")]
pub struct OwnMessages {
    threshold_warning: OwnText,
    limit_exceeded: OwnText,
    quota_approaching: OwnText,
    quota_at_limit: OwnText,
    quota_exceeded: OwnText,
    spend_forecast: OwnText,
    spend_anomaly: OwnText,
    agent_enabled: OwnText,
    policy_quarantined: OwnText,
    limit_changed: OwnText,
    provider_drift: OwnText,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[serde(expecting = "an object with `title` and `body`")]
struct OwnText {
    title: Option<String>,
    body: Option<String>,
}

/// A text that cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message `{notice}`: {reason}")]
pub struct MessageError {
    notice: &'static str,
    reason: TemplateError,
}

impl Language {
    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Portuguese => &PORTUGUESE,
        }
    }

    /// As facts name it: `en`, `pt`.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Portuguese => "pt",
        }
    }

    /// The tenant's, as a policy is fed it.
    #[must_use]
    pub fn of_tenant(facts: &[Fact]) -> Self {
        match fact(facts, TENANT_LANGUAGE) {
            Some(Value::Text(tag)) if tag == Self::Portuguese.tag() => Self::Portuguese,
            _ => Self::English,
        }
    }

    /// The day of a month, as a sentence has it.
    #[must_use]
    pub fn day(self, date: NaiveDate) -> String {
        let day = date.day();
        let ending = match (self, day) {
            (Self::Portuguese, _) => "",
            (Self::English, 1 | 21 | 31) => "st",
            (Self::English, 2 | 22) => "nd",
            (Self::English, 3 | 23) => "rd",
            (Self::English, _) => "th",
        };
        format!("{day}{ending}")
    }
}

/// The standard message for a limit's status. The host uses it too, for findings without words.
#[must_use]
pub fn quota(
    language: Language,
    status: Status,
    resource: &str,
    limit: Decimal,
    remaining: Decimal,
) -> String {
    let texts = language.texts();
    let text = match status {
        Status::WithinLimit => texts.quota_within,
        Status::ApproachingLimit => texts.quota_approaching,
        Status::AtLimit => texts.quota_at_limit,
        Status::Exceeded => texts.quota_exceeded,
        Status::Unknown => texts.quota_unknown,
    };
    Template::standard(text).fill(&[
        ("resource", &resource),
        ("limit", &limit),
        ("remaining", &remaining),
    ])
}

impl Spoken {
    /// The settings' own texts, and the standard ones for the rest.
    pub fn new(own: OwnMessages) -> Result<Self, MessageError> {
        let english = Messages::new(Language::English, own.clone())?;
        Ok(Self { english, portuguese: Messages::new(Language::Portuguese, own)? })
    }

    /// Those of one language.
    #[must_use]
    pub fn in_language(&self, language: Language) -> &Messages {
        match language {
            Language::English => &self.english,
            Language::Portuguese => &self.portuguese,
        }
    }
}

impl Messages {
    /// The settings' own texts, and the standard ones for the rest.
    pub fn new(language: Language, own: OwnMessages) -> Result<Self, MessageError> {
        let texts = language.texts();
        // Both forecasts are one notice in the settings.
        let forecast =
            |text: Text| Wording::new("spend_forecast", FORECAST, text, own.spend_forecast.clone());
        let quota = |notice, text, own| Wording::new(notice, QUOTA, [text; 2], own);
        Ok(Self {
            language,
            agent_forecast: forecast(texts.agent_forecast)?,
            limit_forecast: forecast(texts.limit_forecast)?,
            threshold_warning: Wording::new(
                "threshold_warning",
                AGENT,
                texts.threshold_warning,
                own.threshold_warning,
            )?,
            limit_exceeded: Wording::new(
                "limit_exceeded",
                EXCEEDED,
                texts.limit_exceeded,
                own.limit_exceeded,
            )?,
            consequence: texts.consequence,
            quota_approaching: quota(
                "quota_approaching",
                texts.quota_approaching,
                own.quota_approaching,
            )?,
            quota_at_limit: quota("quota_at_limit", texts.quota_at_limit, own.quota_at_limit)?,
            quota_exceeded: quota("quota_exceeded", texts.quota_exceeded, own.quota_exceeded)?,
            spend_anomaly: Wording::new(
                "spend_anomaly",
                ANOMALY,
                texts.anomaly,
                own.spend_anomaly,
            )?,
            agent_enabled: Wording::new(
                "agent_enabled",
                AGENT,
                texts.agent_enabled,
                own.agent_enabled,
            )?,
            policy_quarantined: Wording::new(
                "policy_quarantined",
                QUARANTINED,
                texts.policy_quarantined,
                own.policy_quarantined,
            )?,
            limit_changed: Wording::new(
                "limit_changed",
                CHANGED,
                texts.limit_changed,
                own.limit_changed,
            )?,
            provider_drift: Wording::new(
                "provider_drift",
                DRIFT,
                texts.provider_drift,
                own.provider_drift,
            )?,
        })
    }

    /// What is said of a limit's status.
    #[must_use]
    pub fn quota(
        &self,
        status: Status,
        resource: &str,
        limit: Decimal,
        remaining: Decimal,
    ) -> String {
        let wording = match status {
            Status::ApproachingLimit => &self.quota_approaching,
            Status::AtLimit => &self.quota_at_limit,
            Status::Exceeded => &self.quota_exceeded,
            Status::WithinLimit | Status::Unknown => {
                return quota(self.language, status, resource, limit, remaining);
            }
        };
        let values: [(&str, &dyn Display); 3] =
            [("resource", &resource), ("limit", &limit), ("remaining", &remaining)];
        wording.body.fill(&values)
    }
}

impl Wording {
    /// The program's own.
    pub(crate) const fn standard([title, body]: Text) -> Self {
        Self { title: Template::standard(title), body: Template::standard(body) }
    }

    fn new(
        notice: &'static str,
        names: &[&str],
        [title, body]: Text,
        own: OwnText,
    ) -> Result<Self, MessageError> {
        let template = |own: Option<String>, standard| match own {
            Some(own) => {
                Template::parse(own, names).map_err(|reason| MessageError { notice, reason })
            }
            None => Ok(Template::standard(standard)),
        };
        Ok(Self { title: template(own.title, title)?, body: template(own.body, body)? })
    }

    /// Title and body with these values.
    #[must_use]
    pub fn say(&self, values: &[(&str, &dyn Display)]) -> (String, String) {
        (self.title.fill(values), self.body.fill(values))
    }
}

/// What an agent's cost stands at, for its notices.
#[derive(Clone, Copy, Debug)]
pub struct AgentCost<'a> {
    /// The agent's name.
    pub agent: &'a str,
    /// Its monthly limit.
    pub limit: Decimal,
    /// What it has cost this month.
    pub cost: Decimal,
    /// Of both.
    pub currency: Currency,
}

impl AgentCost<'_> {
    /// Title and body; the consequence is empty, or a paragraph.
    #[must_use]
    pub fn say(self, wording: &Wording, consequence: &str) -> (String, String) {
        wording.say(&[
            ("agent", &self.agent),
            ("limit", &Money::new(self.limit, self.currency)),
            ("cost", &Money::new(self.cost, self.currency)),
            ("percent", &self.percent()),
            ("consequence", &consequence),
        ])
    }

    fn percent(self) -> String {
        Decimal::mul_div(&[self.cost, Decimal::HUNDRED], self.limit, 1)
            .and_then(|percent| percent.to_fixed(1))
            .unwrap_or_else(|_| "100.0".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(cost: u32) -> AgentCost<'static> {
        AgentCost {
            agent: "Agente SDR",
            limit: Decimal::from(500),
            cost: Decimal::from(cost),
            currency: Currency::BRL,
        }
    }

    fn standard(language: Language) -> Messages {
        Messages::new(language, OwnMessages::default()).unwrap()
    }

    impl AgentCost<'_> {
        fn threshold_warning(self, language: Language) -> (String, String) {
            self.say(&standard(language).threshold_warning, "")
        }

        fn limit_exceeded(self, language: Language, disabled: bool) -> (String, String) {
            let messages = standard(language);
            self.say(&messages.limit_exceeded, if disabled { messages.consequence } else { "" })
        }
    }

    /// What is standard is not checked where it is used.
    #[test]
    fn the_standard_texts_are_templates_with_their_notices_placeholders() {
        for Texts {
            quota_within,
            quota_approaching,
            quota_at_limit,
            quota_exceeded,
            quota_unknown,
            threshold_warning,
            limit_exceeded,
            consequence,
            agent_enabled,
            agent_forecast,
            limit_forecast,
            anomaly,
            policy_quarantined,
            limit_changed,
            of,
            from,
            provider_drift,
            for_model,
        } in [ENGLISH, PORTUGUESE]
        {
            for (texts, names) in [
                ([quota_approaching, quota_at_limit], QUOTA),
                ([quota_exceeded, quota_unknown], QUOTA),
                ([quota_within, consequence], QUOTA),
                (threshold_warning, AGENT),
                (limit_exceeded, EXCEEDED),
                (agent_enabled, AGENT),
                (agent_forecast, FORECAST),
                (limit_forecast, FORECAST),
                (anomaly, ANOMALY),
                (policy_quarantined, QUARANTINED),
                (limit_changed, CHANGED),
                ([of, from], CHANGED),
                (provider_drift, DRIFT),
                ([for_model; 2], DRIFT),
            ] {
                for text in texts {
                    assert!(Template::parse(text.into(), names).is_ok(), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_day_is_written_as_its_language_does() {
        let day =
            |day, language: Language| language.day(NaiveDate::from_ymd_opt(2025, 1, day).unwrap());
        let english: Vec<String> = (1..=31).map(|own| day(own, Language::English)).collect();
        assert_eq!(
            english.join(" "),
            "1st 2nd 3rd 4th 5th 6th 7th 8th 9th 10th 11th 12th 13th 14th 15th 16th 17th 18th \
             19th 20th 21st 22nd 23rd 24th 25th 26th 27th 28th 29th 30th 31st"
        );
        assert_eq!(day(19, Language::Portuguese), "19");
    }

    #[test]
    fn the_notices_are_the_seeds_letter_for_letter() {
        assert_eq!(
            seed(400).threshold_warning(Language::Portuguese).1,
            "⚠️ Atenção: O agente de IA 'Agente SDR' está próximo do limite de custo mensal!\n\n\
             Limite configurado: R$ 500.00\nCusto atual: R$ 400.00 (80.0% do limite)\n\n\
             Considere revisar o uso ou aumentar o limite."
        );
        assert_eq!(
            seed(550).limit_exceeded(Language::Portuguese, true).1,
            "⚠️ O agente de IA 'Agente SDR' excedeu o limite de custo mensal!\n\n\
             Limite configurado: R$ 500.00\nCusto atual: R$ 550.00\n\n\
             O agente foi desativado automaticamente."
        );
        assert_eq!(
            seed(400).threshold_warning(Language::English).1,
            "⚠️ Warning: AI agent 'Agente SDR' is close to its monthly cost limit!\n\n\
             Configured limit: R$ 500.00\nCurrent cost: R$ 400.00 (80.0% of the limit)\n\n\
             Consider reviewing usage or raising the limit."
        );
        assert_eq!(
            seed(550).limit_exceeded(Language::English, true).1,
            "⚠️ AI agent 'Agente SDR' exceeded its monthly cost limit!\n\n\
             Configured limit: R$ 500.00\nCurrent cost: R$ 550.00\n\n\
             The agent was disabled automatically."
        );
        assert!(!seed(550).limit_exceeded(Language::English, false).1.contains("disabled"));
    }

    #[test]
    fn the_four_quota_messages_are_the_seeds() {
        let say = |status| {
            quota(Language::English, status, "llm_requests", Decimal::from(1000), Decimal::from(40))
        };
        assert_eq!(
            say(Status::Exceeded),
            "Quota exceeded for llm_requests. Limit: 1000, cannot proceed."
        );
        assert_eq!(say(Status::AtLimit), "Quota at limit for llm_requests. Remaining: 40/1000");
        assert_eq!(
            say(Status::ApproachingLimit),
            "Quota approaching limit for llm_requests. Remaining: 40/1000"
        );
        assert_eq!(say(Status::WithinLimit), "Quota OK for llm_requests. Remaining: 40/1000");
    }
}
