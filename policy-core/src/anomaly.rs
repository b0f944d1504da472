//! An hour that costs far more than the week before it.

use ethnum::U256;
use serde::Deserialize;

use crate::decimal::{Decimal, SCALE_MAX};

/// The hours of a week but for the last one.
const HOURS: u32 = 7 * 24 - 1;

/// What counts as sudden spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Anomaly {
    /// So many times the usual cost of an hour is not usual.
    pub factor: Decimal,
    /// An hour that costs less is never one.
    pub least: Decimal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "an object with `factor` and `least`")]
struct Written {
    factor: Decimal,
    least: Decimal,
}

impl TryFrom<Written> for Anomaly {
    type Error = String;

    fn try_from(Written { factor, least }: Written) -> Result<Self, String> {
        for (name, value, example) in [("factor", factor, "5"), ("least", least, "10.00")] {
            if value <= Decimal::ZERO {
                return Err(format!(
                    "`{name}` {value} of `anomaly` is not above zero: write a number like {example}"
                ));
            }
        }
        Ok(Self { factor, least })
    }
}

impl Anomaly {
    /// The usual cost of an hour, where the last one stands out from the rest of its week. Without
    /// such a rest nothing is usual.
    #[must_use]
    pub fn usual(self, hour: Decimal, week: Decimal) -> Option<Decimal> {
        if hour < self.least {
            return None;
        }
        let past = week.checked_sub(hour).ok().filter(|past| *past > Decimal::ZERO)?;
        let wide = |left: Decimal, right: Decimal| {
            let [left, right] = [left, right].map(|own| U256::new(own.units().unsigned_abs()));
            left.checked_mul(right)
        };
        let hours = Decimal::from(HOURS);
        let is_sudden = wide(hour, hours)? > wide(self.factor, past)?;
        is_sudden.then(|| Decimal::mul_div(&[past], hours, SCALE_MAX).ok())?
    }
}
