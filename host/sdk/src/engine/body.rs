//! What the engine keeps in the store's bodies: compact, each with the version of its form before
//! it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::Money;
use tollgate_policy_core::contract::{Dimension, Quote};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Call;
use super::amounts::Amounts;
use super::origin::Origin;
use super::part::{KeptParts, Part};
use super::tally::Tally;
use super::tariff::ByTariff;
use crate::store::instant_of;

/// The form of all bodies below.
pub const FORM: u8 = 1;

pub fn write(body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(FORM);
    // Of our own types, which it can hold.
    postcard::to_extend(body, bytes).unwrap_or_default()
}

/// Of one more thing, after what is written.
pub fn append(bytes: &mut Vec<u8>, body: &impl Serialize) {
    *bytes = postcard::to_extend(body, std::mem::take(bytes)).unwrap_or_default();
}

/// None where it is of a form that a later engine writes.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    read_with::<T, ()>(bytes).map(|(body, ())| body)
}

/// With what stands after it; nothing, where an earlier engine wrote it.
pub fn read_with<T: DeserializeOwned, U: DeserializeOwned + Default>(
    bytes: &[u8],
) -> Option<(T, U)> {
    let (form, body) = bytes.split_first()?;
    let (body, more) = (*form == FORM).then(|| postcard::take_from_bytes(body).ok()).flatten()?;
    Some((body, postcard::from_bytes(more).unwrap_or_default()))
}

/// Of an open reservation: what it takes to end it. Why it was allowed stands in its decision, and by
/// whom after this. A batch writes many, from what it has borrowed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldBody<C = Call, Q = Quote> {
    pub call: C,
    /// What it holds, where that does not follow from the call and the instant at which it began.
    pub parts: Option<KeptParts>,
    /// What is held against the ledger's accounts.
    pub charges: ByTariff<Money>,
    /// What its estimate costs, kept where it is charged once its time is over.
    pub quotes: ByTariff<Q>,
    /// Of a run: how long it lives without a sign of life, in ms.
    pub run_ttl_ms: Option<i64>,
}

impl HoldBody {
    /// What it holds, among the slots of a tally.
    pub fn parts(&self, id: Uuid, tally: &mut Tally) -> Vec<Part> {
        let Some(parts) = &self.parts else {
            let places = tally.places(&self.call.dimensions);
            let asked = Amounts::with(&self.call.quantities, &self.charges).unwrap_or_default();
            // It was held once, so that it fits, and its instant lies within the calendar.
            return tally.parts(instant_of(id), &places, &asked).unwrap_or_default();
        };
        parts.placed(tally)
    }
}

/// Of a reservation whose time was over: for the settlement that may still come. By whom it was
/// allowed stands after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExpiredBody {
    pub call: Call,
    /// What was held for it, by meter.
    pub held: Amounts,
    /// What was charged when its time was over.
    pub charged: Option<Charged>,
}

/// A usage that was booked because nobody told what was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Charged {
    pub usage: Uuid,
    pub used_at: Instant,
    pub used: KeptUsage,
}

/// Of a usage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptUsage {
    pub dimensions: Vec<Dimension>,
    /// With what it cost among it.
    pub used: Amounts,
    pub charged: ByTariff<Money>,
    /// What did not land in the stretches that hold its instant.
    pub elsewhere: KeptParts,
    /// The usage that this one undoes.
    pub voids: Option<Uuid>,
}

/// Of an entry of the ledger; its origin stands after it, where it has one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryBody {
    /// By which it was priced.
    pub quote: Option<Quote>,
    /// In words, where a person booked it, or it tells what was put right.
    pub reason: String,
}

impl EntryBody {
    pub fn written(&self, origin: &Origin) -> Vec<u8> {
        let mut bytes = write(self);
        if origin.is_known() {
            append(&mut bytes, origin);
        }
        bytes
    }
}

/// Of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunBody {
    pub dimensions: Vec<Dimension>,
}

/// What a request asks for, so that a key serves one request only.
pub fn hash(request: &impl Serialize) -> [u8; 32] {
    Sha256::digest(write(request)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Older engines read what newer ones write, and newer ones what older ones wrote.
    #[test]
    fn what_stands_after_a_body_is_read_where_it_is() {
        let bare = write(&7_u32);
        let mut more = bare.clone();
        append(&mut more, &"more".to_owned());
        assert_eq!(read_with(&bare), Some((7_u32, String::new())));
        assert_eq!(read_with(&more), Some((7_u32, "more".to_owned())));
        assert_eq!(read::<u32>(&more), Some(7));
    }

    #[test]
    fn a_body_of_a_later_form_is_left_alone() {
        let mut body = write(&7_u32);
        assert_eq!(read::<u32>(&body), Some(7));
        body[0] += 1;
        assert_eq!(read::<u32>(&body), None);
        assert_eq!(read::<u32>(&[]), None);
    }
}
