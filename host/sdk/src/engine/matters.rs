//! What the host itself has people told: when, and once for what, is its own; the words are those of the
//! tenant's alerting policies.

use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Action, Dimension, Notice, Observation};
use tollgate_policy_core::matter::Matter;

use super::Call;
use super::drift::{Drift, Invoiced};
use super::feed::Feed;
use super::judge::Judge;
use super::limit::LimitKey;
use super::notices::NoticeBody;
use super::quarantine::PolicyKey;
use crate::sandbox::{Ability, Fault};

/// A policy failed so often that it is asked no longer.
pub fn quarantined(policy: &PolicyKey, fault: &Fault) -> Matter {
    let PolicyKey { policy, revision, .. } = policy.clone();
    Matter::Quarantined { policy, revision, code: fault.code().into() }
}

/// A limit was set to what a policy proposed.
pub fn limited(policy: &str, key: &LimitKey, before: Option<Decimal>, limit: Decimal) -> Matter {
    let LimitKey { meter, window, dimensions } = key;
    let whose = dimensions.iter().map(|own| format!("{} `{}`", own.name, own.value));
    Matter::LimitChanged {
        policy: policy.into(),
        meter: meter.to_string(),
        window: window.to_string(),
        whose: whose.collect::<Vec<String>>().join(", "),
        before,
        limit,
    }
}

/// A provider invoiced something else than was computed.
pub fn drifted(Drift { invoiced, computed, .. }: &Drift) -> Matter {
    let Invoiced { provider, model, day, money } = invoiced.clone();
    let day = day.to_string();
    Matter::ProviderDrift { provider, model, day, invoiced: money, computed: *computed }
}

impl Judge {
    /// The notice of it, as the first alerting policy words it that reads of it; one that fails, or
    /// has nothing to say, keeps nobody from being told.
    pub fn word(&self, key: String, matter: &Matter, dimensions: Vec<Dimension>) -> NoticeBody {
        let said = self.able(Ability::Alerting).into_iter().find_map(|index| {
            let asked = !self.is_out(index) && self.setup.decides(index, &dimensions);
            asked.then(|| self.worded(index, matter, &dimensions)).flatten()
        });
        let standard = || {
            let (title, body) = matter.say_standard(self.setup.language);
            let severity = matter.severity().into();
            NoticeBody { severity, title, body, ..NoticeBody::default() }
        };
        NoticeBody { key, dimensions, ..said.unwrap_or_else(standard) }
    }

    fn worded(
        &self,
        index: usize,
        matter: &Matter,
        dimensions: &[Dimension],
    ) -> Option<NoticeBody> {
        let binding = &self.setup.bindings[index];
        let feed = Feed::new(&binding.policy.manifest().reads);
        let matters = feed.reads(&matter.facts());
        if matters.is_empty() {
            return None;
        }
        let call = Call { dimensions: dimensions.to_vec(), ..Call::default() };
        let answer = binding.policy.review(Observation {
            at: self.now,
            now: self.now,
            occasion: matter.occasion().into(),
            dimensions: feed.dimensions(dimensions),
            readings: Vec::new(),
            facts: feed.facts(&self.setup, self.known(), &call, self.now, &matters),
        });
        self.spend(answer.fuel);
        answer.outcome.ok()?.into_iter().find_map(|action| match action {
            Action::Raise(notice) => {
                let Notice { severity, title, body, facts, .. } = notice;
                let policy = binding.told_as();
                let told =
                    NoticeBody { policy, severity, title, body, facts, ..NoticeBody::default() };
                Some(told.bounded())
            }
            _ => None,
        })
    }
}
