//! Where spending leads at the pace of its window so far.

use chrono::{DateTime, NaiveDate};
use ethnum::U256;
use serde::Deserialize;

use crate::contract::{Fact, Reading, Value, fact};
use crate::decimal::Decimal;
use crate::window::Instant;

const MINUTE_MS: i64 = 60_000;

/// Whether, and from when on, spending is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Forecast {
    /// Off: nothing is forecast.
    pub enabled: bool,
    /// So much of the window must have passed, as a fraction: before that a pace says little.
    pub after: Decimal,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "`forecast` takes `true`, `false` or an object with `enabled` and `after`")]
enum Written {
    Flag(bool),
    Object(WrittenForecast),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenForecast {
    enabled: Option<bool>,
    after: Option<Decimal>,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { enabled: true, after: Decimal::hundredths(10) }
    }
}

impl TryFrom<Written> for Forecast {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let standard = Self::default();
        let (enabled, after) = match written {
            Written::Flag(enabled) => (enabled, standard.after),
            Written::Object(WrittenForecast { enabled, after }) => {
                (enabled.unwrap_or(standard.enabled), after.unwrap_or(standard.after))
            }
        };
        if after.is_negative() || after > Decimal::ONE {
            return Err(format!(
                "`after` {after} of `forecast` is not a fraction: write 0.1 for 10 %"
            ));
        }
        Ok(Self { enabled, after })
    }
}

impl Forecast {
    /// When the limit is reached at this pace; none where that is not before the window closes, or
    /// where there is no pace yet.
    #[must_use]
    pub fn reached(self, reading: &Reading, limit: Decimal, now: Instant) -> Option<Instant> {
        let since_opened = |at: Instant| (at > reading.opened).then(|| at.abs_diff(reading.opened));
        let (passed, length) = (since_opened(now)?, since_opened(reading.closes?)?);
        let (after, used, limit) =
            (magnitude(self.after)?, magnitude(reading.used)?, magnitude(limit)?);
        let enough = after.checked_mul(length.into())?;
        let so_far = magnitude(Decimal::ONE)?.checked_mul(passed.into())?;
        if !self.enabled || passed >= length || so_far < enough {
            return None;
        }
        // Rounded down it is still below the whole milliseconds of the window, or is not.
        let until = limit.checked_mul(passed.into())?.checked_div(used)?;
        let until = u64::try_from(until).ok().filter(|until| *until < length)?;
        reading.opened.checked_add_unsigned(until)
    }
}

fn magnitude(amount: Decimal) -> Option<U256> {
    u128::try_from(amount.units()).ok().map(U256::new)
}

/// The tenant's date at an instant, told by how far its clock is from UTC now: where clocks change
/// in between, an hour at midnight may fall to the day beside it.
#[must_use]
pub fn local_date(facts: &[Fact], now: Instant, at: Instant) -> Option<NaiveDate> {
    let Value::Text(date) = fact(facts, "local.date")? else { return None };
    let number = |name: &str| match fact(facts, name)? {
        Value::Number(number) => number.units().checked_div(Decimal::ONE.units())?.try_into().ok(),
        _ => None,
    };
    let date: NaiveDate = date.parse().ok()?;
    let local = date.and_hms_opt(number("local.hour")?, number("local.minute")?, 0)?;
    let minute = now.checked_sub(now.rem_euclid(MINUTE_MS))?;
    let offset = local.and_utc().timestamp_millis().checked_sub(minute)?;
    Some(DateTime::from_timestamp_millis(at.checked_add(offset)?)?.date_naive())
}
