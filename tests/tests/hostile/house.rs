//! Sandboxes that hostile policies share with a healthy one.

use std::sync::OnceLock;

use tollgate_host::sandbox::{
    Answer, Compiler, Fault, Instances, Limits, Policy, Refused, Sandbox, Settings,
};
use tollgate_policy_core::contract::{Decision, Dimension, Reading, Request, Verdict};

use crate::guest::{Guest, later};

/// A sandbox and the healthy policy in it: the standard `quota`.
pub struct House {
    sandbox: Sandbox,
    neighbour: Policy,
}

impl House {
    /// The one with the limits of every host.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<House> = OnceLock::new();
        SHARED.get_or_init(|| Self::open(settings(Limits::default(), Instances::Pooled(8))))
    }

    /// One with the same limits and without a pool.
    pub fn unpooled() -> &'static Self {
        static UNPOOLED: OnceLock<House> = OnceLock::new();
        UNPOOLED.get_or_init(|| Self::with(Limits::default()))
    }

    /// One with limits of its own.
    pub fn with(limits: Limits) -> Self {
        Self::open(settings(limits, Instances::OnDemand))
    }

    /// One set up in its own way.
    pub fn open(settings: Settings) -> Self {
        let sandbox = Sandbox::new(settings).expect("the sandbox");
        let neighbour = sandbox.load(standard(), NEIGHBOUR).expect("the standard policy");
        Self { sandbox, neighbour }
    }

    /// Lets a policy in.
    pub fn policy(&self, guest: &Guest) -> Policy {
        self.sandbox.load(&guest.component(), "{}").expect("a policy that is let in")
    }

    /// Lets a component in, or says what it is refused for; the neighbour is well after it.
    pub fn load(&self, component: &[u8]) -> Result<Policy, Refused> {
        let loaded = self.sandbox.load(component, "{}");
        self.assert_neighbour_is_well();
        loaded
    }

    /// What a component is refused for, in words that are short and do not speak to a terminal.
    pub fn refused(&self, component: &[u8]) -> Refused {
        match self.load(component) {
            Ok(policy) => panic!("let in: {:?}", policy.admitted()),
            Err(refused) => {
                assert_is_fit_to_print(&refused.to_string());
                refused
            }
        }
    }

    /// The fault of a policy's next call.
    pub fn fault(&self, policy: &Policy) -> Fault {
        let answer = policy.check(call());
        self.assert_neighbour_is_well();
        answer.outcome.expect_err("a fault")
    }

    /// The fault of a guest that misbehaves in `check`: the same in the trial call of admission
    /// and, where it waits until it is let in, in service.
    pub fn fault_of(&self, check: &str, guest: Guest) -> Fault {
        let refused = self.refused(&Guest { check, ..guest }.component());
        let Refused::Trial { ability, fault } = refused else {
            panic!("refused otherwise: {refused}");
        };
        assert_eq!(ability, "quota");
        let sleeper = self.policy(&Guest { check: &later(check), ..guest });
        assert_eq!(self.fault(&sleeper), fault);
        fault
    }

    /// The healthy policy answers, and rightly.
    pub fn assert_neighbour_is_well(&self) {
        let readings = vec![Reading { asked: 7.into(), ..Reading::default() }];
        let verdict = self.neighbour.check(Request { readings, ..call() }).outcome;
        let decision = verdict.expect("the neighbour's verdict").decision;
        assert!(matches!(decision, Decision::Deny(_)), "7 of 5: {decision:?}");
    }
}

/// What a policy brings into the host's words may neither flood a log nor steer a terminal.
pub fn assert_is_fit_to_print(words: &str) {
    assert!(!words.contains(char::is_control), "{words:?}");
    assert!(words.len() < 1_000, "{} bytes", words.len());
}

/// The standard quota policy.
pub fn standard() -> &'static [u8] {
    tollgate_plugins::standard("quota").expect("the standard policy")
}

/// The neighbour's settings.
pub const NEIGHBOUR: &str = r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":"5"}]}"#;

/// A sandbox that compiles in this process and keeps nothing.
pub fn settings(limits: Limits, instances: Instances) -> Settings {
    Settings { limits, instances, compiler: Compiler::InProcess, cache: None }
}

/// A sandbox without a neighbour.
pub fn sandbox(limits: Limits) -> Sandbox {
    Sandbox::new(settings(limits, Instances::OnDemand)).expect("the sandbox")
}

/// A call in service.
pub fn call() -> Request {
    Request { at: 1, readings: vec![Reading::default()], ..Request::default() }
}

/// A call with a dimension of so many bytes.
pub fn wordy_call(bytes: usize) -> Request {
    let dimension = Dimension { name: "user".into(), value: "a".repeat(bytes) };
    Request { dimensions: vec![dimension], ..call() }
}

/// A healthy guest's verdict on [`call`].
pub fn is_healthy(answer: &Answer<Verdict>) -> bool {
    matches!(&answer.outcome, Ok(verdict) if verdict.decision == Decision::Allow && verdict.findings.len() == 1)
}
