//! What a batch says of its decisions: each with all that it takes to judge it again, one after
//! another. They are alike, so that they are packed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Action, Denial, Dimension, Fact, Reading, Verdict};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::amounts::Amounts;
use super::body;
use super::erasure::Erasure;
use super::judge::{Judged, Judgement};
use super::price::{Priced, quotes};
use super::{Call, Setup};
use crate::sandbox::Fault;
use crate::store::BatchRow;

/// The form in which they are packed.
const PACKED: u8 = 1;

/// The decisions of a batch, as they are taken.
#[derive(Debug)]
pub struct Decided {
    bytes: Vec<u8>,
    /// The last readings that each policy was fed, by its place among the bindings.
    fed: HashMap<usize, Vec<Reading>>,
}

impl Decided {
    /// None yet; judged with what stands under this name among the tenant's records.
    pub fn new(context: &str) -> Self {
        Self { bytes: body::write(&context), fed: HashMap::new() }
    }

    /// One more.
    pub fn push(&mut self, asked: Asked, judgement: &Judgement, partial: bool) {
        let Judgement { outcome, call, priced, judged } = judgement;
        let mut bodies = Vec::with_capacity(judged.len());
        for own in judged {
            let before = self.fed.get(&own.binding).map_or(&[][..], Vec::as_slice);
            let reading =
                |(index, reading): (usize, &Reading)| ReadingBody::of(reading, before.get(index));
            let readings = own.readings.iter().enumerate().map(reading).collect();
            let Judged { binding, facts, fuel, decides, outcome, .. } = own;
            let (binding, fuel, decides) = (*binding, *fuel, *decides);
            bodies.push(JudgedBody { binding, readings, facts, outcome, fuel, decides });
            self.fed.entry(own.binding).or_default().clone_from(&own.readings);
        }
        let (call, denial) = (&**call, outcome.as_ref().err());
        let erased = false;
        let body = DecisionBody { asked, call, partial, priced, judged: bodies, denial, erased };
        body::append(&mut self.bytes, &Kept::Decision(body));
    }

    /// What alerting policies said of something, where one of them is a candidate.
    pub fn review(&mut self, review: ReviewRecord) {
        body::append(&mut self.bytes, &Kept::<DecisionBody>::Review(review));
    }

    /// As they are kept.
    pub fn pack(&self) -> Vec<u8> {
        let mut packed = vec![PACKED];
        packed.extend(lz4_flex::compress_prepend_size(&self.bytes));
        packed
    }
}

/// One thing of a batch.
#[derive(Debug, Serialize, Deserialize)]
enum Kept<D = DecisionBody> {
    Decision(D),
    Review(ReviewRecord),
}

impl Kept {
    /// Who and what it is about.
    fn dimensions(&mut self) -> &mut Vec<Dimension> {
        match self {
            Self::Decision(body) => &mut body.call.dimensions,
            Self::Review(review) => &mut review.dimensions,
        }
    }
}

/// What alerting policies said of a settlement or a denial, where one of them is a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewRecord {
    /// Who and what it was about.
    pub dimensions: Vec<Dimension>,
    /// Of the candidate, and of what it stands beside.
    pub said: Vec<Said>,
}

/// What an alerting policy said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Its place among the bindings of the batch.
    pub binding: usize,
    /// Whether it was done.
    pub decides: bool,
    /// What was to be done.
    pub said: Result<Vec<Action>, Fault>,
}

/// Of a decision: all that it takes to judge it again; written from what is borrowed.
#[derive(Debug, Serialize, Deserialize)]
struct DecisionBody<C = Call, P = Vec<Priced>, J = JudgedBody, D = Denial> {
    asked: Asked,
    call: C,
    partial: bool,
    priced: P,
    judged: Vec<J>,
    /// Why not, where that was not a policy's word alone.
    denial: Option<D>,
    /// Whether a value in it gave way to a pseudonym.
    erased: bool,
}

/// What a quota policy was fed beside the call, and what it said.
#[derive(Debug, Serialize, Deserialize)]
struct JudgedBody<F = Vec<Fact>, O = Result<Verdict, Fault>> {
    /// Its place among the bindings of the batch.
    binding: usize,
    readings: Vec<ReadingBody>,
    facts: F,
    outcome: O,
    fuel: u64,
    decides: bool,
}

/// A decision as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRecord {
    /// The reservation's, or one of its own.
    pub id: Uuid,
    /// When it was taken.
    pub at: Instant,
    /// What was asked for.
    pub asked: Asked,
    /// The call, or what was granted of it.
    pub call: Call,
    /// Whether less would do.
    pub partial: bool,
    /// What the pricing policies were fed beside the call, and what they said.
    pub priced: Vec<Priced>,
    /// What the quota policies were fed and said.
    pub judged: Vec<Judged>,
    /// Why not, if not.
    pub denial: Option<Denial>,
    /// Whether a value in it gave way to a pseudonym: the same is said to that, but what it takes to
    /// say so may differ.
    pub erased: bool,
}

