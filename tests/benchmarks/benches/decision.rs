//! One quota decision, side by side: in a fresh sandbox, on a reused instance, as a native call,
//! and the same rule in Rego and in Cedar. Each is handed its input in the form it likes best.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::process::ExitCode;
use std::str::FromStr;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request as CedarRequest};
use criterion::{BenchmarkId, Criterion, criterion_group};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings, worker_main};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Decision, Reading, Request};
use tollgate_policy_core::quota::QuotaPolicy;

const COUNTERS: [usize; 3] = [3, 12, 24];

/// So many calls share a reused instance before it is made anew, as its memory is bounded.
const CALLS_PER_INSTANCE: u32 = 1_000;

const REGO: &str = r#"
package tollgate
import rego.v1

total(r) := (r.used + r.held) + r.asked

status(r) := "exceeded" if total(r) > r.limit
status(r) := "at_limit" if { total(r) <= r.limit; total(r) >= r.limit * 0.95 }
status(r) := "approaching_limit" if { total(r) < r.limit * 0.95; total(r) >= r.limit * 0.8 }
status(r) := "within_limit" if total(r) < r.limit * 0.8

findings := [finding |
    some i, r in input.readings
    finding := {"counter": i, "status": status(r), "limit": r.limit, "remaining": (r.limit - r.used) - r.held}
]

verdict := {"allow": count([f | some f in findings; f.status == "exceeded"]) == 0, "findings": findings}
"#;

fn settings(counters: usize) -> String {
    let meters = ["llm_requests", "llm_tokens", "cost.usd"];
    let periods = ["minute", "hour", "day", "month"];
    let pers = [r#"[]"#, r#"["user"]"#];
    let limits: Vec<String> = (0..counters)
        .map(|index| {
            let (meter, period, per) =
                (meters[index % 3], periods[index / 3 % 4], pers[index / 12 % 2]);
            format!(
                r#"{{"meter":"{meter}","period":"{period}","per":{per},"limit":"{}"}}"#,
                limit(index)
            )
        })
        .collect();
    format!(r#"{{"limits":[{}]}}"#, limits.join(","))
}

fn limit(index: usize) -> u32 {
    1_000 * (1 + u32::try_from(index).unwrap())
}

fn request(counters: usize) -> Request {
    let readings = (0..counters)
        .map(|index| Reading {
            used: Decimal::from_str(&format!("{}.125", limit(index) / 3)).unwrap(),
            held: Decimal::from_str("12.5").unwrap(),
            asked: Decimal::from_str("1.000001").unwrap(),
            limit: None,
            opened: 1_761_955_200_000,
            closes: Some(1_764_547_200_000),
        })
        .collect();
    Request { at: 1_762_000_000_000, readings, ..Request::default() }
}

fn rego_input(request: &Request) -> regorus::Value {
    let readings: Vec<String> = request
        .readings
        .iter()
        .enumerate()
        .map(|(index, reading)| {
            let Reading { used, held, asked, .. } = reading;
            format!(r#"{{"used":{used},"held":{held},"asked":{asked},"limit":{}}}"#, limit(index))
        })
        .collect();
    regorus::Value::from_json_str(&format!(r#"{{"readings":[{}]}}"#, readings.join(","))).unwrap()
}

/// Cedar has no loops and no decimals beyond four digits: a policy a counter, in millionths.
fn cedar_policies(counters: usize) -> PolicySet {
    let forbid = |index| {
        format!(
            "forbid(principal, action, resource) when {{ context.used{index} + context.held{index} + context.asked{index} > {} }};",
            u64::from(limit(index)) * 1_000_000
        )
    };
    let policies: String = (0..counters).map(forbid).collect();
    PolicySet::from_str(&format!("permit(principal, action, resource);{policies}")).unwrap()
}

fn cedar_request(request: &Request) -> CedarRequest {
    let millionths = |amount: Decimal| i64::try_from(amount.units() / 1_000_000).unwrap();
    let pairs = request.readings.iter().enumerate().flat_map(|(index, reading)| {
        [("used", reading.used), ("held", reading.held), ("asked", reading.asked)].map(
            |(name, amount)| {
                let value = cedar_policy::RestrictedExpression::new_long(millionths(amount));
                (format!("{name}{index}"), value)
            },
        )
    });
    let entity = |name: &str| EntityUid::from_str(name).unwrap();
    CedarRequest::new(
        entity(r#"User::"ana""#),
        entity(r#"Action::"call""#),
        entity(r#"Model::"gpt-4o""#),
        Context::from_pairs(pairs).unwrap(),
        None,
    )
    .unwrap()
}

fn decision(criterion: &mut Criterion) {
    let sandbox = Sandbox::new(Settings {
        limits: Limits::default(),
        instances: Instances::Pooled(4),
        compiler: Compiler::Child {
            program: std::env::current_exe().unwrap(),
            arguments: vec![WORKER.into()],
        },
        cache: None,
    })
    .unwrap();
    let quota = tollgate_plugins::standard("quota").unwrap();
    let mut group = criterion.benchmark_group("decision");
    for counters in COUNTERS {
        let request = request(counters);
        let policy = sandbox.load(quota, &settings(counters)).unwrap();
        group.bench_function(BenchmarkId::new("fresh", counters), |bencher| {
            bencher.iter(|| policy.check(black_box(request.clone())).outcome.unwrap());
        });

        let mut reused = policy.reused().unwrap();
        let mut calls = 0;
        group.bench_function(BenchmarkId::new("reused", counters), |bencher| {
            bencher.iter(|| {
                calls += 1;
                if calls % CALLS_PER_INSTANCE == 0 {
                    reused = policy.reused().unwrap();
                }
                reused.check(black_box(request.clone())).unwrap()
            });
        });

        let native = QuotaPolicy::configure(&settings(counters)).unwrap();
        assert_eq!(native.check(&request).decision, Decision::Allow);
        assert_eq!(native.check(&request), policy.check(request.clone()).outcome.unwrap());
        group.bench_function(BenchmarkId::new("native", counters), |bencher| {
            bencher.iter(|| native.check(black_box(&request)));
        });

        let mut rego = regorus::Engine::new();
        rego.add_policy("tollgate.rego".into(), REGO.into()).unwrap();
        let input = rego_input(&request);
        group.bench_function(BenchmarkId::new("regorus", counters), |bencher| {
            bencher.iter(|| {
                rego.set_input(black_box(input.clone()));
                rego.eval_rule("data.tollgate.verdict".into()).unwrap()
            });
        });
        rego.set_input(input.clone());
        let verdict = rego.eval_rule("data.tollgate.verdict".into()).unwrap();
        assert_eq!(verdict["allow"], regorus::Value::from(true));

        let policies = cedar_policies(counters);
        let (authorizer, entities) = (Authorizer::new(), Entities::empty());
        let input = cedar_request(&request);
        group.bench_function(BenchmarkId::new("cedar", counters), |bencher| {
            bencher.iter(|| authorizer.is_authorized(black_box(&input), &policies, &entities));
        });
        let answer = authorizer.is_authorized(&input, &policies, &entities);
        assert_eq!(answer.decision(), cedar_policy::Decision::Allow);
    }
    group.finish();
}

criterion_group!(benches, decision);

/// Compiles in a child as a host does, whose memory a compiler would leave in disorder.
const WORKER: &str = "compile-worker";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return worker_main();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    ExitCode::SUCCESS
}
