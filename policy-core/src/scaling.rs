//! Limits that grow with use.

use serde::Deserialize;

use crate::decimal::{Decimal, SCALE_MAX};

/// From where on, and by how much, a limit is to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Scaling {
    /// The fraction of the limit that is used by then.
    pub at: Decimal,
    /// The fraction of the limit that is added.
    pub by: Decimal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "an object with `at` and `by`")]
struct Written {
    at: Decimal,
    by: Decimal,
}

impl TryFrom<Written> for Scaling {
    type Error = String;

    fn try_from(Written { at, by }: Written) -> Result<Self, String> {
        if at <= Decimal::ZERO || at > Decimal::ONE {
            return Err(format!(
                "`at` {at} of `scaling` is not a fraction above zero: write 0.9 for 90 %"
            ));
        }
        if by <= Decimal::ZERO {
            return Err(format!("`by` {by} of `scaling` is not above zero: write 0.25 for 25 %"));
        }
        Ok(Self { at, by })
    }
}

impl Scaling {
    /// What the limit should be, where enough of it is used.
    #[must_use]
    pub fn raised(self, used: Decimal, limit: Decimal) -> Option<Decimal> {
        let factor = self.by.checked_add(Decimal::ONE).ok()?;
        let raised = Decimal::mul_div(&[limit, factor], Decimal::ONE, SCALE_MAX).ok()?;
        (raised > limit && used.cmp_product(limit, self.at).is_ge()).then_some(raised)
    }
}
