//! Recorded decisions are judged again: by the same revisions, which shows that nothing differs, or
//! with another one among them, which shows whom it would hit. Each decision is judged on its own
//! past, as it was recorded: what a call that is now denied would have left to others is not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use tollgate_policy_core::contract::Counter;
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::Instant;

use super::flips::{Example, Flip, Flips, Hit, Sums};
use super::walk::Page;
use super::{Registry, RegistryError};
use crate::engine::{Candidate, DecisionRecord, Fate, Rejudged, Setup, Unjudged, decisions};
use crate::store::{RegistryStore, Store, Tenant};

/// What came of judging again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Judged again.
    pub decisions: u64,
    /// Came out otherwise.
    pub differences: u64,
    /// How.
    pub flips: Vec<Flip>,
    /// What calls cost that were allowed and would be denied; their price where they have no cost.
    pub newly_denied: Sums,
    /// What calls cost that were denied and would be allowed.
    pub newly_allowed: Sums,
    /// What calls cost that were allowed and still would be: as they were priced.
    pub cost_before: Sums,
    /// And as they would be.
    pub cost_after: Sums,
    /// The same by what tenants charge.
    pub price_before: Sums,
    /// And as it would be.
    pub price_after: Sums,
    /// Users for whom most comes out otherwise.
    pub users: Vec<Hit>,
    /// Agents for whom most comes out otherwise.
    pub agents: Vec<Hit>,
    /// Not judged again: no policy was asked, since something was disabled or had no price.
    pub unasked: u64,
    /// Not judged again: the host cut a policy short.
    pub forced: u64,
    /// Not judged again: a counter's total was fed to nobody then, by counter. A candidate in shadow
    /// is fed it.
    pub unrecorded: BTreeMap<String, u64>,
    /// What the candidate reads and nobody was fed then.
    pub unfed: BTreeSet<String>,
    /// Batches that a later version wrote, or that were judged with components that are kept nowhere.
    pub unreadable: u64,
}

#[derive(Default)]
struct Found {
    report: ReplayReport,
    flips: Flips,
}

impl<S: Store + RegistryStore> Registry<S> {
    /// Judges what was decided for tenants in a stretch of time again: with a candidate, or by the
    /// same policies. `on` hears up to when it came.
    pub async fn replay(
        &self,
        tenants: &[Tenant],
        period: Range<Instant>,
        candidate: Option<Arc<Candidate>>,
        on: impl Fn(&Tenant, Instant),
    ) -> Result<ReplayReport, RegistryError> {
        let look = move |page: &Page| look(page, candidate.as_deref());
        let merge = |sum: Found, more| sum.merged(more).map_err(RegistryError::from);
        let Found { mut report, flips } = self.walk(tenants, period, look, merge, on).await?;
        report.differences = flips.count();
        (report.flips, report.users, report.agents) = flips.told();
        Ok(report)
    }
}

fn look(page: &Page, candidate: Option<&Candidate>) -> Result<Found, RegistryError> {
    let mut found = Found::default();
    for (batch, setup) in &page.batches {
        let decided = setup.as_ref().and_then(|setup| decisions(batch, setup));
        let (Some(setup), Some(decided)) = (setup, decided) else {
            found.report.unreadable += 1;
            continue;
        };
        let unfed = candidate.map(|candidate| candidate.unfed(setup)).unwrap_or_default();
        found.report.unfed.extend(unfed.into_iter().map(String::from));
        for decision in decided {
            match candidate {
                None => found.judge_again(&page.tenant, setup, &decision)?,
                Some(candidate) => {
                    found.judge_with(&page.tenant, setup, candidate, &decision)?;
                }
            }
        }
    }
    Ok(found)
}

impl Found {
    fn judge_again(
        &mut self,
        tenant: &Tenant,
        setup: &Setup,
        decision: &DecisionRecord,
    ) -> Result<(), DecimalError> {
        self.report.decisions += 1;
        let others = decision.judge_again(setup);
        if others.is_empty() && decision.follows(setup) {
            return Ok(());
        }
        let names = others.iter().filter_map(|place| setup.bindings.get(*place));
        let names: Vec<&str> = names.map(|own| own.name.as_str()).collect();
        let by = match names.is_empty() {
            true => "it does not follow from what was said".into(),
            false => format!("said otherwise by `{}`", names.join("`, `")),
        };
        let before = decision.denial.clone().map_or(Fate::Allowed, Fate::Denied);
        let example = example(tenant, decision, before.words(), by);
        self.flips.add(before.code(), "otherwise", None, example)
    }

    fn judge_with(
        &mut self,
        tenant: &Tenant,
        setup: &Setup,
        candidate: &Candidate,
        decision: &DecisionRecord,
    ) -> Result<(), DecimalError> {
        let report = &mut self.report;
        let judged = match decision.judge_with(setup, candidate) {
            Ok(judged) => judged,
            Err(Unjudged::Unasked) => {
                report.unasked += 1;
                return Ok(());
            }
            Err(Unjudged::Forced) => {
                report.forced += 1;
                return Ok(());
            }
            Err(Unjudged::Unrecorded(counter)) => {
                *report.unrecorded.entry(name(&counter)).or_default() += 1;
                return Ok(());
            }
        };
        report.decisions += 1;
        let Rejudged { before, after, charged_before: was, charged_after: would } = judged;
        let add = |sums: &mut Sums, money: Option<_>| money.map_or(Ok(()), |own| sums.add(own));
        match (before.is_denied(), after.is_denied()) {
            (false, true) => add(&mut report.newly_denied, was.cost.or(was.price))?,
            (true, false) => add(&mut report.newly_allowed, would.cost.or(would.price))?,
            (false, false) => {
                add(&mut report.cost_before, was.cost)?;
                add(&mut report.cost_after, would.cost)?;
                add(&mut report.price_before, was.price)?;
                add(&mut report.price_after, would.price)?;
            }
            (true, true) => {}
        }
        if before.code() == after.code() {
            return Ok(());
        }
        let example = example(tenant, decision, before.words(), after.words());
        self.flips.add(
            before.code(),
            after.code(),
            would.cost.or(was.cost).or(would.price),
            example,
        )
    }

    fn merged(mut self, other: Self) -> Result<Self, DecimalError> {
        let Self { report, flips } = other;
        let own = &mut self.report;
        own.decisions += report.decisions;
        own.unasked += report.unasked;
        own.forced += report.forced;
        own.unreadable += report.unreadable;
        own.unfed.extend(report.unfed);
        for (counter, count) in report.unrecorded {
            *own.unrecorded.entry(counter).or_default() += count;
        }
        own.newly_denied.merge(report.newly_denied)?;
        own.newly_allowed.merge(report.newly_allowed)?;
        own.cost_before.merge(report.cost_before)?;
        own.cost_after.merge(report.cost_after)?;
        own.price_before.merge(report.price_before)?;
        own.price_after.merge(report.price_after)?;
        self.flips.merge(flips)?;
        Ok(self)
    }
}

fn example(tenant: &Tenant, decision: &DecisionRecord, before: String, after: String) -> Example {
    let DecisionRecord { id, at, call, .. } = decision;
    let (tenant, dimensions) = (tenant.clone(), call.dimensions.clone());
    Example { at: *at, id: Some(*id), tenant, dimensions, before, after }
}

/// `llm_tokens over calendar:month for each user`
fn name(counter: &Counter) -> String {
    let Counter { meter, window, per, .. } = counter;
    match per.is_empty() {
        true => format!("{meter} over {window}"),
        false => format!("{meter} over {window} for each {}", per.join(", ")),
    }
}
