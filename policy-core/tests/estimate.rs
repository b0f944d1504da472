//! The estimate: thirty descriptions worked out by hand, and each rule by itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tollgate_policy_core::decimal::Decimal;
use tollgate_policy_core::estimate::{
    Amounts, DESCRIPTION_BYTES_MAX, EstimateError, EstimateSettings, Estimator,
};
use tollgate_policy_core::meter::RESOURCES;

#[derive(Deserialize)]
struct Golden {
    language: String,
    description: String,
    /// Which operations a person found in it, and how often each counts.
    found: BTreeMap<String, u32>,
    amounts: BTreeMap<String, Decimal>,
}

fn goldens() -> Vec<Golden> {
    serde_json::from_str(include_str!("goldens/estimate.json")).unwrap()
}

fn settings(json: serde_json::Value) -> EstimateSettings {
    EstimateSettings::parse(&json.to_string()).unwrap()
}

fn estimate_by(settings: EstimateSettings, description: &str) -> BTreeMap<String, Decimal> {
    Estimator::new(settings).unwrap().estimate(description).unwrap().into_iter().collect()
}

/// How often an operation of these keywords counts.
fn count(keywords: &[&str], description: &str) -> Decimal {
    count_after(&[], keywords, description)
}

fn count_after(after: &[&str], keywords: &[&str], description: &str) -> Decimal {
    let operation =
        json!({ "name": "x", "keywords": keywords, "after": after, "adds": { "x": 1 } });
    estimate_by(settings(json!({ "operations": [operation] })), description)["x"]
}

