//! What a batch says of its decisions: each with all that it takes to judge it again, one after
//! another. They are alike, so that they are packed.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Denial, Fact, Quote, Reading, Refusal, Verdict};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Call;
use super::body;
use super::judge::Judgement;
use crate::sandbox::Fault;

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
            let (binding, facts, fuel) = (own.binding, own.facts.as_slice(), own.fuel);
            bodies.push(JudgedBody { binding, readings, facts, outcome: &own.outcome, fuel });
            self.fed.entry(own.binding).or_default().clone_from(&own.readings);
        }
        let priced = priced.as_ref().map(|priced| PricedBody {
            binding: priced.binding,
            at: priced.at,
            facts: &priced.facts,
            outcome: &priced.outcome,
            fuel: priced.fuel,
        });
        let denial = outcome.as_ref().err();
        let body = DecisionBody { asked, call, partial, priced, judged: bodies, denial };
        body::append(&mut self.bytes, &body);
    }

    /// As they are kept.
    pub fn pack(&self) -> Vec<u8> {
        let mut packed = vec![PACKED];
        packed.extend(lz4_flex::compress_prepend_size(&self.bytes));
        packed
    }
}

/// Of a decision: all that it takes to judge it again.
#[derive(Debug, Serialize)]
struct DecisionBody<'a> {
    asked: Asked,
    call: &'a Call,
    partial: bool,
    priced: Option<PricedBody<'a>>,
    judged: Vec<JudgedBody<'a>>,
    /// Why not, where that was not a policy's word alone.
    denial: Option<&'a Denial>,
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
struct PricedBody<'a> {
    /// Its place among the bindings of the batch.
    binding: usize,
    at: Instant,
    facts: &'a [Fact],
    outcome: &'a Result<Result<Quote, Refusal>, Fault>,
    fuel: u64,
}

/// What a quota policy was fed beside the call, and what it said.
#[derive(Debug, Serialize)]
struct JudgedBody<'a> {
    /// Its place among the bindings of the batch.
    binding: usize,
    readings: Vec<ReadingBody>,
    facts: &'a [Fact],
    outcome: &'a Result<Verdict, Fault>,
    fuel: u64,
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
