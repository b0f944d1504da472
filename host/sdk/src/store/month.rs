//! Calendar months in UTC: by them history is divided, and leaves.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, ParseError};
use tollgate_policy_core::window::Instant;

/// A calendar month in UTC, as `2026_11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(NaiveDate);

impl Month {
    /// The one that holds an instant; none: it is none of the years 1970 to 9998.
    #[must_use]
    pub fn of(at: Instant) -> Option<Self> {
        let date = DateTime::from_timestamp_millis(at)?.date_naive();
        (1970..9999).contains(&date.year()).then(|| date.with_day(1).map(Self)).flatten()
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        // Years end long after those that there are months of.
        Self(self.0.checked_add_months(Months::new(1)).unwrap_or(self.0))
    }

    /// From its first instant until the first one after it.
    #[must_use]
    pub fn span(self) -> Range<Instant> {
        let opens = |Self(first): Self| first.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        opens(self)..opens(self.next())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}_{:02}", self.0.year(), self.0.month())
    }
}

impl FromStr for Month {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        NaiveDate::parse_from_str(&format!("{name}_01"), "%Y_%m_%d").map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_tile_time_and_are_known_by_their_names() {
        let mut month = Month::of(1_000_000_000_000).unwrap();
        assert_eq!(month.to_string(), "2001_09");
        for _ in 0..40 {
            let Range { start, end } = month.span();
            assert_eq!((Month::of(start), Month::of(end - 1)), (Some(month), Some(month)));
            assert_eq!(Month::of(end), Some(month.next()));
            assert_eq!(month.to_string().parse(), Ok(month));
            month = month.next();
        }
        assert!("default".parse::<Month>().is_err());
        assert_eq!([Instant::MIN, -1, Instant::MAX].map(Month::of), [None; 3]);
    }
}
