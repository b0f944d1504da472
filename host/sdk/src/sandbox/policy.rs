//! A policy that is let in and configured, ready to be asked.

use std::sync::Arc;
use std::time::Duration;

use tollgate_policy_core::contract::{
    Action, Decision, Manifest, Notice, Observation, Quantity, Quote, Refusal, Request, Task,
    Usage, Verdict,
};
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
    TypedFunc,
};

use super::ability::{Ability, POLICY};
use super::admit::Admitted;
use super::fault::{Fault, first_line};
use super::guest::Guest;
use super::refusal::Refused;
use super::runtime::Runtime;
use super::wasi;
use super::wire::types as wire;

/// How long a call waits for a free instance.
const PERMIT_WAIT: Duration = Duration::from_millis(500);

/// A configured policy. Each call runs in a fresh instance that knows nothing of the ones
/// before it. Cheap to clone.
#[derive(Clone)]
pub struct Policy(Arc<Loaded>);

struct Loaded {
    runtime: Arc<Runtime>,
    instance_pre: InstancePre<Guest>,
    configure: ComponentExportIndex,
    abilities: [Option<ComponentExportIndex>; 4],
    admitted: Admitted,
    settings: String,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer itself.
    pub outcome: Result<T, Fault>,
    /// What it took, in fuel.
    pub fuel: u64,
    /// What the policy wrote to its log, if anything.
    pub log: String,
}

impl<T> Answer<T> {
    fn failed(fault: Fault) -> Self {
        Self { outcome: Err(fault), fuel: 0, log: String::new() }
    }

    fn and_then<U>(self, then: impl FnOnce(T) -> Result<U, String>) -> Answer<U> {
        let outcome = self
            .outcome
            .and_then(|value| then(value).map_err(|words| Fault::Malformed(first_line(&words))));
        Answer { outcome, fuel: self.fuel, log: self.log }
    }
}

