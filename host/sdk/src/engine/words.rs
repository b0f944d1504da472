//! What the host itself tells people, in the tenant's language.

use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::messages::Language;

use super::drift::{Drift, Invoiced};
use super::limit::LimitKey;
use super::notices::NoticeBody;
use super::quarantine::{PolicyKey, quarantine_notice};
use crate::sandbox::Fault;

/// A policy failed so often that it is asked no longer.
pub fn quarantined(language: Language, policy: &PolicyKey, fault: &Fault) -> NoticeBody {
    let (name, revision, code) = (&policy.policy, &policy.revision, fault.code());
    let (title, body) = match language {
        Language::English => (
            format!("Policy `{name}` is in quarantine"),
            format!(
                "Policy `{name}` ({revision}) failed again and again, at last with `{code}`, and is asked \
                 no longer.\n\nMend it and bind another revision, or let it back."
            ),
        ),
        Language::Portuguese => (
            format!("A política `{name}` está em quarentena"),
            format!(
                "A política `{name}` ({revision}) falhou repetidamente, por último com `{code}`, e não é \
                 mais consultada.\n\nCorrija-a e vincule outra revisão, ou libere-a."
            ),
        ),
    };
    by_host(quarantine_notice(policy), "critical", title, body)
}

/// A limit was set to what a policy proposed.
pub fn limited(
    language: Language,
    policy: &str,
    key: &LimitKey,
    before: Option<Decimal>,
    limit: Decimal,
) -> NoticeBody {
    let LimitKey { meter, window, dimensions } = key;
    let whose: Vec<String> =
        dimensions.iter().map(|own| format!("{} `{}`", own.name, own.value)).collect();
    let whose = whose.join(", ");
    let (title, body) = match language {
        Language::English => {
            let of = if whose.is_empty() { String::new() } else { format!(" of {whose}") };
            let from = before.map(|before| format!(" from {before}")).unwrap_or_default();
            (
                format!("The limit on `{meter}`{of} was changed{from} to {limit}"),
                format!(
                    "Policy `{policy}` proposed another limit on `{meter}` ({window}){of}, within the \
                     bounds that the platform set.\n\nLimit: {limit}"
                ),
            )
        }
        Language::Portuguese => {
            let of = if whose.is_empty() { String::new() } else { format!(" de {whose}") };
            let from = before.map(|before| format!(" de {before}")).unwrap_or_default();
            (
                format!("O limite de `{meter}`{of} mudou{from} para {limit}"),
                format!(
                    "A política `{policy}` propôs outro limite de `{meter}` ({window}){of}, dentro do que \
                     a plataforma permite.\n\nLimite: {limit}"
                ),
            )
        }
    };
    let key = format!("limit_changed:{meter}:{window}");
    NoticeBody { dimensions: dimensions.clone(), ..by_host(key, "info", title, body) }
}

/// A provider invoiced something else than was computed.
pub fn drifted(language: Language, Drift { invoiced, computed, .. }: &Drift) -> NoticeBody {
    let Invoiced { provider, model, day, money } = invoiced;
    let (title, body) = match language {
        Language::English => {
            let of = model.as_ref().map(|model| format!(" for model `{model}`"));
            let of = of.unwrap_or_default();
            (
                format!("Provider `{provider}` invoiced {money}, and {computed} was computed"),
                format!(
                    "Provider `{provider}` invoiced {money}{of} on {day} (UTC). What was reported of \
                     that day comes to {computed}.\n\nCheck the price list, and whether all calls were \
                     reported."
                ),
            )
        }
        Language::Portuguese => {
            let of = model.as_ref().map(|model| format!(" pelo modelo `{model}`"));
            let of = of.unwrap_or_default();
            (
                format!("O provedor `{provider}` faturou {money}, e o calculado é {computed}"),
                format!(
                    "O provedor `{provider}` faturou {money}{of} em {day} (UTC). O que foi informado \
                     desse dia soma {computed}.\n\nVerifique a lista de preços e se todas as chamadas \
                     foram informadas."
                ),
            )
        }
    };
    let (opened, closes) = invoiced.span();
    NoticeBody {
        dimensions: invoiced.dimensions(),
        period: Some((opened, Some(closes))),
        ..by_host(invoiced.notice(), "warning", title, body)
    }
}

/// Why a call is denied of which something is disabled.
pub fn disabled(language: Language, Dimension { name, value }: &Dimension, reason: &str) -> String {
    match language {
        Language::English => format!("{name} `{value}` is disabled: {reason}"),
        Language::Portuguese => format!("{name} `{value}` está desativado: {reason}"),
    }
}

/// Why an agent is disabled whose record says no more.
pub fn switched_off(language: Language) -> &'static str {
    match language {
        Language::English => "it was switched off",
        Language::Portuguese => "foi desligado",
    }
}

/// What policies granted comes to nothing.
pub fn nothing_granted(language: Language) -> &'static str {
    match language {
        Language::English => "nothing can be granted of this call",
        Language::Portuguese => "nada pode ser concedido desta chamada",
    }
}

/// What policies granted they deny.
pub fn granted_in_vain(language: Language) -> &'static str {
    match language {
        Language::English => "what is granted of this call is denied again",
        Language::Portuguese => "o que se concede desta chamada é negado em seguida",
    }
}

/// A tenant's own policy cannot be asked.
pub fn unfit(language: Language, policy: &str) -> String {
    match language {
        Language::English => format!(
            "the tenant's own policy `{policy}` cannot be asked beside the platform's: have another \
             revision of it bound, or none"
        ),
        Language::Portuguese => format!(
            "a política `{policy}` do próprio cliente não pode ser consultada ao lado das da \
             plataforma: vincule outra revisão dela, ou nenhuma"
        ),
    }
}

fn by_host(key: String, severity: &str, title: String, body: String) -> NoticeBody {
    let severity = severity.to_owned();
    NoticeBody { key, severity, title, body, ..NoticeBody::default() }
}
