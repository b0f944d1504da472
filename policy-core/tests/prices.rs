//! What usage costs, by the seed's list, by lists of a tenant's own, and by the catalog.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use num_bigint::BigUint;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tollgate_policy_core::contract::{
    Dimension, Fact, Line, Quantity, Rate, Read, Refusal, Usage, Value,
};
use tollgate_policy_core::prices::{
    AMOUNT_OUT_OF_RANGE, METER_UNPRICED, MODEL_UNKNOWN, PriceList, price_lines,
};
use tollgate_policy_core::pricing::{COST_UNKNOWN, EXCHANGE_RATE_MISSING, PricingPolicy};
use tollgate_policy_core::{Currency, Decimal};

/// 2026-02-01T00:00:00Z.
const FEBRUARY: i64 = 1_769_904_000_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn quantity(meter: &str, amount: &str) -> Quantity {
    Quantity { meter: meter.parse().unwrap(), amount: decimal(amount) }
}

/// `input 1000, output.batch 20`, of `llm_tokens` where the meter has no `_`.
fn quantities(written: &str) -> Vec<Quantity> {
    written
        .split(", ")
        .map(|part| {
            let (meter, amount) = part.split_once(' ').unwrap();
            match meter.strip_prefix('/') {
                Some(meter) => quantity(meter, amount),
                None => quantity(&format!("llm_tokens.{meter}"), amount),
            }
        })
        .collect()
}

fn usage(model: &str, written: &str) -> Usage {
    let model = Dimension { name: "model".into(), value: model.into() };
    Usage { dimensions: vec![model], quantities: quantities(written), ..Usage::default() }
}

/// `meter amount at price = cost`, line by line.
fn shown(lines: &[Line]) -> Vec<String> {
    let show = |line: &Line| {
        let meter = line.meter.as_str();
        let meter = meter.strip_prefix("llm_tokens.").unwrap_or(meter);
        format!("{meter} {} at {} = {}", line.amount, line.price, line.cost)
    };
    lines.iter().map(show).collect()
}

/// The lines of a usage of model `m`, whose prices are these, for a million units.
fn priced(prices: Json, written: &str) -> Result<Vec<String>, Refusal> {
    let model = json!({ "units": 1_000_000, "prices": prices });
    let list = json!({ "name": "own", "currency": "USD", "models": { "m": model } });
    let policy = PricingPolicy::configure(&json!({ "prices": list }).to_string()).unwrap();
    policy.price(&usage("m", written)).map(|quote| shown(&quote.lines))
}

fn own_list(models: Json) -> String {
    json!({ "name": "own", "currency": "USD", "models": models }).to_string()
}

/// Of 1,000 tokens in and out, as the seed has them; of 1; and of 1,234 in and 567 out.
#[test]
fn the_six_models_of_the_seed_cost_what_the_seed_says_to_the_last_digit() {
    let seed = PricingPolicy::configure("{}").unwrap();
    for (names, thousands, ones, others) in [
        (["gpt-4", "gpt-4-0613"], ["0.03", "0.06"], ["0.00003", "0.00006"], ["0.03702", "0.03402"]),
        (
            ["gpt-4o", "gpt-4o-2024-05-13"],
            ["0.005", "0.015"],
            ["0.000005", "0.000015"],
            ["0.00617", "0.008505"],
        ),
        (
            ["gpt-3.5", "gpt-3.5-turbo"],
            ["0.001", "0.002"],
            ["0.000001", "0.000002"],
            ["0.001234", "0.001134"],
        ),
        (
            ["claude-opus", "claude-3-opus-20240229"],
            ["0.015", "0.075"],
            ["0.000015", "0.000075"],
            ["0.01851", "0.042525"],
        ),
        (
            ["claude-sonnet", "claude-3-sonnet-20240229"],
            ["0.003", "0.015"],
            ["0.000003", "0.000015"],
            ["0.003702", "0.008505"],
        ),
        (
            ["claude-instant", "claude-instant-1.2"],
            ["0.0008", "0.0024"],
            ["0.0000008", "0.0000024"],
            ["0.0009872", "0.0013608"],
        ),
    ] {
        for name in names {
            for (written, costs) in [
                ("input 1000, output 1000", thousands),
                ("input 1, output 1", ones),
                ("input 1234, output 567", others),
            ] {
                let quote = seed.price(&usage(name, written)).unwrap();
                let got: Vec<_> = quote.lines.iter().map(|line| line.cost.to_string()).collect();
                assert_eq!(got, costs, "{name} {written}");
                assert_eq!((quote.currency, quote.facts), (Currency::USD, Vec::new()));
            }
        }
    }
    let quote = seed.price(&usage("gpt-4", "input 999999999999999")).unwrap();
    assert_eq!(shown(&quote.lines), ["input 999999999999999 at 0.03 = 29999999999.99997"]);
    let list = PriceList::seed().unwrap();
    assert_eq!((list.name.as_str(), list.models.len(), list.aliases.len()), ("seed", 6, 6));
}

