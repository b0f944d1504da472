//! What candidates said beside what was enforced: how often the same, how often not, with examples.
//! It is counted from the decisions themselves, so that it is of all hosts and of any time.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;
use tollgate_policy_core::Money;
use tollgate_policy_core::contract::Action;
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::Instant;

use super::flips::{Example, Flip, Flips, Hit};
use super::walk::Page;
use super::{Registry, RegistryError};
use crate::engine::{
    BindingMode, DecisionRecord, Fate, PolicyKey, Priced, ReviewRecord, Said, Setup, decisions,
    quotes, reviews,
};
use crate::sandbox::Fault;
use crate::store::{RegistryStore, Store, Tenant};

/// What a candidate can be compared in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Whether calls may go ahead.
    Quota,
    /// What they cost.
    Pricing,
    /// What people are told, and who is stopped.
    Alerting,
}

/// What a candidate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Which candidate.
    pub candidate: PolicyKey,
    /// How much its word counted last.
    pub mode: BindingMode,
    /// What it stood beside last; none: nothing, which allows all.
    pub beside: Option<PolicyKey>,
    /// In what they are compared.
    pub compared: Compared,
    /// How often it said the same.
    pub agreed: u64,
    /// How often it did not.
    pub diverged: u64,
    /// How often it failed: these are among what diverged.
    pub failed: u64,
    /// How it diverged.
    pub flips: Vec<Flip>,
    /// Users for whom it did most.
    pub users: Vec<Hit>,
    /// Agents for whom it did most.
    pub agents: Vec<Hit>,
}

#[derive(Default)]
struct Counted {
    seen: Option<(Instant, BindingMode, Option<PolicyKey>)>,
    agreed: u64,
    failed: u64,
    flips: Flips,
}

type Found = BTreeMap<(PolicyKey, Compared), Counted>;

impl<S: Store + RegistryStore> Registry<S> {
    /// What candidates said of tenants' calls in a stretch of time. `on` hears up to when it came.
    pub async fn evidence(
        &self,
        tenants: &[Tenant],
        period: Range<Instant>,
        on: impl Fn(&Tenant, Instant),
    ) -> Result<Vec<Evidence>, RegistryError> {
        let merge = |sum, more| merged(sum, more).map_err(RegistryError::from);
        let found = self.walk(tenants, period, look, merge, on).await?;
        let evidence = |((candidate, compared), counted): (_, Counted)| {
            let Counted { seen, agreed, failed, flips } = counted;
            let (_, mode, beside) = seen?;
            let diverged = flips.count();
            let (flips, users, agents) = flips.told();
            Some(Evidence {
                candidate,
                mode,
                beside,
                compared,
                agreed,
                diverged,
                failed,
                flips,
                users,
                agents,
            })
        };
        Ok(found.into_iter().filter_map(evidence).collect())
    }
}

/// What one of two said: for programs, and in words.
struct Word {
    code: String,
    words: String,
    failed: bool,
}

fn look(page: &Page) -> Result<Found, RegistryError> {
    let mut found = Found::new();
    for (batch, setup) in &page.batches {
        let Some(setup) = setup else { continue };
        if !setup.bindings.iter().any(|own| own.is_candidate()) {
            continue;
        }
        for decision in decisions(batch, setup).unwrap_or_default() {
            quota(&mut found, page, setup, &decision)?;
            pricing(&mut found, page, setup, &decision)?;
        }
        for review in reviews(batch).unwrap_or_default() {
            alerting(&mut found, page, setup, batch.key.at, review)?;
        }
    }
    Ok(found)
}

fn quota(
    found: &mut Found,
    page: &Page,
    setup: &Setup,
    decision: &DecisionRecord,
) -> Result<(), DecimalError> {
    for judged in &decision.judged {
        let Some(binding) = setup.bindings.get(judged.binding) else { continue };
        if !binding.is_candidate() {
            continue;
        }
        let beside = setup.beside(judged.binding);
        let other = decision.judged.iter().find(|own| Some(own.binding) == beside);
        let word = |outcome: &Result<_, Fault>| match outcome {
            Ok(verdict) => {
                let fate = Fate::said(verdict);
                Word { code: fate.code().into(), words: fate.words(), failed: false }
            }
            Err(fault) => failed(fault),
        };
        let before = other.map_or_else(allowed, |own| word(&own.outcome));
        let money = quotes(&decision.priced).cost.and_then(|quote| quote.total().ok());
        let about = decided(page, decision, before.words.clone());
        count(
            found,
            setup,
            judged.binding,
            Compared::Quota,
            (before, word(&judged.outcome)),
            money,
            about,
        )?;
    }
    Ok(())
}

fn pricing(
    found: &mut Found,
    page: &Page,
    setup: &Setup,
    decision: &DecisionRecord,
) -> Result<(), DecimalError> {
    for own in &decision.priced {
        if !setup.bindings.get(own.binding).is_some_and(|binding| binding.is_candidate()) {
            continue;
        }
        let beside = setup.beside(own.binding);
        // Where what counts has no price, nobody else was asked for one.
        let other = decision.priced.iter().find(|other| Some(other.binding) == beside);
        let Some(other) = other else { continue };
        let (before, after) = (cost(other), cost(own));
        let money = after.as_ref().ok().copied();
        let both = compared(before, after);
        let about = decided(page, decision, both.0.words.clone());
        count(found, setup, own.binding, Compared::Pricing, both, money, about)?;
    }
    Ok(())
}

