//! The standard texts, as templates: one value for each language.

/// Title and body.
pub type Text = [&'static str; 2];

/// All that the standard policies say in one language.
pub struct Texts {
    pub quota_within: &'static str,
    pub quota_approaching: &'static str,
    pub quota_at_limit: &'static str,
    pub quota_exceeded: &'static str,
    pub quota_unknown: &'static str,
    pub threshold_warning: Text,
    pub limit_exceeded: Text,
    /// What `limit_exceeded` says besides where the agent was disabled.
    pub consequence: &'static str,
    pub agent_enabled: Text,
    pub agent_forecast: Text,
    /// Of a limit that is not the agents' monthly one.
    pub limit_forecast: Text,
    pub anomaly: Text,
    pub policy_quarantined: Text,
    pub limit_changed: Text,
    /// What `{of}` says before whose limit it is.
    pub of: &'static str,
    /// What `{from}` says before the limit that was set.
    pub from: &'static str,
    pub provider_drift: Text,
    /// What `{for_model}` says before the model that is invoiced.
    pub for_model: &'static str,
}

pub const ENGLISH: Texts = Texts {
    quota_within: "Quota OK for {resource}. Remaining: {remaining}/{limit}",
    quota_approaching: "Quota approaching limit for {resource}. Remaining: {remaining}/{limit}",
    quota_at_limit: "Quota at limit for {resource}. Remaining: {remaining}/{limit}",
    quota_exceeded: "Quota exceeded for {resource}. Limit: {limit}, cannot proceed.",
    quota_unknown: "Quota unknown for {resource}: the limit or its reading cannot be judged. Check the settings of the limit.",
    threshold_warning: [
        "AI agent '{agent}' is close to its monthly cost limit",
        "⚠️ Warning: AI agent '{agent}' is close to its monthly cost limit!\n\n\
         Configured limit: {limit}\nCurrent cost: {cost} ({percent}% of the limit)\n\n\
         Consider reviewing usage or raising the limit.",
    ],
    limit_exceeded: [
        "AI agent '{agent}' exceeded its monthly cost limit",
        "⚠️ AI agent '{agent}' exceeded its monthly cost limit!\n\n\
         Configured limit: {limit}\nCurrent cost: {cost}{consequence}",
    ],
    consequence: "\n\nThe agent was disabled automatically.",
    agent_enabled: [
        "AI agent '{agent}' is enabled again",
        "AI agent '{agent}' is enabled again: a new month has begun.\n\n\
         Configured limit: {limit}\nCurrent cost: {cost}",
    ],
    agent_forecast: [
        "AI agent '{agent}' is heading for its monthly cost limit",
        "At this pace AI agent '{agent}' reaches its monthly cost limit of {limit} on the {day}.\n\n\
         Cost so far: {cost}\n\n\
         Consider reviewing usage or raising the limit.",
    ],
    limit_forecast: [
        "{resource} is heading for its limit",
        "At this pace {resource} reaches its limit of {limit} on {date}.\n\n\
         Cost so far: {cost}\n\n\
         Consider reviewing usage or raising the limit.",
    ],
    anomaly: [
        "AI agent '{agent}' is spending far more than usual",
        "⚠️ AI agent '{agent}' spent {cost} in the last hour, more than {factor} times its usual \
         {usual} an hour.\n\n\
         Consider reviewing what it is doing.",
    ],
    policy_quarantined: [
        "Policy `{policy}` is in quarantine",
        "Policy `{policy}` ({revision}) failed again and again, at last with `{code}`, and is asked no \
         longer.\n\n\
         Mend it and bind another revision, or let it back.",
    ],
    limit_changed: [
        "The limit on `{meter}`{of} was changed{from} to {limit}",
        "Policy `{policy}` proposed another limit on `{meter}` ({window}){of}, within the bounds that \
         the platform set.\n\n\
         Limit: {limit}",
    ],
    of: " of ",
    from: " from ",
    provider_drift: [
        "Provider `{provider}` invoiced {invoiced}, and {computed} was computed",
        "Provider `{provider}` invoiced {invoiced}{for_model} on {day} (UTC). What was reported of that \
         day comes to {computed}.\n\n\
         Check the price list, and whether all calls were reported.",
    ],
    for_model: " for model ",
};

pub const PORTUGUESE: Texts = Texts {
    quota_within: "Cota OK para {resource}. Restante: {remaining}/{limit}",
    quota_approaching: "Cota próxima do limite para {resource}. Restante: {remaining}/{limit}",
    quota_at_limit: "Cota no limite para {resource}. Restante: {remaining}/{limit}",
    quota_exceeded: "Cota excedida para {resource}. Limite: {limit}, não é possível continuar.",
    quota_unknown: "Cota desconhecida para {resource}: não é possível avaliar o limite ou a leitura. Verifique as configurações do limite.",
    threshold_warning: [
        "O agente de IA '{agent}' está próximo do limite de custo mensal",
        "⚠️ Atenção: O agente de IA '{agent}' está próximo do limite de custo mensal!\n\n\
         Limite configurado: {limit}\nCusto atual: {cost} ({percent}% do limite)\n\n\
         Considere revisar o uso ou aumentar o limite.",
    ],
    limit_exceeded: [
        "O agente de IA '{agent}' excedeu o limite de custo mensal",
        "⚠️ O agente de IA '{agent}' excedeu o limite de custo mensal!\n\n\
         Limite configurado: {limit}\nCusto atual: {cost}{consequence}",
    ],
    consequence: "\n\nO agente foi desativado automaticamente.",
    agent_enabled: [
        "O agente de IA '{agent}' foi reativado",
        "O agente de IA '{agent}' foi reativado: um novo mês começou.\n\n\
         Limite configurado: {limit}\nCusto atual: {cost}",
    ],
    agent_forecast: [
        "O agente de IA '{agent}' caminha para o limite de custo mensal",
        "Neste ritmo, o agente de IA '{agent}' atinge o limite de custo mensal de {limit} no dia \
         {day}.\n\n\
         Custo até agora: {cost}\n\n\
         Considere revisar o uso ou aumentar o limite.",
    ],
    limit_forecast: [
        "{resource} caminha para o limite",
        "Neste ritmo, {resource} atinge o limite de {limit} em {date}.\n\n\
         Custo até agora: {cost}\n\n\
         Considere revisar o uso ou aumentar o limite.",
    ],
    anomaly: [
        "O agente de IA '{agent}' está gastando muito mais que o normal",
        "⚠️ O agente de IA '{agent}' gastou {cost} na última hora, mais de {factor} vezes o seu \
         normal de {usual} por hora.\n\n\
         Considere revisar o que ele está fazendo.",
    ],
    policy_quarantined: [
        "A política `{policy}` está em quarentena",
        "A política `{policy}` ({revision}) falhou repetidamente, por último com `{code}`, e não é mais \
         consultada.\n\n\
         Corrija-a e vincule outra revisão, ou libere-a.",
    ],
    limit_changed: [
        "O limite de `{meter}`{of} mudou{from} para {limit}",
        "A política `{policy}` propôs outro limite de `{meter}` ({window}){of}, dentro do que a \
         plataforma permite.\n\n\
         Limite: {limit}",
    ],
    of: " de ",
    from: " de ",
    provider_drift: [
        "O provedor `{provider}` faturou {invoiced}, e o calculado é {computed}",
        "O provedor `{provider}` faturou {invoiced}{for_model} em {day} (UTC). O que foi informado desse \
         dia soma {computed}.\n\n\
         Verifique a lista de preços e se todas as chamadas foram informadas.",
    ],
    for_model: " pelo modelo ",
};