impl Policy {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        component: &Component,
        admitted: Admitted,
        settings: String,
    ) -> Result<Self, Refused> {
        let instance_pre = runtime
            .link(component, admitted.imports_wasi())
            .map_err(|error| Refused::Host(format!("{error:#}")))?;
        let configure = export(component, POLICY, "configure")
            .ok_or_else(|| Refused::Host("`configure` is gone".into()))?;
        // Only what was compared with the contract may be called without comparing again.
        let abilities = Ability::ALL.map(|ability| {
            let (interface, function) = ability.export();
            let compared = admitted.abilities.contains(&ability);
            compared.then(|| export(component, interface, function)).flatten()
        });
        Ok(Self(Arc::new(Loaded {
            runtime,
            instance_pre,
            configure,
            abilities,
            admitted,
            settings,
        })))
    }

    /// What is known of it.
    #[must_use]
    pub fn admitted(&self) -> &Admitted {
        &self.0.admitted
    }

    /// What it asks the host for.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.admitted.manifest
    }

    /// What it was configured with, JSON.
    #[must_use]
    pub fn settings(&self) -> &str {
        &self.0.settings
    }

    /// Whether it can do this.
    #[must_use]
    pub fn can(&self, ability: Ability) -> bool {
        self.0.abilities[ability as usize].is_some()
    }

    /// May this call go ahead?
    #[must_use]
    pub fn check(&self, request: Request) -> Answer<Verdict> {
        let partial = request.partial;
        let at = request.at;
        self.call::<_, (wire::Verdict,)>(Ability::Quota, at, (wire::Request::from(request),))
            .and_then(|(verdict,)| self.verdict(verdict, partial))
    }

    /// What does this usage cost?
    #[must_use]
    pub fn price(&self, usage: Usage) -> Answer<Result<Quote, Refusal>> {
        type Priced = (Result<wire::Quote, wire::Refusal>,);
        let at = usage.at;
        self.call::<_, Priced>(Ability::Pricing, at, (wire::Usage::from(usage),))
            .and_then(|(priced,)| priced.map(sound).map_err(Refusal::from).transpose_quote())
    }

    /// What should people be told, and who should be stopped?
    #[must_use]
    pub fn review(&self, observation: Observation) -> Answer<Vec<Action>> {
        let at = observation.at;
        self.call::<_, (Vec<wire::Action>,)>(
            Ability::Alerting,
            at,
            (wire::Observation::from(observation),),
        )
        .and_then(|(actions,)| {
            let most = 4 * self.manifest().counters.len() + 64;
            if actions.len() > most {
                return Err(format!("{} actions: {most} at the most", actions.len()));
            }
            actions.into_iter().map(|action| self.action(action)).collect()
        })
    }

    /// What will this task need? The instant is only the clock of guests that have one.
    #[must_use]
    pub fn estimate(&self, at: i64, task: Task) -> Answer<Result<Vec<Quantity>, String>> {
        type Estimated = (Result<Vec<wire::Quantity>, String>,);
        self.call::<_, Estimated>(Ability::Estimation, at, (wire::Task::from(task),)).and_then(
            |(estimated,)| {
                estimated
                    .map(|list| {
                        list.into_iter().map(Quantity::try_from).collect::<Result<Vec<_>, _>>()
                    })
                    .map_or_else(|refused| Ok(Err(refused)), |list| list.map(Ok))
            },
        )
    }

    /// One instance for many calls, which the host never uses, since state would leak from one
    /// to the next: to measure what freshness costs.
    #[doc(hidden)]
    pub fn reused(&self) -> Result<Reused, Fault> {
        let (store, instance) = self.instantiate(0, &[])?;
        Ok(Reused { policy: self.clone(), store, instance })
    }

    fn call<P, R>(&self, ability: Ability, at: i64, parameters: P) -> Answer<R>
    where
        P: ComponentNamedList + Lower + std::fmt::Debug,
        R: ComponentNamedList + Lift + 'static,
    {
        let Some(index) = self.0.abilities[ability as usize] else {
            return Answer::failed(Fault::NotExported(ability.name().into()));
        };
        let Some(_permit) = self.0.runtime.permits.acquire(PERMIT_WAIT) else {
            return Answer::failed(Fault::Busy);
        };
        // Only guests with WASI see randomness, which follows from the whole input.
        let input = if self.0.admitted.imports_wasi() {
            format!("{parameters:?}").into_bytes()
        } else {
            Vec::new()
        };
        let (mut store, instance) = match self.instantiate(at, &input) {
            Ok(instantiated) => instantiated,
            Err(fault) => return Answer::failed(fault),
        };
        let outcome = invoke(&mut store, instance, index, parameters);
        let left = store.get_fuel().unwrap_or(0);
        let fuel = self.0.runtime.limits.call_fuel.saturating_sub(left);
        Answer { outcome, fuel, log: store.data_mut().take_log() }
    }

    fn instantiate(&self, at: i64, input: &[u8]) -> Result<(Store<Guest>, Instance), Fault> {
        let Loaded { runtime, instance_pre, configure, admitted, settings, .. } = &*self.0;
        let limits = &runtime.limits;
        let wasi = admitted.imports_wasi().then(|| wasi::frozen(limits, at, input));
        let fuel = if admitted.frozen { limits.call_fuel } else { limits.configure_fuel };
        let mut store = Guest::store(&runtime.engine, limits, fuel, wasi);
        let instance = instance_pre
            .instantiate(&mut store)
            .map_err(|error| Fault::of_instantiation(&error, store.data()))?;
        if !admitted.frozen {
            let (configured,) = invoke::<_, (Result<wire::Manifest, String>,)>(
                &mut store,
                instance,
                *configure,
                (settings.as_str(),),
            )?;
            configured.map_err(|words| Fault::Settings(first_line(&words)))?;
            store.set_fuel(limits.call_fuel).map_err(|error| Fault::Host(format!("{error:#}")))?;
        }
        Ok((store, instance))
    }

    /// A verdict speaks of the policy's own counters, and grants only what was open to it.
    fn verdict(&self, verdict: wire::Verdict, partial: bool) -> Result<Verdict, String> {
        let verdict = Verdict::try_from(verdict)?;
        for counter in verdict.findings.iter().filter_map(|finding| finding.counter) {
            self.known(counter)?;
        }
        if let Decision::Grant(granted) = &verdict.decision {
            if !partial {
                return Err("a grant where the request is not partial".into());
            }
            if let Some(quantity) = granted.iter().find(|quantity| quantity.amount.is_negative()) {
                return Err(format!("a grant of {} `{}`", quantity.amount, quantity.meter));
            }
        }
        Ok(verdict)
    }

    fn action(&self, action: wire::Action) -> Result<Action, String> {
        let action = Action::try_from(action)?;
        match &action {
            Action::Raise(notice) => {
                notice.counter.map_or(Ok(()), |counter| self.known(counter))?;
                fit(notice)?;
            }
            Action::ProposeLimit { counter, .. } => self.known(*counter)?,
            Action::Resolve(_) | Action::Disable(_) | Action::Enable(_) => {}
        }
        Ok(action)
    }

    fn known(&self, counter: u32) -> Result<(), String> {
        let count = self.manifest().counters.len();
        match usize::try_from(counter) {
            Ok(index) if index < count => Ok(()),
            _ => Err(format!("counter {counter} of {count}")),
        }
    }
}

