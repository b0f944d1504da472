//! Signatures of Standard Webhooks, by which a receiver knows who sends, and when
//! (<https://www.standardwebhooks.com>).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use hyper::HeaderMap;
use hyper::header::InvalidHeaderValue;
use sha2::Sha256;

/// What a sender shares with one receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

const PREFIX: &str = "whsec_";

/// Not a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secret cannot be read: write `whsec_` and 24 to 64 random bytes in base64")]
pub struct BadSecret;

impl Secret {
    /// One of bytes that nobody can guess.
    #[must_use]
    pub fn new(random: [u8; 32]) -> Self {
        Self(random.to_vec())
    }

    /// As the receiver is told it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Of what is signed: who sends what, and when.
    pub(super) fn mac(&self, id: &str, timestamp: i64, body: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key");
        mac.chain_update(format!("{id}.{timestamp}.{body}"))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let mac = self.mac(id, timestamp, body).finalize().into_bytes();
        format!("v1,{}", STANDARD.encode(mac))
    }
}

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let key = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok());
        key.filter(|key| (24..=64).contains(&key.len())).map(Self).ok_or(BadSecret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The headers of a try; `now` is in ms since 1970.
pub fn headers(
    secret: Option<&Secret>,
    id: &str,
    now: i64,
    body: &str,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let timestamp = now.div_euclid(1_000);
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", id.try_into()?);
    headers.insert("webhook-timestamp", timestamp.into());
    if let Some(secret) = secret {
        headers.insert("webhook-signature", secret.sign(id, timestamp, body).try_into()?);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_come_to_the_same_signature() {
        // Of the standard's reference libraries: its tests in Rust, and those of the one that it grew from.
        for (secret, id, timestamp, body, signature) in [
            (
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                r#"{"email":"test@example.com","username":"test_user"}"#,
                "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
            ),
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ] {
            let (secret, now) = (secret.parse().unwrap(), timestamp * 1_000 + 999);
            let headers = headers(Some(&secret), id, now, body).unwrap();
            assert_eq!(headers["webhook-id"], id);
            assert_eq!(headers["webhook-timestamp"], timestamp.to_string().as_str());
            assert_eq!(headers["webhook-signature"], signature);
        }
    }

    #[test]
    fn a_secret_is_24_to_64_bytes() {
        for length in [24, 32, 64] {
            let secret = format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
            assert_eq!(secret.parse::<Secret>().unwrap().reveal(), secret);
        }
        for length in [0, 23, 65] {
            let secret = format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
            assert_eq!(secret.parse::<Secret>(), Err(BadSecret));
        }
        for text in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_MfKQ 9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            assert_eq!(text.parse::<Secret>(), Err(BadSecret), "{text}");
        }
        let drawn = Secret::new([7; 32]);
        assert_eq!(drawn.reveal().parse(), Ok(drawn.clone()));
        assert_eq!(format!("{drawn:?}"), "Secret(…)");
    }
}
