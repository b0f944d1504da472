//! The whole flow of a few days: calls of the sample trace are priced, limited and watched, agents are
//! warned about, stopped and come back, and a monitor looks by the hour. What people are told was
//! worked out by hand.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use chrono::{DateTime, NaiveDateTime, SecondsFormat};
use tollgate_host::engine::{
    Binding, Call, Host, Mode, NoticeRecord, Operation, Outcome, Setup, monitor, next_look, notices,
};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{Clock, Durability, SqliteStore, Tenant};
use tollgate_tests::run;

const TRACE: &str = include_str!("../data/sample_trace.csv");

/// Under the limits of the demo, in the seed's language.
const GOLDEN: &str = include_str!("../data/demo_notices.txt");

/// What the demo binds.
const POLICIES: [(&str, &str); 3] = [
    ("pricing", r#"{"prices":"seed"}"#),
    (
        "quota",
        r#"{"language":"pt","limits":[
            {"meter":"cost.usd","period":"month","per":"agent","limit":9},
            {"meter":"llm_tokens","period":"day","per":"user","limit":1000000},
            {"meter":"llm_requests","period":"hour","limit":300},
            {"meter":"cost.usd","period":"total","limit":52}]}"#,
    ),
    (
        "alerts",
        r#"{"language":"pt","cost_limits":
            {"enabled":true,"monthly_limit":9,"auto_disable":true,"alert_threshold":80}}"#,
    ),
];

/// Some days after the trace has ended.
const UNTIL: &str = "2025-11-06 00:00:00";

fn instant(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").expect("a time");
    time.and_utc().timestamp_millis()
}

/// A call of the trace: its columns are the dimensions of the seed, and its tokens.
fn call(columns: &[&str]) -> Call {
    let [_, input, output, model, provider, user, agent, session, key] = columns else {
        panic!("{columns:?}")
    };
    let (input, output): (u32, u32) =
        (input.parse().expect("a count"), output.parse().expect("a count"));
    let dimensions = [
        ("model", *model),
        ("provider", *provider),
        ("user", *user),
        ("agent", *agent),
        ("session", *session),
        ("api_key_type", *key),
    ];
    Call::of(dimensions)
        .asking("llm_requests", 1)
        .and_then(|call| call.asking("llm_tokens.input", input))
        .and_then(|call| call.asking("llm_tokens.output", output))
        .and_then(|call| call.asking("llm_tokens", input + output))
        .expect("meters")
}

/// A simulated week: its clock stands where calls and hours put it.
struct Week {
    now: Arc<AtomicI64>,
    host: Host,
    store: Arc<SqliteStore>,
    setup: Arc<Setup>,
    looked_at: i64,
}

impl Week {
    /// Up to an instant: the monitor looks whenever an hour is full.
    async fn pass(&mut self, until: i64) {
        loop {
            let next = next_look(&self.setup, self.looked_at);
            if next > until {
                break;
            }
            self.now.store(next, Ordering::Relaxed);
            let looked = monitor(&self.host, &*self.store, &tenant(), self.looked_at).await;
            looked.expect("it looks");
            self.looked_at = next;
        }
        self.now.store(until, Ordering::Relaxed);
    }

    async fn ask(&self, operation: Operation) -> Outcome {
        self.host.ask(&tenant(), None, operation).await.expect("an answer")
    }
}

fn tenant() -> Tenant {
    "acme".parse().expect("a name")
}

fn told(records: &[NoticeRecord]) -> String {
    let mut text = String::new();
    for NoticeRecord { at, notice, .. } in records {
        let at = DateTime::from_timestamp_millis(*at).expect("a time");
        let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let between = if text.is_empty() { "" } else { "========\n" };
        writeln!(text, "{between}{at} {}\n{}", notice.severity, notice.body).expect("text");
    }
    text
}

#[test]
fn people_hear_what_was_worked_out_by_hand_and_nothing_else() {
    run(async {
        let rows: Vec<Vec<&str>> =
            TRACE.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let begins = instant(rows[0][0]);
        let now = Arc::new(AtomicI64::new(begins));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ledger.db");
        let store = SqliteStore::open(&path, Durability::Waived, Arc::clone(&clock)).await;
        let store = Arc::new(store.expect("a store"));
        let cache = Some(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        let (limits, instances) = (Limits::default(), Instances::Pooled(8));
        let settings = Settings { limits, instances, compiler: Compiler::InProcess, cache };
        let sandbox = Sandbox::new(settings).expect("a sandbox");
        let binding = |(name, settings): (&str, &str)| {
            let component = tollgate_plugins::standard(name).expect("a standard component");
            Binding::new(name, sandbox.load(component, settings).expect("let in"))
        };
        let bindings = POLICIES.map(binding).to_vec();
        let setup = Arc::new(Setup { bindings, ..Setup::default() });
        let drawn = AtomicU64::new(1);
        let random = Arc::new(move || {
            let drawn = u128::from(drawn.fetch_add(1, Ordering::Relaxed));
            drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        });
        let host = Host::builder(Arc::clone(&store), clock, random)
            .tenant(tenant(), Arc::clone(&setup))
            .shards(1)
            .start()
            .await
            .expect("a host");
        let mut week = Week { now, host, store, setup, looked_at: begins };
        for row in &rows {
            week.pass(instant(row[0])).await;
            let call = call(row);
            let used = call.quantities.clone();
            let reserve = Operation::Reserve { call, ttl_ms: 60_000, mode: Mode::All };
            match week.ask(reserve).await {
                Outcome::Reserved(reserved) => {
                    week.ask(Operation::Settle { id: reserved.id, used }).await;
                }
                Outcome::Denied(_) => {}
                other => panic!("{other:?}"),
            }
        }
        week.pass(instant(UNTIL)).await;
        let mut records = notices(&*week.store, &tenant(), None, false, 1_000).await.expect("read");
        records.reverse();
        assert_eq!(told(&records), GOLDEN);
        // What was told of October is over since November. Who spends nothing more is at a slower pace by
        // the hour: 0.9540544 in 77 of 720 hours does not reach 9 any more.
        let slower = instant("2025-11-04 05:00:00");
        let november = instant("2025-11-01 00:00:00");
        for NoticeRecord { at, notice, over_at, .. } in &records {
            let key = notice.key.as_str();
            let over = match key {
                _ if *at < november => Some(november),
                "spend_forecast" if notice.body.contains("Suporte") => Some(slower),
                _ => None,
            };
            assert_eq!(*over_at, over, "{key} of {at}");
        }
    });
}