/// The longest key of a notice, in bytes.
const KEY_MAX: usize = 1_000;

/// A notice that can be kept and sorted. Its texts are made to fit, since they may hold anybody's name.
fn fit(notice: &Notice) -> Result<(), String> {
    if !matches!(notice.severity.as_str(), "info" | "warning" | "critical") {
        return Err("a severity that is none of `info`, `warning` and `critical`".into());
    }
    if notice.key.is_empty() || notice.key.len() > KEY_MAX {
        return Err(format!("a key of {} bytes: write 1 to {KEY_MAX}", notice.key.len()));
    }
    Ok(())
}

/// A quote that comes to something.
fn sound(quote: wire::Quote) -> Result<Quote, String> {
    let quote = Quote::try_from(quote)?;
    let total =
        quote.total().map_err(|error| format!("a quote whose sum does not fit: {error}"))?;
    match total.amount.is_negative() {
        true => Err(format!("a quote of {}, which lies below zero", total.amount)),
        false => Ok(quote),
    }
}

trait TransposeQuote {
    fn transpose_quote(self) -> Result<Result<Quote, Refusal>, String>;
}

impl TransposeQuote for Result<Result<Quote, String>, Refusal> {
    fn transpose_quote(self) -> Result<Result<Quote, Refusal>, String> {
        match self {
            Ok(quote) => quote.map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }
}

fn invoke<P, R>(
    store: &mut Store<Guest>,
    instance: Instance,
    index: ComponentExportIndex,
    parameters: P,
) -> Result<R, Fault>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + 'static,
{
    let function = instance
        .get_func(&mut *store, index)
        .ok_or_else(|| Fault::Host("an export is gone".into()))?;
    // SAFETY: the types were compared when the component was let in, by loading every export
    // with its type; comparing them in each call would cost more than the call.
    #[allow(unsafe_code)]
    let function = unsafe { TypedFunc::<P, R>::new_unchecked(function) };
    function.call(&mut *store, parameters).map_err(|error| Fault::of_call(&error, store.data()))
}

fn export(component: &Component, interface: &str, function: &str) -> Option<ComponentExportIndex> {
    let interface = component.get_export_index(None, interface)?;
    component.get_export_index(Some(&interface), function)
}

/// See [`Policy::reused`].
#[doc(hidden)]
pub struct Reused {
    policy: Policy,
    store: Store<Guest>,
    instance: Instance,
}

impl Reused {
    #[doc(hidden)]
    pub fn check(&mut self, request: Request) -> Result<Verdict, Fault> {
        let Loaded { runtime, abilities, .. } = &*self.policy.0;
        let index = abilities[Ability::Quota as usize]
            .ok_or_else(|| Fault::NotExported(Ability::Quota.name().into()))?;
        self.store
            .set_fuel(runtime.limits.call_fuel)
            .map_err(|error| Fault::Host(format!("{error:#}")))?;
        self.store.set_epoch_deadline(1_000);
        let partial = request.partial;
        let (verdict,) = invoke::<_, (wire::Verdict,)>(
            &mut self.store,
            self.instance,
            index,
            (wire::Request::from(request),),
        )?;
        self.policy.verdict(verdict, partial).map_err(Fault::Malformed)
    }
}
