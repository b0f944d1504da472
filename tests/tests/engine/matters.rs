//! What the host itself has people told, and in whose words.

use std::sync::Arc;

use chrono_tz::Tz;
use tollgate_host::engine::{
    Binding, Bounds, Host, Invoiced, Layer, NoticeRecord, Operation, Report, Setup, drift,
};
use tollgate_host::store::Store;
use tollgate_policy_core::Money;
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Window;

use crate::guest::{CONTRACT, Guest, encode, later};
use crate::house::{House, acme, ask, binding, call, reserve, sandbox};
use crate::notices::{all, kinds, look, set_clock};

const DAY_MS: i64 = 86_400_000;

/// Calls of a provider's models cost so many dollars, told as they are used.
async fn costs(host: &Host, model: &str, provider: &str, dollars: u32) {
    let call = call(&[("model", model), ("provider", provider)], &[("cost.usd", dollars)]);
    let reports = vec![Report { call, used_at: None }];
    ask(host, Operation::Record { reports }).await.expect("booked");
}

fn invoice(model: Option<&str>, day: &str, money: &str) -> Invoiced {
    let (currency, amount) = money.split_once(' ').expect("a currency and an amount");
    Invoiced {
        provider: "openai".into(),
        model: model.map(Into::into),
        day: day.parse().expect("a day"),
        money: Money::new(amount.parse().expect("a number"), currency.parse().expect("a code")),
    }
}

/// Whether it drifts by more than 5 %, and from what.
async fn compared<S: Store>(house: &House<S>, host: &Host, invoice: &Invoiced) -> (String, bool) {
    let threshold = "0.05".parse().expect("a number");
    let drift = drift(host, &*house.store, &acme(), invoice, threshold).await.expect("compared");
    (drift.computed.to_string(), drift.exceeds)
}

/// A provider's invoice is told once for its day, is over when the figures meet, and again the same
/// notice where they part anew; long after the day has ended.
pub async fn an_invoice_that_drifts_is_told_once_for_its_day<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-03 12:00", Tz::UTC);
    let setup = Setup { language: Language::Portuguese, ..Setup::default() };
    let setup = Arc::new(setup);
    let host = house.host(&setup).await;
    costs(&host, "gpt-4o", "openai", 60).await;
    costs(&host, "o3", "openai", 40).await;
    costs(&host, "gpt-4o", "azure", 7).await;
    set_clock(house, "2025-11-04 00:00", Tz::UTC);
    costs(&host, "gpt-4o", "openai", 1_000).await;
    set_clock(house, "2025-11-20 09:00", Tz::UTC);

    // 5 % of 100 lie between 95 and 100, and no more.
    for (model, money, wanted) in [
        (None, "USD 100", ("$ 100.00", false)),
        (None, "USD 105.263157894736", ("$ 100.00", false)),
        (None, "USD 105.263157894737", ("$ 100.00", true)),
        (None, "USD 95.238095238096", ("$ 100.00", false)),
        (None, "USD 95.238095238095", ("$ 100.00", true)),
        (None, "USD 0", ("$ 100.00", true)),
        (Some("gpt-4o"), "USD 60", ("$ 60.00", false)),
        // Nothing was computed in reais.
        (None, "BRL 5", ("R$ 0.00", true)),
        (None, "BRL 0", ("R$ 0.00", false)),
    ] {
        let seen = compared(house, &host, &invoice(model, "2025-11-03", money)).await;
        assert_eq!((seen.0.as_str(), seen.1), wanted, "{model:?} {money}");
    }
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told), ["provider_drift:openai:*:2025-11-03"]);
    assert_eq!(told[0].over_at, Some(house.at()));
    assert_eq!(told[0].notice.severity, "warning");

    // Four hosts at once, of one that is new; what is of one instant is in any order.
    house.advance(1);
    let drifts = invoice(Some("gpt-4o"), "2025-11-03", "USD 90");
    let mut hosts = vec![host];
    for _ in 0..3 {
        hosts.push(house.host(&setup).await);
    }
    let seen = hosts.iter().cycle().take(16).map(|host| compared(house, host, &drifts));
    assert!(futures_util::future::join_all(seen).await.iter().all(|(_, exceeds)| *exceeds));
    let key = "provider_drift:openai:gpt-4o:2025-11-03";
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told)[1..], [key]);
    let first = &told[1];
    assert_eq!(first.notice.title, "O provedor `openai` faturou $ 90.00, e o calculado é $ 60.00");
    assert!(first.notice.body.contains("faturou $ 90.00 pelo modelo `gpt-4o` em 2025-11-03 (UTC)"));
    assert_eq!(first.over_at, None);

    // The day has ended, and a look ends nothing of it.
    look(house, &hosts[0], house.at()).await;
    assert_eq!(all(&*house.store).await[1].over_at, None);
    let meets = invoice(Some("gpt-4o"), "2025-11-03", "USD 61");
    assert!(!compared(house, &hosts[1], &meets).await.1);
    assert_eq!(all(&*house.store).await[1].over_at, Some(house.at()));
    house.advance(60_000);
    assert!(compared(house, &hosts[2], &drifts).await.1);
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told)[1..], [key]);
    assert_eq!((told[1].id, told[1].over_at), (first.id, None));
}

