//! Exact decimals: at most 12 decimals, below 10^15, always in canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use ethnum::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most decimals an amount has.
pub const SCALE_MAX: u32 = 12;

/// 10^12: one, in units of 10^-12.
const ONE: i128 = 1_000_000_000_000;

/// 10^27: amounts lie below it, in units of 10^-12.
const END: u128 = 1_000_000_000_000_000_000_000_000_000;

/// An exact decimal number: a count of 10^-12. Adding, subtracting and comparing lose nothing; only
/// [`Decimal::mul_div`] rounds, once, half to even.
///
/// The bounds keep every amount within the 28 digits that `rust_decimal` holds exactly, and every
/// sum within a machine's integers; beyond them `rust_decimal` drops digits without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

/// Why something is not a decimal that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a number at all.
    #[error("`{0}` is not a decimal number: write it like `12.5`")]
    Malformed(String),
    /// A non-zero digit after the twelfth decimal.
    #[error("more than 12 decimals: round the amount first")]
    TooPrecise,
    /// 10^15 or more.
    #[error("an amount of 10^15 or more: amounts lie below that")]
    TooLarge,
    /// A division by zero, or by less.
    #[error("divided by an amount that is not above zero")]
    ZeroDivisor,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One.
    pub const ONE: Self = Self(ONE);
    /// The greatest.
    pub const MAX: Self = Self(999_999_999_999_999_999_999_999_999);
    /// One hundred.
    pub const HUNDRED: Self = Self::hundredths(10_000);

    /// So many hundredths of one.
    #[must_use]
    pub const fn hundredths(count: u32) -> Self {
        Self((count as i128).wrapping_mul(ONE / 100))
    }

    /// ±coefficient × 10^-scale.
    pub fn new(negative: bool, coefficient: u128, scale: u32) -> Result<Self, DecimalError> {
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        let units = if scale <= SCALE_MAX {
            pow10(SCALE_MAX.saturating_sub(scale))
                .and_then(|power| coefficient.checked_mul(power))
                .ok_or(DecimalError::TooLarge)?
        } else {
            pow10(scale.saturating_sub(SCALE_MAX))
                .filter(|power| coefficient.is_multiple_of(*power))
                .and_then(|power| coefficient.checked_div(power))
                .ok_or(DecimalError::TooPrecise)?
        };
        Self::from_magnitude(negative, units)
    }

    /// So many units of 10^-12: the way in for what a component returns.
    pub fn from_units(units: i128) -> Result<Self, DecimalError> {
        if units.unsigned_abs() < END { Ok(Self(units)) } else { Err(DecimalError::TooLarge) }
    }

    fn from_magnitude(negative: bool, units: u128) -> Result<Self, DecimalError> {
        let units = i128::try_from(units).map_err(|_| DecimalError::TooLarge)?;
        Self::from_units(if negative { units.wrapping_neg() } else { units })
    }

    /// How many units of 10^-12 it is.
    #[must_use]
    pub fn units(self) -> i128 {
        self.0
    }

    /// Its digits without trailing zeros, and how many of them are decimals.
    fn significant(self) -> (u128, u32) {
        let (mut digits, mut scale) = (self.0.unsigned_abs(), SCALE_MAX);
        // Dividing 128 bits is slow in a component.
        if let Ok(mut small) = u64::try_from(digits) {
            while scale > 0 && small.is_multiple_of(10) {
                small /= 10;
                scale = scale.saturating_sub(1);
            }
            return (small.into(), scale);
        }
        while scale > 0 && digits.is_multiple_of(10) {
            digits /= 10;
            scale = scale.saturating_sub(1);
        }
        (digits, scale)
    }

    /// Its whole part, rounded towards zero: at most fifteen digits.
    #[must_use]
    pub fn whole(self) -> i64 {
        let whole = self.0.checked_div(ONE).unwrap_or_default();
        i64::try_from(whole).unwrap_or_default()
    }

    /// Whether it lies below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, DecimalError> {
        Self::from_units(self.0.wrapping_add(other.0))
    }

    /// The sum, or of what does not fit the nearest that does: for figures by which nothing is decided.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0).clamp(Self::MAX.0.wrapping_neg(), Self::MAX.0))
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Result<Self, DecimalError> {
        Self::from_units(self.0.wrapping_sub(other.0))
    }

    /// The product, which must be exact.
    pub fn checked_mul(self, other: Self) -> Result<Self, DecimalError> {
        let one = U256::new(ONE.unsigned_abs());
        let product = self.magnitude().wrapping_mul(other.magnitude());
        if product.checked_rem(one) != Some(U256::ZERO) {
            return Err(DecimalError::TooPrecise);
        }
        let units = product.checked_div(one).unwrap_or_default();
        let units = u128::try_from(units).map_err(|_| DecimalError::TooLarge)?;
        Self::from_magnitude(self.is_negative() != other.is_negative(), units)
    }

    fn magnitude(self) -> U256 {
        U256::new(self.0.unsigned_abs())
    }

    /// The other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.wrapping_neg())
    }

    /// Itself, or zero where it lies below.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        if self.is_negative() { Self::ZERO } else { self }
    }

    /// The product of `factors` divided by `divisor`, rounded once, half to even, to `decimals`
    /// (at most 12). Exact in between: 256 bits, and an error where they do not suffice.
    pub fn mul_div(factors: &[Self], divisor: Self, decimals: u32) -> Result<Self, DecimalError> {
        if divisor <= Self::ZERO {
            return Err(DecimalError::ZeroDivisor);
        }
        if decimals > SCALE_MAX {
            return Err(DecimalError::TooPrecise);
        }
        let mut negative = false;
        let (divisor, divisor_scale) = divisor.significant();
        let mut numerator = pow10(decimals.saturating_add(divisor_scale))
            .map(U256::new)
            .ok_or(DecimalError::TooLarge)?;
        let mut scale = 0_u32;
        for factor in factors {
            negative ^= factor.is_negative();
            let (digits, decimals) = factor.significant();
            scale = scale.saturating_add(decimals);
            numerator = numerator.checked_mul(U256::new(digits)).ok_or(DecimalError::TooLarge)?;
        }
        let denominator = U256::new(10)
            .checked_pow(scale)
            .and_then(|power| power.checked_mul(U256::new(divisor)))
            .ok_or(DecimalError::TooLarge)?;
        let (Some(quotient), Some(rest)) =
            (numerator.checked_div(denominator), numerator.checked_rem(denominator))
        else {
            return Err(DecimalError::ZeroDivisor);
        };
        let up = match denominator.checked_sub(rest).map(|gap| rest.cmp(&gap)) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => quotient & U256::ONE == U256::ONE,
            _ => false,
        };
        let rounded = u128::try_from(quotient)
            .ok()
            .and_then(|quotient| quotient.checked_add(u128::from(up)))
            .ok_or(DecimalError::TooLarge)?;
        Self::new(negative, rounded, decimals)
    }

    /// Compares with the exact product of two numbers that are not negative.
    #[must_use]
    pub fn cmp_product(self, left: Self, right: Self) -> Ordering {
        if self.is_negative() {
            return Ordering::Less;
        }
        let (own, left, right) =
            (self.0.unsigned_abs(), left.0.unsigned_abs(), right.0.unsigned_abs());
        let one = ONE.unsigned_abs();
        // 128 bits suffice but for the largest amounts, and are an order of magnitude faster in a
        // component.
        let fits = |left: u128, right: u128| {
            left.leading_zeros().saturating_add(right.leading_zeros()) >= u128::BITS
        };
        if fits(own, one) && fits(left, right) {
            return own.wrapping_mul(one).cmp(&left.wrapping_mul(right));
        }
        let wide = |left, right| U256::new(left).wrapping_mul(U256::new(right));
        wide(own, one).cmp(&wide(left, right))
    }

    /// With exactly `decimals` of them, as people read money: `500.00`.
    pub fn to_fixed(self, decimals: u32) -> Result<String, DecimalError> {
        let rounded = Self::mul_div(&[self], Self::ONE, decimals)?;
        Ok(format!("{:.1$}", rust_decimal::Decimal::from(rounded), decimals as usize))
    }
}