#[test]
fn a_model_is_matched_by_its_name_or_an_alias_and_never_by_guess() {
    let seed = PricingPolicy::configure(r#"{"prices": "seed"}"#).unwrap();
    for model in [
        "gpt-4-turbo",
        "GPT-4",
        "gpt-4 ",
        "gpt",
        "openai/gpt-4",
        "claude-opus-4",
        "gpt-3.5-turbo-16k",
    ] {
        let message =
            format!("model `{model}` is not in price list `seed`: add it, or an alias for it");
        assert_eq!(seed.price(&usage(model, "input 1")), Err(Refusal::new(MODEL_UNKNOWN, message)));
    }
    let unnamed = "the call names no `model`, so that price list `seed` cannot price it";
    let refused = Err(Refusal::new(MODEL_UNKNOWN, unnamed));
    assert_eq!(seed.price(&usage("", "input 1")), refused);
    assert_eq!(seed.price(&Usage { dimensions: Vec::new(), ..usage("", "input 1") }), refused);
}

#[test]
fn a_marginal_tier_splits_the_amount_at_its_threshold() {
    let tiers = json!([{ "threshold": 100, "price": 2 }, { "threshold": 250, "price": "0.5" }]);
    let prices = json!({ "llm_tokens.input": { "price": 1, "units": 10, "tiers": tiers } });
    for (written, lines) in [
        ("input 1", vec!["input 1 at 1 = 0.1"]),
        ("input 100", vec!["input 100 at 1 = 10"]),
        ("input 101", vec!["input 100 at 1 = 10", "input 1 at 2 = 0.2"]),
        ("input 250", vec!["input 100 at 1 = 10", "input 150 at 2 = 30"]),
        (
            "input 250.5",
            vec!["input 100 at 1 = 10", "input 150 at 2 = 30", "input 0.5 at 0.5 = 0.025"],
        ),
    ] {
        assert_eq!(priced(prices.clone(), written).unwrap(), lines, "{written}");
    }
    // From the first unit on: nothing is left for the price below.
    let tiers = json!([{ "threshold": 0, "price": 2 }]);
    let prices = json!({ "llm_tokens.input": { "price": 1, "units": 1, "tiers": tiers } });
    assert_eq!(priced(prices, "input 5").unwrap(), ["input 5 at 2 = 10"]);
}

#[test]
fn a_whole_tier_prices_all_of_the_amount_once_above_its_threshold() {
    let tiers = json!([
        { "threshold": 100, "whole": true, "price": 2 },
        { "threshold": 200, "whole": true, "price": 3 },
    ]);
    let prices = json!({ "llm_tokens.input": { "price": 1, "units": 1, "tiers": tiers } });
    for (written, line) in [
        ("input 100", "input 100 at 1 = 100"),
        ("input 101", "input 101 at 2 = 202"),
        ("input 200", "input 200 at 2 = 400"),
        ("input 200.1", "input 200.1 at 3 = 600.3"),
    ] {
        assert_eq!(priced(prices.clone(), written).unwrap(), [line], "{written}");
    }
}

#[test]
fn a_tier_is_measured_on_the_sum_of_the_meters_it_names() {
    let of = ["llm_tokens.input", "llm_tokens.cached_input"];
    let long =
        |price: u32| json!([{ "threshold": 200_000, "of": of, "whole": true, "price": price }]);
    let prices = json!({
        "llm_tokens.input": { "price": 1, "tiers": long(2) },
        "llm_tokens.output": { "price": 10, "tiers": long(15) },
    });
    // The output alone crosses nothing; the prompt as a whole does.
    assert_eq!(
        priced(prices.clone(), "input 120000, cached_input 80000, output 500000").unwrap(),
        ["input 120000 at 1 = 0.12", "cached_input 80000 at 1 = 0.08", "output 500000 at 10 = 5"]
    );
    assert_eq!(
        priced(prices, "input 120000, cached_input 80001, output 1000").unwrap(),
        [
            "input 120000 at 2 = 0.24",
            "cached_input 80001 at 2 = 0.160002",
            "output 1000 at 15 = 0.015"
        ]
    );
}

#[test]
fn a_whole_tier_above_a_marginal_one_prices_all_of_the_amount() {
    let tiers = json!([
        { "threshold": 100, "price": 2 },
        { "threshold": 200, "whole": true, "price": 3 },
    ]);
    let prices = json!({ "llm_tokens.input": { "price": 1, "units": 1, "tiers": tiers } });
    assert_eq!(priced(prices, "input 250").unwrap(), ["input 250 at 3 = 750"]);
}

#[test]
fn a_class_has_its_own_price_or_that_of_what_it_is_a_kind_of() {
    let least = json!({ "llm_tokens.input": 3, "llm_tokens.output": 7 });
    let own = json!({
        "llm_tokens.input": 3, "llm_tokens.output": 7,
        "llm_tokens.cached_input": "0.3", "llm_tokens.cache_write": "3.75",
        "llm_tokens.cache_write_1h": 6, "llm_tokens.audio": 32, "llm_tokens.image": 4,
        "llm_tokens.reasoning": 8, "llm_tokens.audio_output": 64, "llm_tokens.image_output": 30,
        "llm_tokens.input.batch": "1.5", "llm_tokens.output.flex": "3.5",
        "llm_tokens.cached_input.priority": "0.6",
    });
    for (class, by_parent, by_own) in [
        ("input", "3", "3"),
        ("output", "7", "7"),
        ("cached_input", "3", "0.3"),
        ("cache_write", "3", "3.75"),
        ("cache_write_1h", "3", "6"),
        ("audio", "3", "32"),
        ("image", "3", "4"),
        ("reasoning", "7", "8"),
        ("audio_output", "7", "64"),
        ("image_output", "7", "30"),
        ("input.batch", "3", "1.5"),
        ("input.flex", "3", "3"),
        ("output.flex", "7", "3.5"),
        ("output.batch", "7", "7"),
        ("cached_input.priority", "3", "0.6"),
        ("cache_write_1h.batch", "3", "6"),
        ("reasoning.batch", "7", "8"),
    ] {
        for (prices, price) in [(&least, by_parent), (&own, by_own)] {
            let lines = priced(prices.clone(), &format!("{class} 1000000"));
            assert_eq!(lines.unwrap(), [format!("{class} 1000000 at {price} = {price}")]);
        }
    }
    // A write kept for an hour is a write before it is input.
    let prices = json!({ "llm_tokens.input": 3, "llm_tokens.cache_write": "3.75" });
    let lines = priced(prices, "cache_write_1h 1000000").unwrap();
    assert_eq!(lines, ["cache_write_1h 1000000 at 3.75 = 3.75"]);
}

#[test]
fn a_class_without_a_price_is_never_billed_below_its_parent_in_the_same_service() {
    let prices = json!({
        "llm_tokens.input": 2, "llm_tokens.input.batch": 1, "llm_tokens.input.priority": 4,
        "llm_tokens.cached_input": "0.2", "llm_tokens.audio": 30,
        "llm_tokens.output": 10, "llm_tokens.output.batch": 5, "llm_tokens.output.priority": 20,
    });
    for (class, price) in [
        ("reasoning.priority", "20"),
        ("reasoning.batch", "5"),
        ("cached_input.priority", "4"),
        ("cache_write_1h.batch", "1"),
        ("audio.batch", "30"),
        ("reasoning.flex", "10"),
    ] {
        let lines = priced(prices.clone(), &format!("{class} 1000000"));
        assert_eq!(lines.unwrap(), [format!("{class} 1000000 at {price} = {price}")]);
    }
}

#[test]
fn tokens_without_any_price_are_refused_and_other_meters_are_free() {
    let input_only = json!({ "llm_tokens.input": 3, "database_queries": "0.5" });
    for (written, meter) in [
        ("output 1", "llm_tokens.output"),
        ("input 1, reasoning 1", "llm_tokens.reasoning"),
        ("input 1, output.batch 1", "llm_tokens.output.batch"),
        ("video 1", "llm_tokens.video"),
        ("input.slow 1", "llm_tokens.input.slow"),
        ("/llm_tokens 1", "llm_tokens"),
        ("/llm_tokens 1, /llm_requests 1", "llm_tokens"),
    ] {
        let message = format!("`{meter}` has no price for this model: add one");
        let refused = Err(Refusal::new(METER_UNPRICED, message));
        assert_eq!(priced(input_only.clone(), written), refused, "{written}");
    }
    // The sum beside its classes, requests, and nothing of a class are not billed.
    let written = "/llm_tokens 5, /llm_requests 1, /llm_tokens_saved 9, input 5, output 0";
    assert_eq!(priced(input_only.clone(), written).unwrap(), ["input 5 at 3 = 0.000015"]);
    let lines = priced(input_only.clone(), "/database_queries 2000000").unwrap();
    assert_eq!(lines, ["database_queries 2000000 at 0.5 = 1"]);
    let flat = json!({ "llm_tokens": 1 });
    assert_eq!(priced(flat, "/llm_tokens 5").unwrap(), ["llm_tokens 5 at 1 = 0.000005"]);
    let below = Refusal::new(
        AMOUNT_OUT_OF_RANGE,
        "`llm_tokens.input` is below zero: usage is zero or more",
    );
    assert_eq!(priced(input_only, "input -1"), Err(below));
}

#[test]
fn tokens_beside_classes_of_zero_are_refused() {
    let refused = priced(json!({ "llm_tokens.input": 3 }), "/llm_tokens 1000, input 0");
    assert_eq!(refused.map_err(|refusal| refusal.code), Err(METER_UNPRICED.into()));
}

#[test]
fn each_line_is_rounded_once_half_to_even_after_the_exchange() {
    let rate = |meter: &str| Rate {
        meter: meter.parse().unwrap(),
        price: decimal("0.000000000001"),
        currency: Currency::USD,
        units: decimal("2"),
        tiers: Vec::new(),
        facts: Vec::new(),
    };
    let rates = [rate("llm_tokens.input"), rate("llm_tokens.output")];
    for (written, exchange, costs) in [
        // Halves of the last decimal, line by line and not in their sum.
        ("input 1, output 1", "1", ["0", "0"]),
        ("input 3, output 5", "1", ["0.000000000002", "0.000000000002"]),
        // 0.5 × 3 is 1.5 before it is rounded, and 0 × 3 would be nothing.
        ("input 1, output 5", "3", ["0.000000000002", "0.000000000008"]),
        ("input 1, output 1", "1.000000000001", ["0.000000000001", "0.000000000001"]),
    ] {
        let lines = price_lines(&quantities(written), &rates, decimal(exchange)).unwrap();
        let got: Vec<String> = lines.iter().map(|line| line.cost.to_string()).collect();
        assert_eq!(got, costs, "{written} × {exchange}");
    }
    let written = quantities("input 999999999999999");
    let refused =
        price_lines(&written, &[Rate { price: decimal("2.1"), ..rates[0].clone() }], Decimal::ONE);
    let message = "`llm_tokens.input`: an amount of 10^15 or more: amounts lie below that";
    assert_eq!(refused, Err(Refusal::new(AMOUNT_OUT_OF_RANGE, message)));
}

#[test]
fn the_exchange_rate_is_the_latest_on_or_before_the_day() {
    let policy = PricingPolicy::configure(
        r#"{"currency": "BRL", "exchange_rates": [
            {"from": "USD", "to": "BRL", "rate": "5.5", "on": "2026-02-01"},
            {"from": "USD", "to": "BRL", "rate": "5", "on": "2026-01-31"},
            {"from": "BRL", "to": "USD", "rate": "0.2", "on": "2020-01-01"},
            {"from": "USD", "to": "EUR", "rate": "0.9", "on": "2020-01-01"}]}"#,
    )
    .unwrap();
    let at = |at| policy.price(&Usage { at, ..usage("gpt-4", "input 1000") });
    for (instant, rate, cost) in [
        (FEBRUARY - DAY_MS, "5", "0.15"),
        (FEBRUARY - 1, "5", "0.15"),
        (FEBRUARY, "5.5", "0.165"),
        (FEBRUARY + 4000 * DAY_MS, "5.5", "0.165"),
    ] {
        let quote = at(instant).unwrap();
        assert_eq!(shown(&quote.lines), [format!("input 1000 at 0.03 = {cost}")], "{instant}");
        assert_eq!(quote.currency, Currency::BRL);
        let value = Value::Number(decimal(rate));
        assert_eq!(quote.facts, [Fact { name: "exchange_rate.USD.BRL".into(), value }]);
    }
    let message =
        "no exchange rate from `USD` to `BRL` holds on 2026-01-30: add one to `exchange_rates`";
    assert_eq!(at(FEBRUARY - DAY_MS - 1), Err(Refusal::new(EXCHANGE_RATE_MISSING, message)));
}

