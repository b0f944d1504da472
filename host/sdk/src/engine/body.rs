//! What the engine keeps in the store's bodies: compact, each with the version of its form before
//! it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::contract::{Denial, Dimension, Fact, Quote, Reading, Refusal, Verdict};
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Money};
use uuid::Uuid;

use super::amounts::Amounts;
use super::part::KeptParts;
use super::{Call, Setup};
use crate::sandbox::Fault;

/// The form of all bodies below.
const FORM: u8 = 1;

pub fn write(body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(FORM);
    // Of our own types, which it can hold.
    postcard::to_extend(body, bytes).unwrap_or_default()
}

/// None where it is of a form that a later engine writes.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (form, body) = bytes.split_first()?;
    (*form == FORM).then(|| postcard::from_bytes(body).ok()).flatten()
}

/// Of an open reservation: what it takes to end it. Why it was allowed stands in its decision. A
/// batch writes many, from what it has borrowed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HoldBody<C = Call, Q = Quote> {
    pub call: C,
    pub parts: KeptParts,
    /// What is held against the ledger's account.
    pub cost: Option<Money>,
    /// What its estimate costs, kept where it is charged once its time is over.
    pub quote: Option<Q>,
    /// Of a run: how long it lives without a sign of life, in ms.
    pub run_ttl_ms: Option<i64>,
}

/// Of a reservation whose time was over: for the settlement that may still come.
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
    pub cost: Option<Money>,
    /// What did not land in the stretches that hold its instant.
    pub elsewhere: KeptParts,
    /// The usage that this one undoes.
    pub voids: Option<Uuid>,
}

/// Of an entry of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryBody {
    /// By which it was priced.
    pub quote: Option<Quote>,
    /// In words, where a person booked it.
    pub reason: String,
}

/// Of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunBody {
    pub dimensions: Vec<Dimension>,
}

/// Of a batch: with what it was judged, by its name among the tenant's records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BatchBody {
    pub context: String,
}

/// Of a decision: all that it takes to judge it again.
#[derive(Debug, Serialize)]
pub struct DecisionBody<'a> {
    pub asked: Asked,
    pub call: &'a Call,
    pub partial: bool,
    pub priced: Option<PricedBody<'a>>,
    pub judged: Vec<JudgedBody<'a>>,
    /// Why not, where that was not a policy's word alone.
    pub denial: Option<&'a Denial>,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// A reservation, or a run.
    Reserve,
    /// More for this reservation.
    Extend(Uuid),
}

/// What a pricing policy was fed beside the call, and what it said.
#[derive(Debug, Serialize)]
pub struct PricedBody<'a> {
    /// Its place among the bindings of the batch.
    pub binding: usize,
    pub at: Instant,
    pub facts: &'a [Fact],
    pub outcome: &'a Result<Result<Quote, Refusal>, Fault>,
    pub fuel: u64,
}

/// What a quota policy was fed beside the call, and what it said.
#[derive(Debug, Serialize)]
pub struct JudgedBody<'a> {
    /// Its place among the bindings of the batch.
    pub binding: usize,
    pub readings: Vec<ReadingBody>,
    pub facts: &'a [Fact],
    pub outcome: &'a Result<Verdict, Fault>,
    pub fuel: u64,
}

/// A reading, as what it differs by from the same counter's reading in the batch's decision before;
/// what is asked follows from the call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReadingBody {
    used: i128,
    held: i128,
    limit: Option<Decimal>,
    opened: Instant,
    closes: Option<Instant>,
}

impl ReadingBody {
    pub fn of(reading: &Reading, before: Option<&Reading>) -> Self {
        let zero = Reading::default();
        let before = before.unwrap_or(&zero);
        let closed = before.closes.unwrap_or_default();
        Self {
            used: reading.used.units().wrapping_sub(before.used.units()),
            held: reading.held.units().wrapping_sub(before.held.units()),
            limit: reading.limit,
            opened: reading.opened.wrapping_sub(before.opened),
            closes: reading.closes.map(|closes| closes.wrapping_sub(closed)),
        }
    }

    /// The reading itself; none where it was never one.
    #[cfg(test)]
    fn reading(&self, asked: Decimal, before: Option<&Reading>) -> Option<Reading> {
        let zero = Reading::default();
        let before = before.unwrap_or(&zero);
        let closed = before.closes.unwrap_or_default();
        Some(Reading {
            used: Decimal::from_units(before.used.units().wrapping_add(self.used)).ok()?,
            held: Decimal::from_units(before.held.units().wrapping_add(self.held)).ok()?,
            asked,
            limit: self.limit,
            opened: before.opened.wrapping_add(self.opened),
            closes: self.closes.map(|closes| closes.wrapping_add(closed)),
        })
    }
}

/// With what a tenant is judged: its name, which is its digest, and itself in JSON.
pub fn context(setup: &Setup) -> (String, Vec<u8>) {
    let policies: Vec<_> = setup
        .bindings
        .iter()
        .map(|binding| {
            serde_json::json!({
                "name": binding.name,
                "component": binding.policy.admitted().digest,
                "settings": serde_json::from_str::<serde_json::Value>(binding.policy.settings())
                    .unwrap_or_default(),
            })
        })
        .collect();
    let context = serde_json::json!({
        "policies": policies,
        "time_zone": setup.calendar.zone.name(),
        "first_day_of_week": setup.calendar.first_day_of_week,
        "catalog": setup.catalog.as_ref().map(|catalog| &catalog.name),
    });
    let body = serde_json::to_vec(&context).unwrap_or_default();
    let digest = Sha256::digest(&body);
    let name = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    (name, body)
}

/// What a request asks for, so that a key serves one request only.
pub fn hash(request: &impl Serialize) -> [u8; 32] {
    Sha256::digest(write(request)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_told_from_what_they_differ_by() {
        let reading = |used: u32, closes| Reading {
            used: used.into(),
            held: 5.into(),
            asked: 7.into(),
            limit: Some(9.into()),
            opened: -4,
            closes,
        };
        let all = [reading(3, Some(8)), reading(0, None), reading(12, Some(i64::MAX))];
        let mut before = None;
        for reading in &all {
            let kept = write(&ReadingBody::of(reading, before));
            let kept: ReadingBody = read(&kept).unwrap();
            assert_eq!(kept.reading(7.into(), before), Some(*reading));
            before = Some(reading);
        }
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
