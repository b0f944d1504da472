//! Price lists: what is refused, how prices are read, and the catalog that the project ships.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value as Json, json};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::Quantity;
use tollgate_policy_core::prices::{PriceList, price_lines};
use tollgate_policy_core::pricing::PricingPolicy;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn own_list(models: Json) -> String {
    json!({ "name": "own", "currency": "USD", "models": models }).to_string()
}

#[test]
fn a_price_list_that_makes_no_sense_is_refused_in_words() {
    let tiered =
        |tiers: Json| json!({ "m": { "prices": { "x": { "price": 1, "tiers": tiers } } } });
    let rising = "price list: `m`, `x`: tiers must stand in rising order of `threshold`";
    let negative = "price list: `m`, `x`: a price must be zero or more";
    let whole =
        "price list: `m`, `x`: a tier measured on other meters must take the `whole` amount";
    let units = "price list: `m`, `x`: `units` must be above zero";
    for (models, error) in [
        (json!({ "m": { "prices": { "x": -1 } } }), negative),
        (tiered(json!([{ "threshold": 1, "price": "-0.1" }])), negative),
        (json!({ "m": { "units": 0, "prices": { "x": 1 } } }), units),
        (json!({ "m": { "units": -1000, "prices": { "x": 1 } } }), units),
        (json!({ "m": { "units": 1000, "prices": { "x": { "price": 1, "units": 0 } } } }), units),
        (tiered(json!([{ "threshold": 2, "price": 1 }, { "threshold": 1, "price": 1 }])), rising),
        (tiered(json!([{ "threshold": 2, "price": 1 }, { "threshold": 2, "price": 1 }])), rising),
        (tiered(json!([{ "threshold": 2, "price": 1, "of": ["y"] }])), whole),
    ] {
        let list = own_list(models);
        assert_eq!(PriceList::parse(&list).unwrap_err().to_string(), error);
        let settings = format!(r#"{{"prices": {list}}}"#);
        let of_settings = PricingPolicy::configure(&settings).unwrap_err().to_string();
        assert_eq!(of_settings, format!("settings: {error}"));
    }
    let alias = r#"{"name": "own", "currency": "USD", "models": {}, "aliases": {"a": "m"}}"#;
    let error = PriceList::parse(alias).unwrap_err().to_string();
    assert_eq!(error, "price list: alias `a` stands for `m`, which the list does not have");
    for (list, reason) in [
        ("{", "EOF while parsing"),
        (r#"{"name": "own"}"#, "missing field `currency`"),
        (
            r#"{"name": "own", "currency": "dollars"}"#,
            "`dollars` is not a currency: write three letters, like `USD`",
        ),
        (
            r#"{"name": "own", "currency": "USD", "models": {}, "alias": {}}"#,
            "unknown field `alias`",
        ),
        (&own_list(json!({ "m": { "price": {} } })), "unknown field `price`"),
        (
            &own_list(json!({ "m": { "prices": { "Tokens": 1 } } })),
            "`Tokens` is not a meter: write lower-case words",
        ),
    ] {
        let error = PriceList::parse(list).unwrap_err().to_string();
        assert!(error.starts_with(&format!("price list: {reason}")), "{error}");
    }
    // More decimals than an amount has are refused, never cut.
    assert!(PriceList::parse(&own_list(json!({ "m": { "prices": { "x": "1e-13" } } }))).is_err());
}

#[test]
fn prices_are_read_from_literals_digit_by_digit() {
    let list = r#"{"name": "own", "currency": "USD", "models": {"m": {"prices": {
        "llm_tokens.input": 2.5e-06, "llm_tokens.output": "2.5e-06", "llm_tokens.reasoning": {"price": 1.0E-5}}}}}"#;
    let rates = PriceList::parse(list).unwrap().rates("m").unwrap();
    let got: Vec<_> = rates.iter().map(|rate| format!("{} / {}", rate.price, rate.units)).collect();
    assert_eq!(got, ["0.0000025 / 1", "0.0000025 / 1", "0.00001 / 1"]);
}