/// The name of what a batch was judged with, among the tenant's records.
#[must_use]
pub fn context_of(batch: &BatchRow) -> Option<String> {
    Some(postcard::take_from_bytes(&unpack(&batch.body)?).ok()?.0)
}

/// What was decided in a batch. The setup must be the one that it was judged with. None where it
/// was written by a later engine.
#[must_use]
pub fn decisions(batch: &BatchRow, setup: &Setup) -> Option<Vec<DecisionRecord>> {
    let bytes = unpack(&batch.body)?;
    let (_, kept) = read(&bytes)?;
    let (mut allowed, mut denied) = (batch.allowed.iter(), batch.denied.iter());
    let mut fed: HashMap<usize, Vec<Reading>> = HashMap::new();
    let mut decisions = Vec::new();
    for kept in kept {
        let Kept::Decision(body) = kept else { continue };
        let DecisionBody { asked, call, partial, priced, judged, denial, erased } = body;
        let asks = Amounts::of_call(&call.quantities, quotes(&priced)).ok()?;
        let judged = judged.into_iter().map(|own| {
            let JudgedBody { binding, readings: bodies, facts, outcome, fuel, decides } = own;
            let counters = &setup.bindings.get(binding)?.policy.manifest().counters;
            let before = fed.entry(binding).or_default();
            let readings =
                bodies.iter().zip(counters).enumerate().map(|(index, (body, counter))| {
                    body.reading(asks.of(counter.meter.as_str()), before.get(index))
                });
            let readings = readings.collect::<Option<Vec<Reading>>>()?;
            before.clone_from(&readings);
            Some(Judged { binding, readings, facts, outcome, fuel, decides })
        });
        let judged = judged.collect::<Option<Vec<Judged>>>()?;
        let id = *if denial.is_none() { allowed.next() } else { denied.next() }?;
        let at = batch.key.at;
        decisions.push(DecisionRecord {
            id,
            at,
            asked,
            call,
            partial,
            priced,
            judged,
            denial,
            erased,
        });
    }
    Some(decisions)
}

/// What alerting policies said in a batch, where one of them was a candidate. None where it was
/// written by a later engine.
#[must_use]
pub fn reviews(batch: &BatchRow) -> Option<Vec<ReviewRecord>> {
    let (_, kept) = read(&unpack(&batch.body)?)?;
    let review = |kept: Kept| match kept {
        Kept::Review(review) => Some(review),
        Kept::Decision(_) => None,
    };
    Some(kept.into_iter().filter_map(review).collect())
}

/// The name of what a batch was judged with, and what it keeps.
fn read(bytes: &[u8]) -> Option<(String, Vec<Kept>)> {
    let (context, mut rest) = postcard::take_from_bytes(bytes).ok()?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (kept, after) = postcard::take_from_bytes(rest).ok()?;
        rest = after;
        all.push(kept);
    }
    Some((context, all))
}

/// The same batch with a value erased; no body: nothing in it names it. None where a later engine
/// wrote it.
pub fn erase(packed: &[u8], erasure: &Erasure) -> Option<Option<Vec<u8>>> {
    let bytes = unpack(packed)?;
    let (context, all) = read(&bytes)?;
    let mut decided = Decided::new(&context);
    let mut named = false;
    for mut kept in all {
        let names = erasure.dimensions(kept.dimensions());
        named |= names;
        match &mut kept {
            _ if !names => {}
            Kept::Decision(body) => {
                body.priced.iter_mut().for_each(|priced| erasure.priced(priced));
                for JudgedBody { facts, outcome, .. } in &mut body.judged {
                    erasure.judged(facts, outcome);
                }
                body.denial.iter_mut().for_each(|denial| erasure.denial(denial));
                body.erased = true;
            }
            Kept::Review(review) => {
                for own in &mut review.said {
                    match &mut own.said {
                        Ok(actions) => actions.iter_mut().for_each(|own| erasure.action(own)),
                        Err(fault) => erasure.fault(fault),
                    }
                }
            }
        }
        body::append(&mut decided.bytes, &kept);
    }
    Some(named.then(|| decided.pack()))
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (form, packed) = packed.split_first()?;
    let bytes = lz4_flex::decompress_size_prepended(packed).ok()?;
    let (inner, bytes) = bytes.split_first()?;
    ((*form, *inner) == (PACKED, body::FORM)).then(|| bytes.to_vec())
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// A reservation, or a run.
    Reserve,
    /// More for this reservation.
    Extend(Uuid),
}

/// A reading, as what it differs by from the same counter's reading in the batch's decision before;
/// what is asked follows from the call.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ReadingBody {
    used: i128,
    held: i128,
    limit: Option<Decimal>,
    opened: Instant,
    closes: Option<Instant>,
}

impl ReadingBody {
    fn of(reading: &Reading, before: Option<&Reading>) -> Self {
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
            let kept = body::write(&ReadingBody::of(reading, before));
            let kept: ReadingBody = body::read(&kept).unwrap();
            assert_eq!(kept.reading(7.into(), before), Some(*reading));
            before = Some(reading);
        }
    }
}
