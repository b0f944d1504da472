//! Who may do what: tokens, and the roles that they are given.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_host::engine::Random;
use tollgate_host::store::{Tenant, TokenRow};
use tollgate_policy_core::window::Instant;

/// What a token's holder may do; the routes say which roles they serve.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, tokens and the audit log among it.
    Admin,
    /// The platform's policies, its tenants and their money.
    Operator,
    /// All that a tenant decides for itself: its policies, limits and agents.
    Tenant,
    /// Asks before calls, and reports after them.
    Ingest,
    /// Looks, and changes nothing.
    Read,
}

/// Not a role.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a role: write `admin`, `operator`, `tenant`, `ingest` or `read`")]
pub struct NotARole(String);

impl Role {
    /// All there are, from the one that may do most.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Operator, Self::Tenant, Self::Ingest, Self::Read];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Tenant => "tenant",
            Self::Ingest => "ingest",
            Self::Read => "read",
        }
    }

    /// Whether it is of the platform alone: a token of it belongs to no tenant.
    #[must_use]
    pub fn is_platforms(self) -> bool {
        matches!(self, Self::Admin | Self::Operator)
    }
}

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| NotARole(text.chars().take(40).collect()))
    }
}

/// A token as its holder shows it: `tg_`, 16 digits that name it, and 64 that prove it, hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

const PREFIX: &str = "tg_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

impl Token {
    /// One that nobody can guess.
    pub fn draw(random: &Random) -> Self {
        let id = format!("{:016x}", random() >> 64);
        Self { id, secret: format!("{:032x}{:032x}", random(), random()) }
    }

    /// None: it is not of the form that tokens have.
    pub fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != ID_DIGITS + SECRET_DIGITS || !is_hex {
            return None;
        }
        let (id, secret) = digits.split_at(ID_DIGITS);
        Some(Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// By which it is listed and revoked.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// All of it, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}{}", self.id, self.secret)
    }

    /// What the store keeps in place of the secret, which is random enough to need no salt.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.reveal()).into()
    }

    /// The same one with another secret.
    pub fn redraw(id: &str, random: &Random) -> Self {
        Self { id: id.to_owned(), ..Self::draw(random) }
    }

    /// Until when it counts as the one that is kept; none: it is not that one. How long that takes to
    /// tell tells nothing: the digests of two secrets share no more than chance has it.
    pub fn proves(&self, row: &TokenRow) -> Option<Instant> {
        let digest = self.digest();
        let older = row.older.filter(|older| older.digest == digest).map(|older| older.until);
        let newer = (row.digest == digest).then(|| row.expires_at.unwrap_or(Instant::MAX));
        newer.or(older)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// For whom; none: for any tenant.
    pub tenant: Option<Tenant>,
}

/// Why a token that is kept does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotValid {
    /// It was revoked.
    #[error("the token was revoked: ask for a new one")]
    Revoked,
    /// Its time is over.
    #[error("the token's time is over: ask for a new one")]
    Expired,
    /// A later version made it.
    #[error("the token has a role that this version does not know")]
    Unreadable,
}

impl Caller {
    /// Whom a token makes its holder at an instant, if its secret counts until then.
    pub fn of(row: &TokenRow, until: Instant, at: Instant) -> Result<Self, NotValid> {
        if row.revoked_at.is_some() {
            return Err(NotValid::Revoked);
        }
        if until <= at {
            return Err(NotValid::Expired);
        }
        let role = row.role.parse().map_err(|_| NotValid::Unreadable)?;
        let (id, name, tenant) = (row.id.clone(), row.name.clone(), row.tenant.clone());
        Ok(Self { id, name, role, tenant })
    }

    /// As logs and audits name it.
    pub fn author(&self) -> String {
        format!("{} ({})", self.name, self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tollgate_host::store::OlderSecret;

    use super::*;

    fn random() -> Random {
        let next = AtomicU64::new(1);
        Arc::new(move || u128::from(next.fetch_add(1, Ordering::Relaxed)) * 0x1_0000_0000_0000_0001)
    }

    fn row(token: &Token) -> TokenRow {
        TokenRow {
            id: token.id().to_owned(),
            digest: token.digest(),
            tenant: None,
            role: "ingest".into(),
            name: "orchestrator".into(),
            created_at: 0,
            created_by: "ana".into(),
            expires_at: Some(10),
            revoked_at: None,
            older: None,
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_shown_and_another_secret_proves_nothing() {
        let random = random();
        let (token, other) = (Token::draw(&random), Token::draw(&random));
        assert_eq!(Token::read(&token.reveal()), Some(token.clone()));
        assert_eq!(token.proves(&row(&token)), Some(10));
        let forged = Token { id: token.id.clone(), secret: other.secret };
        assert_eq!(forged.proves(&row(&token)), None);
        let shown = format!("{token:?}");
        assert!(!shown.contains(&token.secret), "{shown}");
        for text in ["", "tg_", "tg_00", &token.reveal()[1..], &format!("{}0", token.reveal())] {
            assert_eq!(Token::read(text), None, "{text}");
        }
        assert_eq!(Token::read(&token.reveal().to_uppercase()), None);
    }

    #[test]
    fn either_secret_of_a_rotated_token_counts_for_its_time() {
        let random = random();
        let old = Token::draw(&random);
        let new = Token::redraw(old.id(), &random);
        let older = OlderSecret { rotated_at: 3, digest: old.digest(), until: 5 };
        let kept = TokenRow { digest: new.digest(), older: Some(older), ..row(&old) };
        assert_eq!((old.id(), old.proves(&kept)), (new.id(), Some(5)));
        assert_eq!(new.proves(&kept), Some(10));
        assert_eq!(new.proves(&TokenRow { expires_at: None, ..kept.clone() }), Some(Instant::MAX));
        assert_eq!(Token::redraw(old.id(), &random).proves(&kept), None);
    }

    #[test]
    fn a_token_counts_until_it_expires_or_is_revoked() {
        let row = row(&Token::draw(&random()));
        assert_eq!(Caller::of(&row, 10, 9).unwrap().role, Role::Ingest);
        assert_eq!(Caller::of(&row, 10, 10), Err(NotValid::Expired));
        let revoked = TokenRow { revoked_at: Some(3), ..row.clone() };
        assert_eq!(Caller::of(&revoked, 10, 9), Err(NotValid::Revoked));
        let later = TokenRow { role: "emperor".into(), ..row };
        assert_eq!(Caller::of(&later, 10, 9), Err(NotValid::Unreadable));
    }
}