/// What cannot be told once is not compared.
pub async fn an_invoice_that_makes_no_sense_is_refused<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 09:00", Tz::UTC);
    let host = house.host(&Arc::default()).await;
    let five = "0.05".parse().expect("a number");
    let nameless = Invoiced { provider: String::new(), ..invoice(None, "2025-11-03", "USD 1") };
    let below = "-0.05".parse().expect("a number");
    for (invoice, threshold, words) in [
        (invoice(None, "2025-11-21", "USD 1"), five, "has not begun"),
        (invoice(None, "2025-10-05", "USD 1"), five, "is over for more than 45 days"),
        (invoice(None, "2025-11-03", "USD -1"), five, "is below zero"),
        (invoice(None, "2025-11-03", "USD 1"), below, "is not a fraction"),
        (invoice(Some(""), "2025-11-03", "USD 1"), five, "the `model` is empty"),
        (nameless, five, "the `provider` is empty"),
    ] {
        let refused = drift(&host, &*house.store, &acme(), &invoice, threshold).await;
        let told = refused.expect_err("refused").to_string();
        assert!(told.contains(words), "{told}");
    }
    // The first day that may be brought.
    assert!(compared(house, &host, &invoice(None, "2025-10-06", "USD 1")).await.1);
    assert_eq!(kinds(&all(&*house.store).await), ["provider_drift:openai:*:2025-10-06"]);
}

/// An alerting policy that reads of drifts: it has nothing to say, or worse.
fn reads_drifts(review: &str) -> Binding {
    let configure = "(call $put (i32.const 640))
        (i32.store (i32.const 524) (i32.const 640)) (i32.store (i32.const 528) (i32.const 1))";
    alerting(Guest { text: b"fact:drift.*", configure, check: review, ..Guest::default() })
}

/// One that reads of nothing, and raises `fine` whatever happens.
fn raises_whatever_happens() -> Binding {
    // Its actions: one, the notice of a key, for no counter, with severity, title and body, and no facts.
    let fields = "(data (i32.const 4096) (i32 0 0) (i32 1064 4) (i32 0 0) (i32 4160 4) (i32 1064 4) (i32 1064 4) (i32 0 0))
        (data (i32.const 4160) \"info\")";
    let check =
        "(i32.store (i32.const 304) (i32.const 4096)) (i32.store (i32.const 308) (i32.const 1))";
    alerting(Guest { fields, check, ..Guest::default() })
}

fn alerting(guest: Guest) -> Binding {
    let quota = "(param $at i64) (param i32 i32) (param i32 i32) (param i32 i32) (param i32 i32) (param $partial i32)";
    let alerting = format!("(param $at i64) (param i64) (param{})", " i32".repeat(8));
    let module = guest.module();
    assert!(module.contains(quota));
    let module = module
        .replace(quota, &alerting)
        .replace("(global.get $verdict))", "(i32.const 304))")
        .replace("tollgate:policy/quota@0.1.0#check", "tollgate:policy/alerting@0.1.0#review");
    let component = encode(&module, CONTRACT, "alert-policy");
    let policy = sandbox().load(&component, "{}").expect("let in");
    Binding::new("reads", policy)
}

/// Who said it, and how.
fn said(told: &NoticeRecord) -> (&str, &str, &str) {
    let notice = &told.notice;
    (notice.policy.as_str(), notice.title.as_str(), notice.body.as_str())
}

const OWN: &str = r#"{"forecast":false,"language":"pt","messages":{
    "policy_quarantined":{"title":"{policy} parou","body":"{code}"},
    "limit_changed":{"title":"{meter}{of}{from} -> {limit}"},
    "provider_drift":{"title":"{provider}{for_model}","body":"{day}: {invoiced} / {computed}"}},
    "limits":[{"meter":"llm_tokens","period":"day","per":"user","limit":100,
        "scaling":{"at":0.9,"by":0.5}}]}"#;