fn refusal(json: serde_json::Value) -> String {
    match EstimateSettings::parse(&json.to_string()).and_then(Estimator::new) {
        Ok(_) => panic!("{json} is taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_standard_table_gives_the_goldens() {
    let estimator = Estimator::new(EstimateSettings::default()).unwrap();
    let mut differing = Vec::new();
    for golden in goldens() {
        let got: BTreeMap<_, _> =
            estimator.estimate(&golden.description).unwrap().into_iter().collect();
        for (meter, amount) in got {
            let expected = golden.amounts.get(&meter).copied();
            if expected != Some(amount) {
                let description = &golden.description;
                differing.push(format!("{description} {meter}: {amount}, by hand {expected:?}"));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn the_goldens_are_ten_to_a_language_and_name_every_meter_and_operation() {
    let goldens = goldens();
    for language in ["en", "pt", "ru"] {
        let own: Vec<_> = goldens.iter().filter(|golden| golden.language == language).collect();
        assert_eq!(own.len(), 10, "{language}");
        assert_eq!(own.iter().filter(|golden| golden.found.is_empty()).count(), 1, "{language}");
    }
    for golden in &goldens {
        assert_eq!(golden.amounts.len(), RESOURCES.len(), "{}", golden.description);
    }
    for operation in EstimateSettings::standard().unwrap().operations.unwrap() {
        let held = |golden: &Golden| golden.found.contains_key(&operation.name);
        assert!(goldens.iter().any(held), "no golden for `{}`", operation.name);
    }
}

#[test]
fn the_goldens_add_up() {
    let table = EstimateSettings::standard().unwrap();
    let operations = table.operations.unwrap();
    for golden in goldens() {
        let mut sum: BTreeMap<_, u64> = RESOURCES.map(|meter| (meter.to_owned(), 0)).into();
        let mut add = |amounts: &Amounts, count: u32| {
            for (meter, amount) in amounts {
                *sum.get_mut(meter.as_str()).unwrap() +=
                    amount.to_string().parse::<u64>().unwrap() * u64::from(count);
            }
        };
        add(table.base.as_ref().unwrap(), 1);
        for (name, count) in &golden.found {
            let operation = operations.iter().find(|operation| operation.name == *name).unwrap();
            add(&operation.adds, *count);
            add(&operation.once, 1);
        }
        *sum.get_mut("llm_tokens").unwrap() += golden.description.len().div_ceil(4) as u64;
        let expected: BTreeMap<_, u64> = golden
            .amounts
            .iter()
            .map(|(meter, amount)| (meter.clone(), amount.to_string().parse().unwrap()))
            .collect();
        assert_eq!(sum, expected, "{}", golden.description);
    }
}

#[test]
fn every_meter_is_present_in_order_and_further_ones_follow_by_name() {
    let extra =
        json!({ "name": "x", "keywords": ["x"], "adds": { "z": 1 }, "once": { "cost.usd": 1 } });
    let estimator = Estimator::new(settings(json!({ "extra_operations": [extra] }))).unwrap();
    for description in ["", "x", "Download 3 files"] {
        let estimate = estimator.estimate(description).unwrap();
        let meters: Vec<_> = estimate.iter().map(|(meter, _)| meter.as_str()).collect();
        assert_eq!(meters, [&RESOURCES[..], &["cost.usd", "z"]].concat(), "{description}");
    }
}

#[test]
fn an_empty_description_costs_the_base() {
    let base = EstimateSettings::standard().unwrap().base.unwrap();
    for (meter, amount) in estimate_by(EstimateSettings::default(), "") {
        let expected = base.get(&meter.parse().unwrap()).copied().unwrap_or_default();
        assert_eq!(amount, expected, "{meter}");
    }
}

#[test]
fn the_description_itself_costs_tokens_rounded_up() {
    let table = json!({ "base": {}, "operations": [], "bytes_per_token": 3 });
    for (description, tokens) in [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("да", 2)] {
        let estimate = estimate_by(settings(table.clone()), description);
        assert_eq!(estimate["llm_tokens"], Decimal::from(tokens), "{description}");
    }
}

#[test]
fn an_operation_counts_once_however_often_its_keywords_occur() {
    assert_eq!(count(&["file*", "folder"], "a file, a folder and more files"), Decimal::ONE);
    assert_eq!(count(&["file*"], "nothing of the kind"), Decimal::ZERO);
}

#[test]
fn a_count_among_the_two_words_before_multiplies() {
    for (description, expected) in [
        ("3 files", 3),
        ("three files", 3),
        ("três files", 3),
        ("duas files", 2),
        ("трёх files", 3),
        ("четырьмя files", 4),
        ("(3 files)", 3),
        ("three large files", 3),
        ("three very large files", 1),
        ("two or three files", 3),
        ("3-5 files", 5),
        ("five files 3", 5),
        ("two files and four files", 4),
        ("four files and two files", 4),
        ("100 files", 100),
        ("101 files", 100),
        ("1,000 files", 100),
        ("1.000 files", 100),
        ("10 000 files", 100),
        ("99999999999999999999 files", 100),
        ("0 files", 1),
    ] {
        assert_eq!(count(&["files"], description), Decimal::from(expected), "{description}");
    }
}

#[test]
fn the_cap_on_counts_is_a_setting() {
    let operation = json!({ "name": "x", "keywords": ["files"], "adds": { "x": 1 } });
    for (number, expected) in [
        ("1,000", 1000),
        ("12 345", 12345),
        ("1.234.567", 1_234_567),
        ("1500 300", 300),
        ("2000000", 2_000_000),
    ] {
        let table = json!({ "operations": [operation], "count_max": 2_000_000 });
        let estimate = estimate_by(settings(table), &format!("{number} files"));
        assert_eq!(estimate["x"], Decimal::from(expected), "{number}");
    }
}

#[test]
fn what_is_no_count_does_not_multiply() {
    for number in [
        "2024",
        "1999",
        "3.11",
        "1,5",
        "5%",
        "$5",
        "24/7",
        "10:30",
        "05",
        "v3",
        "3d",
        "2024-10-05",
        "2024-10",
        "5-3",
        "3-",
        "1000,000",
        "3.",
        "3)",
        "3:",
        "500 MB",
        "dois GB",
        "7 дней",
    ] {
        assert_eq!(count(&["files"], &format!("{number} files")), Decimal::ONE, "{number}");
    }
}

#[test]
fn nothing_reaches_across_the_end_of_a_clause() {
    assert_eq!(count(&["files"], "I have three. Send files"), Decimal::ONE);
    assert_eq!(count(&["base de dados"], "a base, de dados"), Decimal::ZERO);
    assert_eq!(count_after(&["create"], &["agent"], "create, agent"), Decimal::ZERO);
}

#[test]
fn what_an_operation_adds_once_is_not_multiplied() {
    let operation = json!({ "name": "x", "keywords": ["files"], "adds": { "x": 2 }, "once": { "x": 5, "y": 7 } });
    let estimate = |description| {
        let estimate = estimate_by(settings(json!({ "operations": [operation] })), description);
        [estimate["x"], estimate["y"]].map(|amount| amount.to_string())
    };
    assert_eq!(estimate("three files"), ["11", "7"]);
    assert_eq!(estimate("nothing"), ["0", "0"]);
}

#[test]
fn case_and_accents_are_folded_on_both_sides() {
    for keyword in ["relatório", "relatorio", "RELATÓRIO", "relato\u{301}rio"] {
        for description in ["Relatório", "relatorio", "RELATÓRIO", "relato\u{301}rio"] {
            assert_eq!(count(&[keyword], description), Decimal::ONE, "{keyword} {description}");
        }
    }
    for (keyword, description) in [
        ("отчет", "ОТЧЁТ"),
        ("отчёт", "отчет"),
        ("отчёт", "отче\u{308}т"),
        ("найди", "наи\u{306}ди"),
        ("traducao", "Tradução"),
        ("aeioucaooeu", "ÁÉÍÓÚÇãõÔêü"),
    ] {
        assert_eq!(count(&[keyword], description), Decimal::ONE, "{keyword} {description}");
    }
}

#[test]
fn a_star_matches_a_beginning_and_only_that() {
    for (keyword, description, expected) in [
        ("отчёт*", "отчётами", 1),
        ("отчёт*", "отчёт", 1),
        ("отчёт", "отчётами", 0),
        ("summar*", "summarise", 1),
        ("summar*", "sum", 0),
        ("summar*", "sumo", 0),
        ("traduzir", "traduzindo", 0),
        ("traduzi*", "traduzam", 0),
        ("traduzi*", "traduzindo", 1),
    ] {
        assert_eq!(
            count(&[keyword], description),
            Decimal::from(expected),
            "{keyword} {description}"
        );
    }
}

#[test]
fn keywords_that_begin_one_another_are_all_found() {
    let operation =
        |name: &str| json!({ "name": name, "keywords": [format!("{name}*")], "adds": { name: 1 } });
    let operations: Vec<_> = ["a", "ab", "abc", "abx", "abcdx", "b"].map(operation).into();
    let found = estimate_by(settings(json!({ "operations": operations })), "abcde");
    let found: Vec<_> = ["a", "ab", "abc", "abx", "abcdx", "b"]
        .into_iter()
        .filter(|name| !found[*name].is_zero())
        .collect();
    assert_eq!(found, ["a", "ab", "abc"]);
}

#[test]
fn a_phrase_matches_words_that_follow_one_another() {
    for (keyword, description, expected) in [
        ("banco* de dados", "três bancos de dados", 3),
        ("banco* de dados", "dados de banco", 0),
        ("banco* de dados", "banco grande de dados", 0),
        ("banco* de dados", "banco de", 0),
        ("баз* данных", "из базы данных", 1),
        ("base* dado*", "bases dados", 1),
        ("base* dado*", "bases adados", 0),
        ("e-mail*", "two E-Mails", 2),
        ("e-mail*", "e mail", 1),
    ] {
        assert_eq!(
            count(&[keyword], description),
            Decimal::from(expected),
            "{keyword} {description}"
        );
    }
}

#[test]
fn a_keyword_may_have_any_length() {
    let long = "x".repeat(1_000_000);
    assert_eq!(count(&[&long, &format!("{long}*")], "x"), Decimal::ZERO);
}

#[test]
fn a_keyword_inside_another_word_does_not_match() {
    assert_eq!(count(&["file"], "the profile"), Decimal::ZERO);
    assert_eq!(count(&["file*"], "the profiles"), Decimal::ZERO);
    assert_eq!(count(&["file"], "the file's end"), Decimal::ONE);
}

#[test]
fn a_guarded_keyword_needs_its_guard_shortly_before() {
    for (description, expected) in [
        ("create agents", 1),
        ("create three agents", 3),
        ("set up two new research agents", 1),
        ("set up one two three four agents", 0),
        ("ask the agents", 0),
        ("agents create", 0),
        ("ask agents to create nothing", 0),
    ] {
        let count = count_after(&["creat*", "set up"], &["agents"], description);
        assert_eq!(count, Decimal::from(expected), "{description}");
    }
}

#[test]
fn settings_add_an_operation_or_replace_one() {
    let description = "Water the plants and read two files";
    let before = estimate_by(EstimateSettings::default(), description);
    let water = json!({ "name": "water", "keywords": ["water*"], "adds": { "litres": "0.5" } });
    let added = estimate_by(settings(json!({ "extra_operations": [water] })), description);
    assert_eq!(added["litres"].to_string(), "0.5");
    assert_eq!(added["file_operations"], before["file_operations"]);

    let files = json!({ "name": "files", "keywords": [], "adds": {} });
    let replaced = estimate_by(settings(json!({ "extra_operations": [files] })), description);
    assert_eq!(before["file_operations"], Decimal::from(6));
    assert_eq!(replaced["file_operations"], Decimal::ZERO);
}

#[test]
fn no_settings_are_the_standard_ones() {
    assert_eq!(settings(json!({})), EstimateSettings::default());
    for golden in goldens() {
        assert_eq!(
            estimate_by(EstimateSettings::default(), &golden.description),
            estimate_by(EstimateSettings::standard().unwrap(), &golden.description),
        );
    }
}

#[test]
fn an_unknown_settings_key_is_refused() {
    assert!(refusal(json!({ "bases": {} })).contains("unknown field `bases`"));
    let operation = json!({ "name": "x", "keywords": [], "adds": {}, "add": {} });
    assert!(refusal(json!({ "operations": [operation] })).contains("unknown field `add`"));
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    let with = |keyword: &str| json!({ "operations": [{ "name": "x", "keywords": [keyword], "adds": {} }] });
    for keyword in ["", " ", "--", "*", "a *", "a*b", "a**", "\u{301}"] {
        assert_eq!(
            refusal(with(keyword)),
            format!(
                "settings: `{keyword}` in `x` matches nothing: \
                 write a word or several, `*` only at the end of one"
            ),
        );
    }
    for word in ["", "two dozen", "doz*"] {
        for table in [json!({ "numbers": { word: 2 } }), json!({ "measures": [word] })] {
            let refusal = refusal(table);
            assert!(refusal.ends_with("matches nothing: write one word, without `*`"), "{refusal}");
        }
    }
    let operation = json!({ "name": "x", "keywords": ["x"], "adds": {}, "once": { "m": -1 } });
    assert_eq!(
        refusal(json!({ "operations": [operation] })),
        "settings: `-1` of `m` in `x` lies below zero: write zero or more"
    );
    let refused = refusal(json!({ "base": { "LLM tokens": 1 } }));
    assert!(refused.contains("`LLM tokens` is not a meter: write"), "{refused}");
    let refused = refusal(json!({ "base": { "m": "-0.1" } }));
    assert!(refused.contains("`-0.1` of `m` in `base` lies below zero"), "{refused}");
    let operation =
        json!({ "name": "x", "keywords": ["x"], "adds": { "m": 20_000_000_000_000_u64 } });
    let refused = refusal(json!({ "operations": [operation] }));
    assert!(refused.starts_with("settings: amounts of `m`, with everything at `count_max`: "));
    for key in ["count_max", "bytes_per_token"] {
        assert!(refusal(json!({ key: 0 })).contains("nonzero"), "{key}");
    }
}

#[test]
fn a_description_has_its_longest_length() {
    let estimator = Estimator::new(EstimateSettings::default()).unwrap();
    estimator.estimate(&"x".repeat(DESCRIPTION_BYTES_MAX)).unwrap();
    let error = estimator.estimate(&"x".repeat(DESCRIPTION_BYTES_MAX + 1)).unwrap_err();
    assert!(matches!(error, EstimateError::TooLong(100_001)));
    assert_eq!(error.to_string(), "the description has `100001` bytes: shorten it to 100000");
}

#[test]
fn the_schema_names_every_setting() {
    let schema: serde_json::Value = serde_json::from_str(EstimateSettings::SCHEMA).unwrap();
    let standard = serde_json::to_value(EstimateSettings::standard().unwrap()).unwrap();
    let keys = |object: &serde_json::Value| -> Vec<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&schema["properties"]), keys(&standard));
    let operations = standard["operations"].as_array().unwrap();
    let full = operations.iter().max_by_key(|operation| keys(operation).len()).unwrap();
    assert_eq!(keys(&schema["$defs"]["operation"]["properties"]), keys(full));
}
