//! What a receiver of webhooks does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac;
use hyper::HeaderMap;

use super::Secret;

/// How far a sender's clock may be from a receiver's, in seconds.
const TOLERANCE: u64 = 5 * 60;

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// A header is missing, or makes no sense.
    #[error("the header `{0}` cannot be read")]
    Header(&'static str),
    /// It was sent at another time, and perhaps by somebody who overheard it.
    #[error("it was sent more than 5 minutes ago, or ahead of time")]
    Time,
    /// No signature fits.
    #[error("it is not signed by who shares the secret")]
    Signature,
}

/// Whether a webhook is from who shares the secret; `now` is in ms since 1970.
pub fn verify(
    secret: &Secret,
    headers: &HeaderMap,
    body: &str,
    now: i64,
) -> Result<(), NotVerified> {
    let header = |name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.ok_or(NotVerified::Header(name))
    };
    let (id, signatures) = (header("webhook-id")?, header("webhook-signature")?);
    let timestamp = header("webhook-timestamp")?.parse::<i64>();
    let timestamp = timestamp.map_err(|_| NotVerified::Header("webhook-timestamp"))?;
    if timestamp.abs_diff(now.div_euclid(1_000)) > TOLERANCE {
        return Err(NotVerified::Time);
    }
    let mac = secret.mac(id, timestamp, body);
    let mut signatures = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let fits =
        |one: &str| STANDARD.decode(one).is_ok_and(|one| mac.clone().verify_slice(&one).is_ok());
    signatures.any(fits).then_some(()).ok_or(NotVerified::Signature)
}