/// An exponent of any length; beyond a million its size makes no difference.
fn parse_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i32>().unwrap_or(i32::MAX).min(1_000_000);
    Some(if text.starts_with('-') { size.saturating_neg() } else { size })
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "worked out by the compiler, which would stop at a wrong index"
)]
const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < powers.len() {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// 10^exponent, for exponents up to 38.
fn pow10(exponent: u32) -> Option<u128> {
    POWERS.get(exponent as usize).copied()
}

impl From<u32> for Decimal {
    fn from(value: u32) -> Self {
        Self(i128::from(value).wrapping_mul(ONE))
    }
}

impl TryFrom<u64> for Decimal {
    type Error = DecimalError;

    fn try_from(value: u64) -> Result<Self, DecimalError> {
        Self::new(false, u128::from(value), 0)
    }
}

impl TryFrom<rust_decimal::Decimal> for Decimal {
    type Error = DecimalError;

    fn try_from(value: rust_decimal::Decimal) -> Result<Self, DecimalError> {
        Self::new(value.is_sign_negative(), value.mantissa().unsigned_abs(), value.scale())
    }
}

impl From<Decimal> for rust_decimal::Decimal {
    fn from(value: Decimal) -> Self {
        let units = value.0.unsigned_abs();
        // The bounds keep it within 96 bits.
        let (low, middle, high) = (units as u32, (units >> 32) as u32, (units >> 64) as u32);
        Self::from_parts(low, middle, high, value.is_negative(), SCALE_MAX).normalize()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        rust_decimal::Decimal::from(*self).fmt(f)
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    /// `12.5`, `-3`, and number literals with an exponent such as `2.5e-06`, read digit by digit
    /// and never through a float.
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let malformed = || DecimalError::Malformed(text.chars().take(40).collect());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => {
                (mantissa, parse_exponent(exponent).ok_or_else(malformed)?)
            }
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty()
            || digits.ends_with('.')
            || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
        {
            return Err(malformed());
        }
        let decimals = i32::try_from(fraction.len()).map_err(|_| malformed())?;
        let mut scale = decimals.saturating_sub(exponent);
        let mut coefficient = 0_u128;
        // Trailing zeros must not count against the digits that can be held.
        let all = format!("{whole}{fraction}");
        let significant = all.trim_end_matches('0');
        for digit in significant.chars().filter_map(|digit| digit.to_digit(10)) {
            coefficient = coefficient
                .checked_mul(10)
                .and_then(|value| value.checked_add(u128::from(digit)))
                .ok_or(if scale > 0 { DecimalError::TooPrecise } else { DecimalError::TooLarge })?;
        }
        if coefficient == 0 {
            return Ok(Self::ZERO);
        }
        let dropped = all.len().saturating_sub(significant.len());
        scale = scale.saturating_sub(i32::try_from(dropped).map_err(|_| malformed())?);
        if scale < 0 {
            coefficient = pow10(scale.unsigned_abs())
                .and_then(|power| coefficient.checked_mul(power))
                .ok_or(DecimalError::TooLarge)?;
        }
        Self::new(negative, coefficient, u32::try_from(scale).unwrap_or(0))
    }
}

impl Serialize for Decimal {
    /// For people a string, since a JSON number is a float to most readers; units otherwise.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// From people a string or a number literal; units otherwise.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Self::from_units(i128::deserialize(deserializer)?).map_err(de::Error::custom);
        }
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::String(text) => text,
            other => return Err(de::Error::custom(format!("`{other}` is not a decimal number"))),
        };
        text.parse().map_err(|error| de::Error::custom(format!("`{text}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn every_way_to_write_a_number_gives_its_canonical_form() {
        for (written, canonical) in [
            ("0", "0"),
            ("-0.00", "0"),
            ("100.00", "100"),
            ("2.5e-06", "0.0000025"),
            ("1E3", "1000"),
            ("1000e-3", "1"),
            ("0.1000000000000000000000000000000000000000000000", "0.1"),
            ("999999999999999.999999999999", "999999999999999.999999999999"),
            ("000012", "12"),
        ] {
            assert_eq!(decimal(written).to_string(), canonical, "{written}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_never_rounded() {
        use DecimalError::{Malformed, TooLarge, TooPrecise};
        for text in ["", ".", "1.", ".5", "1e", "+1", "1,5", "NaN", "٣", "--1", "1 "] {
            assert_eq!(text.parse::<Decimal>(), Err(Malformed(text.into())));
        }
        for text in ["1000000000000000", "1e15", "1e2147483647", "-1e15"] {
            assert_eq!(text.parse::<Decimal>(), Err(TooLarge), "{text}");
        }
        for text in ["0.0000000000001", "1e-13", "1e-2147483647"] {
            assert_eq!(text.parse::<Decimal>(), Err(TooPrecise), "{text}");
        }
    }

    #[test]
    fn figures_end_at_the_greatest_amount_on_either_side() {
        let most = decimal("999999999999999.999999999999");
        assert_eq!(Decimal::MAX, most);
        assert_eq!(most.saturating_add(Decimal::ONE), most);
        assert_eq!(most.negated().saturating_add(Decimal::ONE.negated()), most.negated());
        assert_eq!(most.saturating_add(most.negated()), Decimal::ZERO);
        assert_eq!(decimal("-0.5").saturating_add(Decimal::ONE), decimal("0.5"));
    }

    #[test]
    fn halves_round_to_even() {
        let third = Decimal::from(3);
        let eight = Decimal::from(8);
        for (value, divisor, decimals, expected) in [
            (decimal("1"), third, 12, "0.333333333333"),
            (decimal("2"), third, 12, "0.666666666667"),
            (decimal("1"), eight, 2, "0.12"),
            (decimal("3"), eight, 2, "0.38"),
            (decimal("-1"), eight, 2, "-0.12"),
            (decimal("0.000000000001"), Decimal::from(2), 12, "0"),
            (decimal("0.000000000003"), Decimal::from(2), 12, "0.000000000002"),
        ] {
            let got = Decimal::mul_div(&[value], divisor, decimals).unwrap();
            assert_eq!(got.to_string(), expected, "{value} / {divisor}");
        }
    }

    #[test]
    fn json_takes_strings_and_literals_and_gives_strings() {
        let read: Vec<Decimal> = serde_json::from_str(r#"[0.1, "0.1", 2.5e-06, 100.00]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["0.1","0.1","0.0000025","100"]"#);
        assert!(serde_json::from_str::<Decimal>("true").is_err());
        assert!(serde_json::from_str::<Decimal>("0.12345678901234567").is_err());
    }

    #[test]
    fn fixed_decimals_are_for_people() {
        assert_eq!(decimal("500").to_fixed(2).unwrap(), "500.00");
        assert_eq!(decimal("80.05").to_fixed(1).unwrap(), "80.0");
        assert_eq!(decimal("-0.004").to_fixed(2).unwrap(), "0.00");
    }

    #[test]
    fn the_whole_part_is_rounded_towards_zero() {
        for (text, whole) in [("0.999999999999", 0), ("10.9", 10), ("-1.5", -1), ("-0.5", 0)] {
            assert_eq!(decimal(text).whole(), whole);
        }
        assert_eq!(Decimal::MAX.whole(), 999_999_999_999_999);
    }
}