/// When, and once for what, is the host's.
pub async fn what_the_host_has_people_told_is_in_an_alerting_policys_words<S: Store>(
    house: &House<S>,
) {
    set_clock(house, "2025-11-20 09:00", Tz::UTC);
    let fails = Guest { check: &later("(unreachable)"), ..Guest::default() }.component();
    let fails = sandbox().load(&fails, "{}").expect("let in");
    let fails = Binding { layer: Layer::Tenant, ..Binding::new("own", fails) };
    let bounds = Bounds {
        meter: "llm_tokens".parse().expect("a meter"),
        window: Window::from_period_name("day").expect("a window"),
        least: 50.into(),
        most: 180.into(),
    };
    let bindings = vec![binding("alerts", OWN), fails];
    let setup = Setup { bindings, proposals: vec![bounds], ..Setup::default() };
    let host = house.host(&Arc::new(setup)).await;

    let used = call(&[("user", "ana")], &[("llm_tokens", 95)]);
    let reports = vec![Report { call: used, used_at: None }];
    ask(&host, Operation::Record { reports }).await.expect("recorded");
    house.advance(1);
    for _ in 0..11 {
        ask(&host, reserve(1)).await.expect("an answer");
    }
    house.advance(1);
    assert!(compared(house, &host, &invoice(Some("gpt-4o"), "2025-11-19", "USD 5")).await.1);

    let mut told = all(&*house.store).await;
    told.retain(|own| !own.notice.key.starts_with("quota_"));
    let day = "limit_changed:llm_tokens:calendar:day";
    let drift = "provider_drift:openai:gpt-4o:2025-11-19";
    let kinds = kinds(&told);
    assert!(kinds[1].starts_with("policy_quarantined:own:"), "{kinds:?}");
    assert_eq!((kinds[0], kinds[2], kinds.len()), (day, drift, 3));
    let changed = "A política `*/alerts` propôs outro limite de `llm_tokens` (calendar:day) de user \
                   `ana`, dentro do que a plataforma permite.\n\nLimite: 150";
    assert_eq!(said(&told[0]), ("*/alerts", "llm_tokens de user `ana` -> 150", changed));
    assert_eq!(said(&told[1]), ("*/alerts", "own parou", "policy_trapped"));
    let ends = house.at().div_euclid(DAY_MS) * DAY_MS;
    let money = "2025-11-19: $ 5.00 / $ 0.00";
    assert_eq!(said(&told[2]), ("*/alerts", "openai pelo modelo `gpt-4o`", money));
    assert_eq!(told[2].notice.period.map(|(_, closes)| closes), Some(Some(ends)));
}

/// It is the next one's to word, and nobody is stopped for it.
pub async fn who_has_no_words_for_it_keeps_nobody_from_being_told<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 09:00", Tz::UTC);
    let invoice = invoice(None, "2025-11-19", "USD 5");
    let standard = "Provider `openai` invoiced $ 5.00, and $ 0.00 was computed";
    for (review, others, wanted) in [
        (later("(unreachable)"), Vec::new(), ("", standard)),
        (String::new(), Vec::new(), ("", standard)),
        (later("(unreachable)"), vec![binding("alerts", OWN)], ("*/alerts", "openai")),
        (String::new(), vec![binding("alerts", OWN)], ("*/alerts", "openai")),
    ] {
        // Who reads nothing of it is not asked.
        let first = vec![raises_whatever_happens(), reads_drifts(&review)];
        let bindings = [first, others].concat();
        let host = house.host(&Arc::new(Setup { bindings, ..Setup::default() })).await;
        house.advance(46 * DAY_MS);
        let day = chrono::DateTime::from_timestamp_millis(house.at()).expect("a time").date_naive();
        for _ in 0..12 {
            let invoice = Invoiced { day, ..invoice.clone() };
            assert!(compared(house, &host, &invoice).await.1);
        }
        let told = all(&*house.store).await;
        let (by, title, _) = said(told.last().expect("one"));
        assert_eq!((by, title), wanted);
        assert!(kinds(&told).iter().all(|kind| kind.starts_with("provider_drift:")));
    }
}
