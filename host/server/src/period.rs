//! Stretches of time, as people write them.

use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDate, SecondsFormat};

use crate::surroundings::wall_clock;

/// From when until when.
#[derive(clap::Args, Clone, Default)]
pub struct Period {
    /// From then on: `2026-11-01`, `2026-11-01T12:00:00Z`, or so long ago, `24h`, `7d`; none: from
    /// the beginning
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then, written alike; none: until now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Period {
    /// Where nothing is said of when it begins, the last so many hours.
    pub fn or_last_hours(mut self, hours: u32) -> Self {
        self.since.get_or_insert_with(|| format!("{hours}h"));
        self
    }

    /// In ms since 1970.
    pub fn range(&self) -> Result<Range<i64>> {
        let now = wall_clock()();
        let since = self.since.as_deref().map_or(Ok(i64::MIN), |text| read(text, now))?;
        let until = self.until.as_deref().map_or(Ok(i64::MAX), |text| read(text, now))?;
        if since >= until {
            bail!("`--since` is not before `--until`");
        }
        Ok(since..until)
    }
}

/// A length of time, `90s`, `30m`, `24h` or `7d`, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub i64);

impl FromStr for Length {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let unit_ms = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((count, "s")) => Some((count, 1_000)),
            Some((count, "m")) => Some((count, 60_000)),
            Some((count, "h")) => Some((count, 3_600_000)),
            Some((count, "d")) => Some((count, 86_400_000)),
            _ => None,
        };
        let ms = unit_ms.and_then(|(count, ms)| {
            let count: i64 = count.parse().ok().filter(|count| *count > 0)?;
            count.checked_mul(ms)
        });
        match ms {
            Some(ms) => Ok(Self(ms)),
            None => bail!("`{text}` is no length of time: write `90s`, `30m`, `24h` or `7d`"),
        }
    }
}

fn read(text: &str, now: i64) -> Result<i64> {
    if let Ok(Length(ms)) = text.parse()
        && let Some(ago) = now.checked_sub(ms)
    {
        return Ok(ago);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis());
    }
    let time = DateTime::parse_from_rfc3339(text).with_context(|| {
        format!("`{text}` is no time: write `2026-11-01`, `2026-11-01T12:00:00Z`, `24h` or `7d`")
    })?;
    Ok(time.timestamp_millis())
}

/// For people.
pub fn instant(at: i64) -> String {
    let time = DateTime::from_timestamp_millis(at);
    time.map_or_else(|| at.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_do() {
        let now = 1_000_000_000_000;
        for (text, at) in [
            ("24h", now - 86_400_000),
            ("7d", now - 7 * 86_400_000),
            ("30m", now - 1_800_000),
            ("90s", now - 90_000),
            ("2001-09-09", 999_993_600_000),
            ("2001-09-09T01:46:40Z", now),
            ("2001-09-09T03:46:40+02:00", now),
        ] {
            assert_eq!(read(text, now).unwrap(), at, "{text}");
        }
        for text in ["", "h", "-5h", "0d", "yesterday", "2001-13-01"] {
            assert!(read(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn a_period_begins_before_it_ends() {
        let period = |since: &str, until: &str| Period {
            since: Some(since.into()),
            until: Some(until.into()),
        };
        assert!(period("2001-09-09", "2001-09-10").range().is_ok());
        assert!(period("2001-09-10", "2001-09-09").range().is_err());
        assert_eq!(Period::default().range().unwrap(), i64::MIN..i64::MAX);
    }
}