#[test]
fn pricing_settings_that_make_no_sense_are_refused_in_words() {
    let not_a_list = "settings: `gold` is not a price list: write `seed`, `host`, `cost`, or a list with `name`, `currency` and `models`";
    let rate = |rate: &str| {
        let rate = json!({ "from": "USD", "to": "BRL", "rate": rate, "on": "2026-01-01" });
        json!({ "exchange_rates": [rate] }).to_string()
    };
    let above_zero = "settings: exchange rate from `USD` to `BRL`: write a `rate` above zero";
    for (settings, error) in [
        (r#"{"prices": "gold"}"#, not_a_list),
        (r#"{"prices": "cost", "factor": "0"}"#, "settings: write a `factor` above zero"),
        (
            r#"{"prices": "seed", "factor": "2"}"#,
            "settings: `factor` multiplies what a call costs: write `prices` as `cost` with it",
        ),
        (&rate("0"), above_zero),
        (&rate("-5"), above_zero),
        (
            r#"{"price": "seed"}"#,
            "settings: unknown field `price`, expected one of `prices`, `factor`, `currency`, `exchange_rates` at line 1 column 8",
        ),
        (
            r#"{"currency": "reais"}"#,
            "settings: `reais` is not a currency: write three letters, like `USD` at line 1 column 21",
        ),
    ] {
        assert_eq!(PricingPolicy::configure(settings).unwrap_err().to_string(), error);
    }
}

#[test]
fn the_catalog_says_where_it_was_read_and_prices_every_model() {
    let catalog = PriceList::catalog().unwrap();
    assert_eq!(catalog.name, "catalog");
    assert!(
        catalog
            .source
            .as_ref()
            .is_some_and(|source| source.contains("LiteLLM") && source.ends_with("2026-11-22"))
    );
    assert!((150..=300).contains(&catalog.models.len()), "{}", catalog.models.len());
    for (name, model) in &catalog.models {
        assert!(model.provider.as_ref().is_some_and(|provider| !provider.is_empty()), "{name}");
        assert!(!catalog.aliases.contains_key(name), "{name} is a model and an alias");
        let rates = catalog.rates(name).unwrap();
        for meter in ["llm_tokens.input", "llm_tokens.output"] {
            assert!(rates.iter().any(|rate| rate.meter.as_str() == meter), "{name} {meter}");
        }
        for rate in rates {
            assert_eq!(rate.units, decimal("1000000"), "{name}");
            let prices = rate.tiers.iter().map(|tier| tier.price).chain([rate.price]);
            assert!(prices.into_iter().all(|price| price > Decimal::ZERO), "{name} {}", rate.meter);
            for tier in &rate.tiers {
                assert!(tier.whole && tier.of.len() >= 5 && tier.threshold >= decimal("100000"));
            }
        }
    }
    // One model a line, sorted, as the file's readers and diffs want it.
    let file = include_str!("../src/prices/catalog.json");
    let lines: Vec<&str> =
        file.lines().filter(|line| line.contains(r#": {"provider": "#)).collect();
    assert_eq!(lines.len(), catalog.models.len());
    assert!(lines.is_sorted_by_key(|line| line.split('"').nth(1).unwrap().to_owned()));
}

/// Worked out by hand from the public file's literals.
#[test]
fn the_catalog_prices_five_models_as_the_public_file_does() {
    let million = "1000000";
    let catalog = PriceList::catalog().unwrap();
    for (model, lines) in [
        (
            "claude-opus-4-8",
            vec![
                ("input", million, "5"),
                ("cached_input", million, "0.5"),
                ("cache_write", million, "6.25"),
                ("cache_write_1h", million, "10"),
                ("output", million, "25"),
                ("output.batch", "2", "0.000025"),
            ],
        ),
        (
            "deepseek/deepseek-v4-pro",
            vec![
                ("input", million, "1.32"),
                ("cached_input", million, "0.044"),
                // The public file has a zero here, which is not a price: it is input.
                ("cache_write", million, "1.32"),
                ("output", million, "3.96"),
            ],
        ),
        ("mistral-large-2512", vec![("input", million, "0.5"), ("output", million, "1.5")]),
        ("gpt-audio", vec![("audio", "1000", "0.032"), ("audio_output", "1000", "0.064")]),
        // Long prompts, cached part and all, cost more in every class.
        (
            "gpt-5.4",
            vec![
                ("input", "200000", "0.5"),
                ("cached_input", "72000", "0.018"),
                ("output", "1000", "0.015"),
            ],
        ),
        (
            "gpt-5.4",
            vec![
                ("input", "200000", "1"),
                ("cached_input", "72001", "0.0360005"),
                ("output", "1000", "0.0225"),
            ],
        ),
        (
            "gpt-5.4",
            vec![("input.batch", "272001", "0.6800025"), ("output.batch", "1000", "0.01125")],
        ),
        (
            "xai/grok-4.7",
            vec![
                ("input", "150000", "0.6"),
                ("image", "50001", "0.200004"),
                ("reasoning", "1000", "0.012"),
            ],
        ),
    ] {
        let quantity = |(class, amount, _): &(&str, &str, &str)| Quantity {
            meter: format!("llm_tokens.{class}").parse().unwrap(),
            amount: decimal(amount),
        };
        let used: Vec<Quantity> = lines.iter().map(quantity).collect();
        let rates = catalog.rates(model).unwrap();
        let priced = price_lines(&used, &rates, Decimal::ONE).unwrap();
        let got: Vec<String> = priced.iter().map(|line| line.cost.to_string()).collect();
        let wanted: Vec<&str> = lines.iter().map(|(.., cost)| *cost).collect();
        assert_eq!(got, wanted, "{model}");
    }
}

#[test]
fn a_list_that_can_be_read_in_two_ways_is_refused() {
    let m = r#""m": {"prices": {"llm_tokens.input": 1}}"#;
    let list = |models: &str, rest: &str| {
        format!(r#"{{"name": "own", "currency": "USD", "models": {{{models}}}{rest}}}"#)
    };
    for (list, error) in [
        (
            list(&format!("{m}, {}", m.replace(r#""m""#, r#""n""#)), r#", "aliases": {"m": "n"}"#),
            "price list: alias `m` is a model of the list as well: keep one of them",
        ),
        (
            list(r#""m": {"prices": {}}"#, ""),
            "price list: model `m` has no prices: add them, or remove the model",
        ),
        (
            list(r#""m": {"prices": {"llm_tokens": 1, "llm_tokens.input": 1}}"#, ""),
            "price list: `m`, `llm_tokens`: priced beside its classes, it would be billed twice",
        ),
    ] {
        assert_eq!(PriceList::parse(&list).unwrap_err().to_string(), error);
    }
}

#[test]
fn an_error_in_a_price_says_what_is_wrong_and_names_no_type() {
    for (price, reason) in [
        ("\"dear\"", "`dear`: `dear` is not a decimal number: write it like `12.5`"),
        ("1e-13", "`1e-13`: more than 12 decimals: round the amount first"),
        (
            "{\"price\": 1, \"tier\": []}",
            "unknown field `tier`, expected one of `price`, `units`, `tiers`",
        ),
    ] {
        let list = format!(
            r#"{{"name": "own", "currency": "USD", "models": {{"m": {{"prices": {{"x": {price}}}}}}}}}"#
        );
        let error = PriceList::parse(&list).unwrap_err().to_string();
        assert!(error.starts_with(&format!("price list: {reason}")), "{error}");
        let settings = format!(r#"{{"prices": {list}}}"#);
        let error = PricingPolicy::configure(&settings).unwrap_err().to_string();
        assert!(error.starts_with(&format!("settings: price list: {reason}")), "{error}");
    }
}