/// What two say that a call costs, the second one as it is to the first.
fn compared(before: Result<Money, Word>, after: Result<Money, Word>) -> (Word, Word) {
    let word = |code: &str, money: Money| Word {
        code: code.into(),
        words: money.to_string(),
        failed: false,
    };
    match (before, after) {
        (Ok(before), Ok(after)) if before == after => (word("same", before), word("same", after)),
        (Ok(before), Ok(after)) => {
            let code = match before.amount < after.amount {
                _ if before.currency != after.currency => "other_currency",
                true => "dearer",
                false => "cheaper",
            };
            (word("priced", before), word(code, after))
        }
        (Ok(before), Err(after)) => (word("priced", before), after),
        (Err(before), Ok(after)) => (before, word("priced", after)),
        (Err(before), Err(after)) => (before, after),
    }
}

fn alerting(
    found: &mut Found,
    page: &Page,
    setup: &Setup,
    at: Instant,
    review: ReviewRecord,
) -> Result<(), DecimalError> {
    let ReviewRecord { dimensions, said } = review;
    for own in &said {
        if !setup.bindings.get(own.binding).is_some_and(|binding| binding.is_candidate()) {
            continue;
        }
        let beside = setup.beside(own.binding);
        let other = said.iter().find(|other| Some(other.binding) == beside);
        let nothing = Said { binding: own.binding, decides: true, said: Ok(Vec::new()) };
        let (before, after) = (other.unwrap_or(&nothing), own);
        let word = |said: &Said| match &said.said {
            Ok(actions) => {
                let kinds: Vec<String> = actions.iter().map(kind).collect();
                let code = if kinds.is_empty() { "nothing".into() } else { kinds.join(" ") };
                let words = format!("{actions:?}");
                Word { code, words, failed: false }
            }
            Err(fault) => failed(fault),
        };
        let (mut before_word, after_word) = (word(before), word(after));
        if before.said != after.said && before_word.code == after_word.code {
            // The same is done, in other words.
            before_word.code.push_str(" (otherwise)");
        }
        let example = Example {
            at,
            id: None,
            tenant: page.tenant.clone(),
            dimensions: dimensions.clone(),
            before: before_word.words.clone(),
            after: String::new(),
        };
        let both = (before_word, after_word);
        count(found, setup, own.binding, Compared::Alerting, both, None, example)?;
    }
    Ok(())
}

fn count(
    found: &mut Found,
    setup: &Setup,
    candidate: usize,
    compared: Compared,
    (before, after): (Word, Word),
    money: Option<Money>,
    about: Example,
) -> Result<(), DecimalError> {
    let Some(binding) = setup.bindings.get(candidate) else { return Ok(()) };
    let counted = found.entry((PolicyKey::of(binding), compared)).or_default();
    let beside = setup.beside(candidate).and_then(|place| setup.bindings.get(place));
    let beside = beside.map(PolicyKey::of);
    counted.see((about.at, binding.mode.clone(), beside));
    counted.failed += u64::from(after.failed);
    if before.code == after.code && !after.failed {
        counted.agreed += 1;
        return Ok(());
    }
    let about = Example { after: after.words, ..about };
    counted.flips.add(&before.code, &after.code, money, about)
}

impl Counted {
    /// The last, in whichever order they come.
    fn see(&mut self, seen: (Instant, BindingMode, Option<PolicyKey>)) {
        if self.seen.as_ref().is_none_or(|before| *before < seen) {
            self.seen = Some(seen);
        }
    }
}

fn merged(mut sum: Found, more: Found) -> Result<Found, DecimalError> {
    for (key, counted) in more {
        let own = sum.entry(key).or_default();
        own.agreed += counted.agreed;
        own.failed += counted.failed;
        counted.seen.into_iter().for_each(|seen| own.see(seen));
        own.flips.merge(counted.flips)?;
    }
    Ok(sum)
}

fn decided(page: &Page, decision: &DecisionRecord, before: String) -> Example {
    let DecisionRecord { id, at, call, .. } = decision;
    let (tenant, dimensions) = (page.tenant.clone(), call.dimensions.clone());
    Example { at: *at, id: Some(*id), tenant, dimensions, before, after: String::new() }
}

fn allowed() -> Word {
    Word { code: "allowed".into(), words: "allowed".into(), failed: false }
}

fn failed(fault: &Fault) -> Word {
    Word { code: fault.code().into(), words: fault.to_string(), failed: true }
}

fn cost(priced: &Priced) -> Result<Money, Word> {
    match &priced.outcome {
        Ok(Ok(quote)) => quote.total().map_err(|_| Word {
            code: "too_much".into(),
            words: "a sum that does not fit".into(),
            failed: true,
        }),
        Ok(Err(refusal)) => {
            Err(Word { code: refusal.code.clone(), words: refusal.message.clone(), failed: false })
        }
        Err(fault) => Err(failed(fault)),
    }
}

fn kind(action: &Action) -> String {
    match action {
        Action::Raise(notice) => format!("raise:{}", notice.severity),
        Action::Resolve(_) => "resolve".into(),
        Action::Disable(disablement) => format!("disable:{}", disablement.dimension),
        Action::Enable(dimension) => format!("enable:{dimension}"),
        Action::ProposeLimit { .. } => "propose_limit".into(),
    }
}
