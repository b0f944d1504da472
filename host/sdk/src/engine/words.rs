//! What the host itself tells people, in the tenant's language.

use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::messages::Language;

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
