//! The words that people read, in the tenant's language.

use serde::{Deserialize, Serialize};

use crate::contract::Status;
use crate::decimal::Decimal;
use crate::money::{Currency, Money};

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

/// The standard message for a limit's status. The host uses it too, for findings without words.
#[must_use]
pub fn quota(
    language: Language,
    status: Status,
    resource: &str,
    limit: Decimal,
    remaining: Decimal,
) -> String {
    use Language::{English, Portuguese};
    match (language, status) {
        (English, Status::Exceeded) => {
            format!("Quota exceeded for {resource}. Limit: {limit}, cannot proceed.")
        }
        (English, Status::AtLimit) => {
            format!("Quota at limit for {resource}. Remaining: {remaining}/{limit}")
        }
        (English, Status::ApproachingLimit) => {
            format!("Quota approaching limit for {resource}. Remaining: {remaining}/{limit}")
        }
        (English, Status::WithinLimit) => {
            format!("Quota OK for {resource}. Remaining: {remaining}/{limit}")
        }
        (English, Status::Unknown) => format!(
            "Quota unknown for {resource}: the limit or its reading cannot be judged. Check the settings of the limit."
        ),
        (Portuguese, Status::Exceeded) => {
            format!("Cota excedida para {resource}. Limite: {limit}, não é possível continuar.")
        }
        (Portuguese, Status::AtLimit) => {
            format!("Cota no limite para {resource}. Restante: {remaining}/{limit}")
        }
        (Portuguese, Status::ApproachingLimit) => {
            format!("Cota próxima do limite para {resource}. Restante: {remaining}/{limit}")
        }
        (Portuguese, Status::WithinLimit) => {
            format!("Cota OK para {resource}. Restante: {remaining}/{limit}")
        }
        (Portuguese, Status::Unknown) => format!(
            "Cota desconhecida para {resource}: não é possível avaliar o limite ou a leitura. Verifique as configurações do limite."
        ),
    }
}

/// What an agent's cost stands at, for its two notices.
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
    /// `threshold_warning`: title and body.
    #[must_use]
    pub fn threshold_warning(self, language: Language) -> (String, String) {
        let Self { agent, .. } = self;
        let (limit, cost, percent) =
            (self.money(self.limit), self.money(self.cost), self.percent());
        match language {
            Language::English => (
                format!("AI agent '{agent}' is close to its monthly cost limit"),
                format!(
                    "⚠️ Warning: AI agent '{agent}' is close to its monthly cost limit!\n\n\
                     Configured limit: {limit}\nCurrent cost: {cost} ({percent}% of the limit)\n\n\
                     Consider reviewing usage or raising the limit."
                ),
            ),
            Language::Portuguese => (
                format!("O agente de IA '{agent}' está próximo do limite de custo mensal"),
                format!(
                    "⚠️ Atenção: O agente de IA '{agent}' está próximo do limite de custo mensal!\n\n\
                     Limite configurado: {limit}\nCusto atual: {cost} ({percent}% do limite)\n\n\
                     Considere revisar o uso ou aumentar o limite."
                ),
            ),
        }
    }

    /// `limit_exceeded`: title and body, which says so where the agent was disabled.
    #[must_use]
    pub fn limit_exceeded(self, language: Language, disabled: bool) -> (String, String) {
        let Self { agent, .. } = self;
        let (limit, cost) = (self.money(self.limit), self.money(self.cost));
        let (title, mut body, consequence) = match language {
            Language::English => (
                format!("AI agent '{agent}' exceeded its monthly cost limit"),
                format!(
                    "⚠️ AI agent '{agent}' exceeded its monthly cost limit!\n\n\
                     Configured limit: {limit}\nCurrent cost: {cost}"
                ),
                "The agent was disabled automatically.",
            ),
            Language::Portuguese => (
                format!("O agente de IA '{agent}' excedeu o limite de custo mensal"),
                format!(
                    "⚠️ O agente de IA '{agent}' excedeu o limite de custo mensal!\n\n\
                     Limite configurado: {limit}\nCusto atual: {cost}"
                ),
                "O agente foi desativado automaticamente.",
            ),
        };
        if disabled {
            body.push_str("\n\n");
            body.push_str(consequence);
        }
        (title, body)
    }

    fn money(self, amount: Decimal) -> String {
        Money::new(amount, self.currency).to_string()
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
