//! Who vouches for a component: Ed25519 signatures over `sha256:` and its digest in hexadecimal. Whose
//! keys count, and whether a signature is required, each owner binds for itself.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::pkcs8::DecodePublicKey;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signing {
    /// Whether a component without a signature is refused.
    pub required: bool,
    /// Whose signatures count.
    pub keys: Vec<Key>,
}

/// A key, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// The key itself.
    pub public: PublicKey,
}

/// A public key: in PEM, or 32 bytes in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

/// Not a public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no Ed25519 public key: write it in PEM, or its 32 bytes in hexadecimal")]
pub struct NotAKey;

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        if text.starts_with("-----BEGIN") {
            return VerifyingKey::from_public_key_pem(text).map(Self).map_err(|_| NotAKey);
        }
        let mut bytes = [0; 32];
        let digits = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAKey);
        }
        for (byte, digits) in bytes.iter_mut().zip(digits) {
            let digits = str::from_utf8(digits).map_err(|_| NotAKey)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NotAKey)?;
        }
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| NotAKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// Why a component is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// Nobody signed it.
    #[error("it has no signature, and one is required: sign it, and hand the signature in")]
    Unsigned,
    /// It is of no key, of another component, or damaged.
    #[error(
        "its signature is of none of the keys, or of another component: sign `sha256:` and its digest"
    )]
    Wrong,
}

impl Signing {
    /// Who signed a component of this digest; none: nobody did, and nobody has to.
    pub fn signer(
        &self,
        digest: &str,
        signature: Option<&[u8]>,
    ) -> Result<Option<&str>, NotVouched> {
        let Some(signature) = signature else {
            return if self.required { Err(NotVouched::Unsigned) } else { Ok(None) };
        };
        let signature = Signature::from_slice(signature).map_err(|_| NotVouched::Wrong)?;
        let signed = format!("sha256:{digest}");
        let is_its = |key: &&Key| key.public.0.verify_strict(signed.as_bytes(), &signature).is_ok();
        let key = self.keys.iter().find(is_its).ok_or(NotVouched::Wrong)?;
        Ok(Some(&key.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of RFC 8032, test 1: the key, and its signature of nothing.
    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn keys_are_read_in_hexadecimal_and_in_pem() {
        let key: PublicKey = KEY.parse().unwrap();
        assert_eq!(key.to_string(), KEY);
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        assert_eq!(pem.parse(), Ok(key));
        for text in
            ["", "d75a", &KEY[1..], &format!("+{}", &KEY[1..]), "-----BEGIN PUBLIC KEY-----"]
        {
            assert_eq!(text.parse::<PublicKey>(), Err(NotAKey), "{text}");
        }
    }

    #[test]
    fn a_signature_is_asked_for_where_it_is_required() {
        let open = Signing::default();
        assert_eq!(open.signer("ab", None), Ok(None));
        assert_eq!(open.signer("ab", Some(&[7; 64])), Err(NotVouched::Wrong));
        assert_eq!(open.signer("ab", Some(b"short")), Err(NotVouched::Wrong));
        let required = Signing { required: true, ..open };
        assert_eq!(required.signer("ab", None), Err(NotVouched::Unsigned));
    }
}