#[test]
fn the_currency_is_the_settings_or_the_callers_or_the_lists() {
    let rates =
        r#""exchange_rates": [{"from": "USD", "to": "BRL", "rate": 5, "on": "1970-01-01"}]"#;
    for (settings, wanted, currency, cost) in [
        ("{}".into(), None, "USD", "0.03"),
        ("{}".into(), Some("USD"), "USD", "0.03"),
        (format!("{{{rates}}}"), None, "USD", "0.03"),
        (format!("{{{rates}}}"), Some("BRL"), "BRL", "0.15"),
        (format!(r#"{{"currency": "BRL", {rates}}}"#), Some("USD"), "BRL", "0.15"),
    ] {
        let policy = PricingPolicy::configure(&settings).unwrap();
        let currency_wanted = wanted.map(|code| code.parse().unwrap());
        let call = Usage { currency: currency_wanted, ..usage("gpt-4", "input 1000") };
        let quote = policy.price(&call).unwrap();
        assert_eq!(quote.currency.code(), currency, "{settings}");
        assert_eq!(quote.lines[0].cost, decimal(cost), "{settings}");
    }
}

#[test]
fn what_a_call_costs_is_charged_on_times_a_factor_and_rounded_once() {
    let cost =
        |name: &str, cost: &str| Fact { name: name.into(), value: Value::Number(decimal(cost)) };
    let reais = r#""currency": "BRL", "exchange_rates": [
        {"from": "USD", "to": "BRL", "rate": "5.5", "on": "1970-01-01"}]"#;
    for (settings, facts, lines) in [
        (
            r#"{"prices": "cost"}"#.into(),
            vec![cost("cost.usd", "0.03")],
            "cost.usd 0.03 at 1 = 0.03",
        ),
        (
            r#"{"prices": "cost", "factor": "1.25"}"#.into(),
            vec![cost("local.hour", "7"), cost("cost.usd", "0.000000000002")],
            "cost.usd 0.000000000002 at 1.25 = 0.000000000002",
        ),
        (
            format!(r#"{{"prices": "cost", "factor": "1.2", {reais}}}"#),
            vec![cost("cost.usd", "10")],
            "cost.usd 10 at 1.2 = 66",
        ),
    ] {
        let policy = PricingPolicy::configure(&settings).unwrap();
        let quote = policy.price(&Usage { facts, ..usage("whatever", "input 1000") }).unwrap();
        assert_eq!(shown(&quote.lines), [lines], "{settings}");
    }
    let policy = PricingPolicy::configure(r#"{"prices": "cost"}"#).unwrap();
    assert_eq!(policy.manifest().reads, [Read::Fact("cost.*".into())]);
    let refused = policy.price(&usage("gpt-4", "input 1000")).unwrap_err();
    assert_eq!(refused.code, COST_UNKNOWN);
}

#[test]
fn a_call_of_no_model_costs_nothing_unless_it_takes_what_models_take() {
    let queries = Quantity { meter: "database_queries".parse().unwrap(), amount: 5.into() };
    let none = Usage { dimensions: Vec::new(), quantities: vec![queries], ..Usage::default() };
    for (settings, currency) in
        [("{}", "USD"), (r#"{"prices": "host"}"#, "USD"), (r#"{"currency": "BRL"}"#, "BRL")]
    {
        let policy = PricingPolicy::configure(settings).unwrap();
        let quote = policy.price(&none).unwrap();
        assert_eq!((quote.currency.code(), quote.lines.len()), (currency, 0), "{settings}");
        let tokens = Quantity { meter: "llm_requests".parse().unwrap(), amount: 1.into() };
        let usage = Usage { quantities: vec![tokens], ..none.clone() };
        assert_eq!(policy.price(&usage).unwrap_err().code, MODEL_UNKNOWN, "{settings}");
    }
}

#[test]
fn the_hosts_rates_are_used_where_the_settings_say_so() {
    let policy = PricingPolicy::configure(r#"{"prices": "host"}"#).unwrap();
    let rates = PriceList::catalog().unwrap().rates("claude-opus-4-8").unwrap();
    let quote = policy.price(&Usage { rates, ..usage("whatever", "input 1000000") }).unwrap();
    assert_eq!(shown(&quote.lines), ["input 1000000 at 5 = 5"]);
    let message = "model `gpt-9` has no rates in the host's catalog: add it there";
    let refused = policy.price(&usage("gpt-9", "input 1"));
    assert_eq!(refused, Err(Refusal::new(MODEL_UNKNOWN, message)));
    // The seed's list is not loosened by rates that the host happens to send.
    let rates = PriceList::catalog().unwrap().rates("gpt-5.4").unwrap();
    let seed = PricingPolicy::configure("{}").unwrap();
    assert!(seed.price(&Usage { rates, ..usage("gpt-5.4", "input 1") }).is_err());
}

#[test]
fn rates_of_two_currencies_are_refused() {
    let policy = PricingPolicy::configure(r#"{"prices": "host"}"#).unwrap();
    let mut rates = PriceList::seed().unwrap().rates("gpt-4").unwrap();
    rates[1].currency = Currency::BRL;
    assert!(policy.price(&Usage { rates, ..usage("gpt-4", "input 1, output 1") }).is_err());
}

/// In units of 10^-12: amount × price × rate / units, rounded half to even.
fn reference(amount: u64, price: u64, rate: u64, units: u64) -> BigUint {
    let over: BigUint = [amount, price, rate].into_iter().map(BigUint::from).product();
    let under = BigUint::from(units) * 10_u64.pow(12);
    let (quotient, rest) = (&over / &under, over % &under);
    let up = (&rest * 2_u32 > under) || (rest * 2_u32 == under && quotient.bit(0));
    quotient + u32::from(up)
}

fn in_units(units: u64) -> Decimal {
    Decimal::new(false, units.into(), 12).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_cost_of_a_quantity_is_that_of_integers_of_any_length(
        amount in (0..=18_u32).prop_flat_map(|digits| 1..=10_u64.pow(digits)),
        price in (0..=15_u32).prop_flat_map(|digits| 0..=10_u64.pow(digits)),
        rate in (9..=14_u32).prop_flat_map(|digits| 1..=10_u64.pow(digits)),
        units in prop_oneof![(0..=18_u32).prop_map(|zeros| 10_u64.pow(zeros)), 1..u64::MAX / 4],
        tier in (0..=15_u32).prop_flat_map(|digits| 0..=10_u64.pow(digits)),
        threshold in (0..=18_u32).prop_flat_map(|digits| 0..=10_u64.pow(digits)),
        whole in any::<bool>(),
    ) {
        let split = [(threshold, price), (amount.saturating_sub(threshold), tier)];
        let parts = match (amount > threshold, whole) {
            (false, _) => vec![(amount, price)],
            (true, true) => vec![(amount, tier)],
            (true, false) => split.into_iter().filter(|(part, _)| *part > 0).collect(),
        };
        let tier = json!({ "threshold": in_units(threshold), "whole": whole, "price": in_units(tier) });
        let price = json!({ "price": in_units(price), "units": in_units(units), "tiers": [tier] });
        let list = own_list(json!({ "m": { "prices": { "llm_tokens.input": price } } }));
        let rates = PriceList::parse(&list).unwrap().rates("m").unwrap();
        let meter = "llm_tokens.input".parse().unwrap();
        let usage = [Quantity { meter, amount: in_units(amount) }];
        let wanted: Vec<BigUint> =
            parts.iter().map(|(part, price)| reference(*part, *price, rate, units)).collect();
        match price_lines(&usage, &rates, in_units(rate)) {
            Ok(lines) => {
                let got = lines.iter().map(|line| (line.amount, line.price, decimal_units(line.cost)));
                let parts = parts.iter().zip(wanted);
                let wanted = parts.map(|((part, price), cost)| (in_units(*part), in_units(*price), cost));
                prop_assert_eq!(got.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code, AMOUNT_OUT_OF_RANGE);
                let end = BigUint::from(10_u32).pow(27);
                prop_assert!(wanted.into_iter().any(|cost| cost >= end));
            }
        }
    }
}

fn decimal_units(amount: Decimal) -> BigUint {
    BigUint::from(amount.units().unsigned_abs())
}
