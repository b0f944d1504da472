//! Exact decimals: at most 12 decimals, below 10^15, always in canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use ethnum::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most decimals an amount has.
pub const SCALE_MAX: u32 = 12;

/// Amounts lie below 10^15.
const WHOLE_DIGITS: u32 = 15;

/// An exact decimal number. Adding, subtracting and comparing lose nothing; only
/// [`Decimal::mul_div`] rounds, once, half to even.
///
/// The bounds keep every sum within the 28 digits that `rust_decimal` holds exactly: beyond
/// them its checked addition drops digits without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(rust_decimal::Decimal);

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
    /// The same number in another form than the canonical one.
    #[error("not in canonical form: no trailing zeros, and no negative zero")]
    NotCanonical,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Self = Self(rust_decimal::Decimal::ZERO);
    /// One.
    pub const ONE: Self = Self(rust_decimal::Decimal::ONE);
    /// One hundred.
    pub const HUNDRED: Self = Self(rust_decimal::Decimal::ONE_HUNDRED);

    /// ±coefficient × 10^-scale.
    pub fn new(negative: bool, coefficient: u128, scale: u32) -> Result<Self, DecimalError> {
        let (coefficient, scale) = stripped(coefficient, scale);
        Self::from_canonical(negative && coefficient != 0, coefficient, scale)
    }

    /// The same, where any form but the canonical one is an error: the way in for what a
    /// component returns.
    pub fn from_canonical(
        negative: bool,
        coefficient: u128,
        scale: u32,
    ) -> Result<Self, DecimalError> {
        if stripped(coefficient, scale).1 != scale || (negative && coefficient == 0) {
            return Err(DecimalError::NotCanonical);
        }
        if scale > SCALE_MAX {
            return Err(DecimalError::TooPrecise);
        }
        if coefficient >= pow10(WHOLE_DIGITS.saturating_add(scale)) {
            return Err(DecimalError::TooLarge);
        }
        // The bound keeps the coefficient below 10^27, that is within 96 bits.
        let (low, middle, high) =
            (coefficient as u32, (coefficient >> 32) as u32, (coefficient >> 64) as u32);
        Ok(Self(rust_decimal::Decimal::from_parts(low, middle, high, negative, scale)))
    }

    /// The digits without the point: the number is ±coefficient × 10^-scale.
    #[must_use]
    pub fn coefficient(self) -> u128 {
        self.0.mantissa().unsigned_abs()
    }

    /// How many decimals it has.
    #[must_use]
    pub fn scale(self) -> u32 {
        self.0.scale()
    }

    /// Whether it lies below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative()
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The sum.
    pub fn checked_add(self, other: Self) -> Result<Self, DecimalError> {
        if let Some(sum) = self.add_small(other) {
            return sum;
        }
        let sum = self.0.checked_add(other.0).ok_or(DecimalError::TooLarge)?;
        Self::try_from(sum)
    }

    /// The sum of two that fit into 64 bits, as nearly all do: a component adds them an order of
    /// magnitude faster.
    fn add_small(self, other: Self) -> Option<Result<Self, DecimalError>> {
        let (left, right) = (self.small()?, other.small()?);
        let scale = self.scale().max(other.scale());
        let left = left.checked_mul(pow10_small(scale.saturating_sub(self.scale()))?)?;
        let right = right.checked_mul(pow10_small(scale.saturating_sub(other.scale()))?)?;
        let sum = left.checked_add(right)?;
        Some(Self::new(sum.is_negative(), u128::from(sum.unsigned_abs()), scale))
    }

    /// The signed coefficient, where it is small enough for one machine word.
    fn small(self) -> Option<i64> {
        let parts = self.0.unpack();
        let coefficient = i64::from(parts.lo) | i64::from(parts.mid) << 32;
        match parts {
            parts if parts.hi != 0 || coefficient.is_negative() => None,
            parts if parts.negative => Some(coefficient.wrapping_neg()),
            _ => Some(coefficient),
        }
    }

    /// The difference.
    pub fn checked_sub(self, other: Self) -> Result<Self, DecimalError> {
        self.checked_add(other.negated())
    }

    /// The product, which must be exact.
    pub fn checked_mul(self, other: Self) -> Result<Self, DecimalError> {
        // Two coefficients below 10^27 make one below 10^54, which 256 bits hold.
        let mut product =
            U256::new(self.coefficient()).wrapping_mul(U256::new(other.coefficient()));
        let mut scale = self.scale().saturating_add(other.scale());
        let ten = U256::new(10);
        while scale > SCALE_MAX && product.checked_rem(ten) == Some(U256::ZERO) {
            product = product.checked_div(ten).unwrap_or_default();
            scale = scale.saturating_sub(1);
        }
        if scale > SCALE_MAX {
            return Err(DecimalError::TooPrecise);
        }
        let coefficient = u128::try_from(product).map_err(|_| DecimalError::TooLarge)?;
        Self::new(self.is_negative() != other.is_negative(), coefficient, scale)
    }

    /// The other sign.
    #[must_use]
    pub fn negated(mut self) -> Self {
        if !self.is_zero() {
            self.0.set_sign_negative(!self.is_negative());
        }
        self
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
        let mut numerator = U256::new(pow10(decimals.saturating_add(divisor.scale())));
        let mut scale = 0_u32;
        for factor in factors {
            negative ^= factor.is_negative();
            scale = scale.saturating_add(factor.scale());
            numerator = numerator
                .checked_mul(U256::new(factor.coefficient()))
                .ok_or(DecimalError::TooLarge)?;
        }
        let denominator = U256::new(10)
            .checked_pow(scale)
            .and_then(|power| power.checked_mul(U256::new(divisor.coefficient())))
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
        let scale = left.scale().saturating_add(right.scale());
        if let Some(ordering) = self.cmp_product_small(left, right, scale) {
            return ordering;
        }
        // Each side lies below 10^27 · 10^27 · 10^24, which 256 bits hold.
        let product = U256::new(left.coefficient())
            .wrapping_mul(U256::new(right.coefficient()))
            .wrapping_mul(U256::new(pow10(self.scale().saturating_sub(scale))));
        U256::new(self.coefficient())
            .wrapping_mul(U256::new(pow10(scale.saturating_sub(self.scale()))))
            .cmp(&product)
    }

    fn cmp_product_small(self, left: Self, right: Self, scale: u32) -> Option<Ordering> {
        let product = left.small()?.checked_mul(right.small()?)?;
        let product = product.checked_mul(pow10_small(self.scale().saturating_sub(scale))?)?;
        let own = self.small()?.checked_mul(pow10_small(scale.saturating_sub(self.scale()))?)?;
        Some(own.cmp(&product))
    }

    /// With exactly `decimals` of them, as people read money: `500.00`.
    pub fn to_fixed(self, decimals: u32) -> Result<String, DecimalError> {
        let rounded = Self::mul_div(&[self], Self::ONE, decimals)?;
        Ok(format!("{:.1$}", rounded.0, decimals as usize))
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

/// Without trailing zeros in the fraction.
fn stripped(coefficient: u128, scale: u32) -> (u128, u32) {
    if coefficient == 0 {
        return (0, 0);
    }
    let mut scale = scale;
    // Dividing 128 bits is slow in a component, and hardly ever needed.
    if let Ok(mut small) = u64::try_from(coefficient) {
        while scale > 0 && small.is_multiple_of(10) {
            small /= 10;
            scale = scale.saturating_sub(1);
        }
        return (u128::from(small), scale);
    }
    let mut coefficient = coefficient;
    while scale > 0 && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        scale = scale.saturating_sub(1);
    }
    (coefficient, scale)
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

/// 10^exponent for exponents up to 38; larger ones do not occur among canonical decimals.
fn pow10(exponent: u32) -> u128 {
    POWERS.get(exponent as usize).copied().unwrap_or(u128::MAX)
}

fn pow10_small(exponent: u32) -> Option<i64> {
    i64::try_from(pow10(exponent)).ok()
}

impl From<u32> for Decimal {
    fn from(value: u32) -> Self {
        Self(value.into())
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
        value.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
            coefficient = (scale > -16)
                .then(|| pow10(scale.unsigned_abs()))
                .and_then(|power| coefficient.checked_mul(power))
                .ok_or(DecimalError::TooLarge)?;
        }
        Self::new(negative, coefficient, u32::try_from(scale).unwrap_or(0))
    }
}

impl Serialize for Decimal {
    /// A string, since a JSON number is a float to most readers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// A string or a number literal.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
    fn a_component_cannot_hand_in_another_form_of_the_same_number() {
        assert_eq!(Decimal::from_canonical(false, 10, 1), Err(DecimalError::NotCanonical));
        assert_eq!(Decimal::from_canonical(true, 0, 0), Err(DecimalError::NotCanonical));
        assert_eq!(Decimal::from_canonical(false, u128::MAX, 0), Err(DecimalError::TooLarge));
        assert_eq!(Decimal::from_canonical(false, 1, 13), Err(DecimalError::TooPrecise));
        assert_eq!(Decimal::from_canonical(true, 15, 1), Ok(decimal("-1.5")));
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
}
