//! Amounts against integers of any length, which share nothing with the code that they check.
//!
//! 100,000 cases in all. `TOLLGATE_CASES=10000000` makes it a long run.

use std::cmp::Ordering;

use num_bigint::{BigInt, BigUint, Sign};
use proptest::prelude::*;
use proptest::sample::select;
use tollgate_policy_core::decimal::{Decimal, DecimalError, SCALE_MAX};
use tollgate_policy_core::money::{Currency, Money};

/// Of all properties together.
const CASES: u32 = 100_000;

/// 10^15 in units of 10^-12.
const END: u128 = 10_u128.pow(27);

/// So many per cent of the cases.
fn share(percent: u32) -> ProptestConfig {
    let raised = std::env::var("TOLLGATE_CASES").map_or(CASES, |cases| {
        cases.parse().expect("`TOLLGATE_CASES` is a number of cases, like 10000000")
    });
    ProptestConfig::with_cases(raised.max(CASES) / 100 * percent)
}

// The reference: an amount is an integer of units of 10^-12.

fn power(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// Whether amounts may be as large as this.
fn in_bounds(units: &BigInt) -> bool {
    *units.magnitude() < BigUint::from(END)
}

/// The canonical text of so many units.
fn text(units: &BigInt) -> String {
    let digits = format!("{:013}", units.magnitude());
    let (whole, fraction) = digits.split_at(digits.len() - 12);
    let fraction = fraction.trim_end_matches('0');
    let sign = if units.sign() == Sign::Minus { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// What an operation must come to whose exact result this is.
fn bounded(units: BigInt) -> Result<String, DecimalError> {
    if in_bounds(&units) { Ok(text(&units)) } else { Err(DecimalError::TooLarge) }
}

/// The digits of an amount without trailing zeros in its fraction, and how many are decimals.
fn significant(units: &BigInt) -> (BigUint, u32) {
    let (mut digits, mut decimals) = (units.magnitude().clone(), 12);
    while decimals > 0 && &digits % 10_u32 == BigUint::ZERO {
        digits /= 10_u32;
        decimals -= 1;
    }
    (digits, decimals)
}

/// `numerator / denominator`, rounded half to even.
fn half_to_even(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let (over, under) = (numerator.magnitude(), denominator.magnitude());
    let (quotient, rest) = (over / under, over % under);
    let up = match (rest * 2_u32).cmp(under) {
        Ordering::Less => false,
        Ordering::Equal => quotient.bit(0),
        Ordering::Greater => true,
    };
    BigInt::from_biguint(numerator.sign(), quotient + u32::from(up))
}

// What is generated.

/// Any length, any number of decimals, and the neighbours of what is special.
fn sizes() -> impl Strategy<Value = u128> {
    let any_length = (0..=27_u32).prop_flat_map(|digits| 0..10_u128.pow(digits));
    let rounder = (any_length.clone(), 0..=27_u32).prop_map(|(units, zeros)| {
        let step = 10_u128.pow(zeros);
        units / step * step
    });
    let special =
        vec![0, 1, 10_u128.pow(12), 10_u128.pow(24), 1 << 32, 1 << 64, 1 << 89, END / 2, END];
    let neighbour = (select(special), -3..=3_i128)
        .prop_map(|(units, away)| units.saturating_add_signed(away).min(END - 1));
    prop_oneof![4 => any_length, 3 => rounder, 2 => neighbour]
}

fn amounts() -> impl Strategy<Value = BigInt> {
    (any::<bool>(), sizes()).prop_map(|(negative, size)| {
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        BigInt::from_biguint(sign, size.into())
    })
}

/// Factors, a divisor and a number of decimals that meet in a half, or one unit beside it.
fn halves() -> impl Strategy<Value = (Vec<BigInt>, BigInt, u32)> {
    let odd = (0..10_i128.pow(9)).prop_map(|half| 2 * half + 1);
    (0..=12_u32, odd, 1..10_i128.pow(6), -1..=1_i128, any::<bool>(), any::<bool>()).prop_map(
        |(decimals, odd, common, away, negative, third)| {
            let unit = power(12);
            let odd = BigInt::from(odd) * power(12 - decimals) + away;
            let odd = if negative { -odd } else { odd };
            let mut factors = vec![odd, common * &unit];
            factors.extend(third.then(|| unit.clone()));
            (factors, 2 * common * unit, decimals)
        },
    )
}

fn quotients() -> impl Strategy<Value = (Vec<BigInt>, BigInt, u32)> {
    let anything = (prop::collection::vec(amounts(), 1..=3), amounts(), 0..=13_u32);
    // Small enough that the result often fits.
    let small = (any::<bool>(), 0..10_i128.pow(15))
        .prop_map(|(negative, units)| BigInt::from(if negative { -units } else { units }));
    let divisor = (0..=27_u32).prop_flat_map(|digits| 0..10_i128.pow(digits));
    let usual = (prop::collection::vec(small, 1..=3), divisor.prop_map(BigInt::from), 0..=12_u32);
    prop_oneof![2 => anything, 3 => usual, 3 => halves()]
}

/// A number literal, and what it stands for as digits × 10^exponent.
fn literals() -> impl Strategy<Value = (String, BigInt, i64)> {
    let exponent = prop_oneof![
        6 => (-45..=45_i32).boxed(),
        1 => select(&[i32::MIN, i32::MIN + 1, -1000, 1000, i32::MAX][..]).boxed(),
    ];
    let exponent = prop::option::of((exponent, select(&["e", "E"][..]), any::<bool>()));
    let digits = "0{0,3}[0-9]{1,16}|[0-9]{1,36}|[1-9]0{0,20}";
    (any::<bool>(), digits, prop::option::of("[0-9]{0,14}0{0,20}"), exponent).prop_map(
        |(negative, whole, fraction, exponent)| {
            let sign = if negative { "-" } else { "" };
            let fraction = fraction.filter(|fraction| !fraction.is_empty()).unwrap_or_default();
            let point = if fraction.is_empty() { "" } else { "." };
            let (written, exponent) = exponent.map_or((String::new(), 0), |(exponent, e, plus)| {
                let plus = if plus && exponent >= 0 { "+" } else { "" };
                (format!("{e}{plus}{exponent}"), i64::from(exponent))
            });
            let digits = format!("{sign}{whole}{fraction}").parse().unwrap();
            let literal = format!("{sign}{whole}{point}{fraction}{written}");
            (literal, digits, exponent - i64::try_from(fraction.len()).unwrap())
        },
    )
}

fn decimal(units: &BigInt) -> Decimal {
    text(units).parse().unwrap()
}

/// The text of a result, once it is shown to be the only form of its number.
fn shown(result: Result<Decimal, DecimalError>) -> Result<String, DecimalError> {
    result.map(|amount| {
        let text = amount.to_string();
        assert_eq!(text.parse(), Ok(amount));
        assert_eq!(Decimal::from_units(amount.units()), Ok(amount));
        assert_eq!(amount.is_zero(), text == "0");
        text
    })
}

proptest! {
    #![proptest_config(share(20))]

    #[test]
    fn sums_and_differences_are_exact_or_too_large(left in amounts(), right in amounts()) {
        let (l, r) = (decimal(&left), decimal(&right));
        prop_assert_eq!(shown(l.checked_add(r)), bounded(&left + &right));
        prop_assert_eq!(shown(l.checked_sub(r)), bounded(&left - &right));
        prop_assert_eq!(shown(Ok(l.negated())), bounded(-&left));
        prop_assert_eq!(shown(Ok(l.at_least_zero())), bounded(left.max(BigInt::ZERO)));
        let sum = Money::new(l, Currency::BRL).checked_add(Money::new(r, Currency::BRL));
        prop_assert_eq!(sum.ok().map(|sum| sum.amount), l.checked_add(r).ok());
        let difference = Money::new(l, Currency::BRL).checked_sub(Money::new(r, Currency::BRL));
        prop_assert_eq!(difference.ok().map(|rest| rest.amount), l.checked_sub(r).ok());
    }
}

proptest! {
    #![proptest_config(share(10))]

    #[test]
    fn products_are_exact_or_refused(
        (left, right) in prop_oneof![
            (amounts(), amounts()),
            // Few decimals each, so that half of the products fit.
            (amounts(), amounts()).prop_map(|(left, right)| {
                (left / power(14) * power(7), right / power(14) * power(5))
            }),
        ],
    ) {
        let product = &left * &right;
        let got = shown(decimal(&left).checked_mul(decimal(&right)));
        if &product % power(12) == BigInt::ZERO {
            prop_assert_eq!(got, bounded(product / power(12)));
        } else {
            prop_assert!(
                matches!(got, Err(DecimalError::TooPrecise | DecimalError::TooLarge)),
                "{got:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(share(35))]

    #[test]
    fn products_divided_are_rounded_once_and_half_to_even(
        (factors, divisor, decimals) in quotients(),
    ) {
        let amounts: Vec<Decimal> = factors.iter().map(decimal).collect();
        let got = shown(Decimal::mul_div(&amounts, decimal(&divisor), decimals));
        if divisor <= BigInt::ZERO {
            prop_assert_eq!(got, Err(DecimalError::ZeroDivisor));
        } else if decimals > SCALE_MAX {
            prop_assert_eq!(got, Err(DecimalError::TooPrecise));
        } else {
            let product: BigInt = factors.iter().product();
            let factor_count = u32::try_from(factors.len()).unwrap();
            let over = product * power(12 + decimals);
            let under = power(12 * factor_count) * &divisor;
            let wanted = bounded(half_to_even(&over, &under) * power(12 - decimals));
            // In between the digits of the factors meet in 256 bits; only beyond may it give up.
            let scale = decimals + significant(&divisor).1;
            let digits = factors.iter().map(|factor| significant(factor).0);
            let digits: BigUint = digits.filter(|digits| *digits != BigUint::ZERO).product();
            let too_long = (digits * BigUint::from(10_u32).pow(scale)).bits() > 256;
            prop_assert!(
                got == wanted || (too_long && got == Err(DecimalError::TooLarge)),
                "{got:?} {wanted:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(share(15))]

    #[test]
    fn amounts_and_products_compare_as_their_exact_values(
        left in sizes(),
        right in sizes(),
        any in amounts(),
        away in -1..=1_i32,
    ) {
        let (left, right) = (BigInt::from(left), BigInt::from(right));
        let product = &left * &right;
        let near = Some(&product / power(12) + away).filter(in_bounds);
        for units in near.iter().chain([&any]) {
            let amount = decimal(units);
            let wanted = (units * power(12)).cmp(&product);
            prop_assert_eq!(amount.cmp_product(decimal(&left), decimal(&right)), wanted);
            prop_assert_eq!(amount.cmp(&decimal(&left)), units.cmp(&left));
            prop_assert_eq!(amount == decimal(&left), *units == left);
            prop_assert_eq!(amount.is_negative(), *units < BigInt::ZERO);
        }
    }
}

proptest! {
    #![proptest_config(share(10))]

    #[test]
    fn a_literal_reads_as_its_number_or_not_at_all((literal, digits, exponent) in literals()) {
        let units = if digits == BigInt::ZERO {
            Some(BigInt::ZERO)
        } else {
            // Literals have at most 72 digits, so that beyond 100 nothing can fit.
            match i32::try_from(exponent + 12) {
                Ok(up @ 0..=100) => Some(digits * power(up.unsigned_abs())),
                Ok(down @ -100..0) => {
                    let down = power(down.unsigned_abs());
                    (&digits % &down == BigInt::ZERO).then(|| digits / down)
                }
                _ => None,
            }
        };
        let got = literal.parse::<Decimal>();
        match units.filter(in_bounds) {
            Some(units) => {
                prop_assert_eq!(shown(got), Ok(text(&units)), "{}", literal);
                let json: Decimal = serde_json::from_str(&format!("\"{literal}\"")).unwrap();
                prop_assert_eq!(serde_json::to_string(&json).unwrap(), format!("\"{json}\""));
                prop_assert_eq!(json.to_string(), text(&units));
            }
            None => prop_assert!(
                matches!(got, Err(DecimalError::TooPrecise | DecimalError::TooLarge)),
                "{literal} {got:?}"
            ),
        }
    }
}

proptest! {
    #![proptest_config(share(5))]

    #[test]
    fn every_amount_has_one_text_and_one_number_of_units(units in amounts()) {
        let amount: Decimal = text(&units).parse().unwrap();
        prop_assert_eq!(amount.to_string(), text(&units));
        prop_assert_eq!(BigInt::from(amount.units()), units.clone());
        prop_assert_eq!(Decimal::try_from(rust_decimal::Decimal::from(amount)), Ok(amount));
        let negative = units.sign() == Sign::Minus;
        for scale in 0..=16_u32 {
            let up = BigUint::from(10_u32).pow(scale);
            let digits = units.magnitude() * &up;
            if &digits % 10_u64.pow(12) != BigUint::ZERO {
                continue;
            }
            let Ok(digits) = u128::try_from(digits / 10_u64.pow(12)) else { continue };
            prop_assert_eq!(Decimal::new(negative, digits, scale), Ok(amount));
        }
    }

    #[test]
    fn digits_and_units_are_taken_within_the_bounds_or_not_at_all(
        negative in any::<bool>(),
        digits in prop_oneof![sizes(), any::<u128>()],
        scale in prop_oneof![9 => (0..=50_u32).boxed(), 1 => any::<u32>().boxed()],
        units in any::<i128>(),
    ) {
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        let signed = BigInt::from_biguint(sign, digits.into());
        let wanted = match scale.checked_sub(12) {
            _ if digits == 0 => Some(signed),
            None | Some(0) => Some(signed * power(12 - scale)),
            Some(down @ 1..=40) => {
                (&signed % power(down) == BigInt::ZERO).then(|| signed / power(down))
            }
            Some(_) => None,
        };
        let got = Decimal::new(negative, digits, scale);
        prop_assert_eq!(shown(got).ok(), wanted.filter(in_bounds).map(|units| text(&units)));
        let wanted = Some(BigInt::from(units)).filter(in_bounds);
        prop_assert_eq!(Decimal::from_units(units).ok().map(|got| got.units().into()), wanted);
    }
}

proptest! {
    #![proptest_config(share(5))]

    #[test]
    fn no_text_panics_and_what_reads_is_canonical_and_in_bounds(
        written in prop_oneof!["[-+0-9.eE]{0,14}", "\\PC{0,12}", "[0-9]{0,200}"],
    ) {
        if let Ok(amount) = written.parse::<Decimal>() {
            let text = shown(Ok(amount)).unwrap();
            prop_assert!(text.split_once('.').is_none_or(|(_, fraction)| fraction.len() <= 12));
            prop_assert!(text.trim_start_matches('-').split('.').next().unwrap().len() <= 15);
        }
    }
}

fn parse(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn the_bounds_are_met_from_both_sides() {
    let (last, unit) = (parse("999999999999999.999999999999"), parse("0.000000000001"));
    assert_eq!(last.to_string(), "999999999999999.999999999999");
    assert_eq!(last.checked_add(unit), Err(DecimalError::TooLarge));
    assert_eq!(last.negated().checked_sub(unit), Err(DecimalError::TooLarge));
    assert_eq!(last.checked_add(last), Err(DecimalError::TooLarge));
    assert_eq!(last.checked_sub(unit), Ok(parse("999999999999999.999999999998")));
    assert_eq!(last.checked_sub(last), Ok(Decimal::ZERO));
    assert_eq!(last.checked_mul(Decimal::ONE), Ok(last));
    assert_eq!(Decimal::mul_div(&[last], Decimal::ONE, 12), Ok(last));
    assert_eq!(Decimal::mul_div(&[last], Decimal::ONE, 11), Err(DecimalError::TooLarge));
    assert_eq!(Decimal::mul_div(&[last], unit, 12), Err(DecimalError::TooLarge));
    for (text, error) in [
        ("1000000000000000", DecimalError::TooLarge),
        ("-1000000000000000", DecimalError::TooLarge),
        ("999999999999999.9999999999999", DecimalError::TooPrecise),
        ("0.0000000000001", DecimalError::TooPrecise),
    ] {
        assert_eq!(text.parse::<Decimal>(), Err(error), "{text}");
    }
    assert_eq!(Decimal::try_from(999_999_999_999_999_u64), Ok(parse("999999999999999")));
    assert_eq!(Decimal::try_from(1_000_000_000_000_000_u64), Err(DecimalError::TooLarge));
    assert_eq!(Decimal::try_from(u64::MAX), Err(DecimalError::TooLarge));
}

/// `rust_decimal` holds 28 digits and drops what lies beyond them without a word.
#[test]
fn digits_that_rust_decimal_would_drop_are_refused_or_kept() {
    let large = rust_decimal::Decimal::from_str_exact("1234567.89").unwrap();
    let tiny = rust_decimal::Decimal::from_str_exact("0.06000000000000000000000001").unwrap();
    let dropped = rust_decimal::Decimal::from_str_exact("1234567.95").unwrap();
    assert_eq!(large.checked_add(tiny), Some(dropped));
    assert_eq!(Decimal::try_from(tiny), Err(DecimalError::TooPrecise));
    let tiny = "0.06000000000000000000000001".parse::<Decimal>();
    assert_eq!(tiny, Err(DecimalError::TooPrecise));
    let sum = parse("1234567.89").checked_add(parse("0.060000000001")).unwrap();
    assert_eq!(sum.to_string(), "1234567.950000000001");
}

#[test]
fn nothing_is_not_negative() {
    let zeros = [
        parse("-0"),
        parse("-0.000"),
        parse("-0e5"),
        Decimal::ZERO.negated(),
        parse("-2.5").checked_add(parse("2.5")).unwrap(),
        parse("-2.5").checked_mul(Decimal::ZERO).unwrap(),
        Decimal::mul_div(&[parse("-0.4")], Decimal::ONE, 0).unwrap(),
        Decimal::new(true, 0, 7).unwrap(),
        Decimal::try_from(rust_decimal::Decimal::new(0, 5)).unwrap(),
    ];
    for zero in zeros {
        assert_eq!((zero, zero.is_negative(), zero.units()), (Decimal::ZERO, false, 0));
        assert_eq!(zero.to_string(), "0");
    }
}

#[test]
fn an_exchange_rounds_once_half_to_even_and_changes_the_currency() {
    let cost = Money::new(parse("0.000000000005"), Currency::USD);
    for (rate, amount) in [("5.5", "0.000000000028"), ("0.5", "0.000000000002"), ("0", "0")] {
        let converted = cost.convert(parse(rate), Currency::BRL).unwrap();
        assert_eq!(converted, Money::new(parse(amount), Currency::BRL), "{rate}");
    }
    let last = Money::new(parse("999999999999999"), Currency::USD);
    assert!(last.convert(parse("1.1"), Currency::BRL).is_err());
}

/// 2^12 · k × 5^12 · m: more than 128 bits, until twelve zeros are cut off again.
#[test]
fn a_product_that_fits_is_never_refused() {
    let (left, right) = (parse("19000000.000000004096"), parse("19000000.000244140625"));
    assert_eq!(left.checked_mul(right), Ok(parse("361000000004638.749699000001")));
}

#[test]
fn the_error_names_the_bound_that_is_passed() {
    let ones = "1".repeat(40);
    assert_eq!(ones.parse::<Decimal>(), Err(DecimalError::TooLarge));
    let long = parse("12345678.123456789012");
    assert_eq!(long.checked_mul(long), Err(DecimalError::TooPrecise));
    assert_eq!("1e99999999999".parse::<Decimal>(), Err(DecimalError::TooLarge));
    assert_eq!(format!("{ones}.1").parse::<Decimal>(), Err(DecimalError::TooPrecise));
}

#[test]
fn what_is_no_number_is_named_as_far_as_people_read() {
    for text in ["0e5x", "1e-5x", "1e5 ", "1e", "1e+", "1e--5"] {
        assert_eq!(text.parse::<Decimal>(), Err(DecimalError::Malformed(text.into())), "{text}");
    }
    let (long, shown) = ("x".repeat(50), "x".repeat(40));
    assert_eq!(long.parse::<Decimal>(), Err(DecimalError::Malformed(shown.clone())));
    let currency = long.parse::<Currency>().map_err(|error| error.to_string());
    assert!(currency.is_err_and(|words| words.contains(&format!("`{shown}`"))));
}

/// What is multiplied has no more digits than it needs.
#[test]
fn many_short_factors_fit() {
    let two = parse("2");
    assert_eq!(Decimal::mul_div(&[two; 8], Decimal::ONE, 12), Ok(parse("256")));
    assert_eq!(Decimal::mul_div(&[Decimal::ONE; 80], Decimal::ONE, 12), Ok(Decimal::ONE));
}

#[test]
fn nothing_is_nothing_however_many_decimals_are_named() {
    assert_eq!(Decimal::new(true, 0, u32::MAX), Ok(Decimal::ZERO));
}
