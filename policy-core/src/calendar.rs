//! When a window opens and closes, in a tenant's time zone.
//!
//! A date begins at the first instant whose wall clock reads that date's midnight or later. Where
//! clocks skip midnight that is right after the gap; where midnight comes twice it is the earlier
//! one. Since no date can begin before an earlier date does, days, and whatever is made of whole
//! days, tile time without gap or overlap, whatever the wall clock does in between. A date that a
//! zone left out begins when the next one does: its windows hold no instant.

use chrono::{DateTime, Datelike, Days, MappedLocalTime, Months, NaiveDate, NaiveDateTime};
use chrono::{NaiveTime, Offset, TimeZone, Timelike};
use chrono_tz::{GapInfo, Tz};

use crate::window::{Calendar, Instant, Period, Weekday, Window};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The calendar that a tenant lives by: UTC and weeks from Monday on, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TenantCalendar {
    /// Its time zone.
    pub zone: Tz,
    /// Where its weeks begin, unless the window says so.
    pub first_day_of_week: Weekday,
}

/// One window's stretch of time: `opened` ≤ what it holds < `closes`. A window of the calendar has
/// the same span for all that it holds, so a span may be kept until it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first instant that it holds; `i64::MIN` where it has always been open.
    pub opened: Instant,
    /// The first instant after it; none where it does not end, or moves along with time.
    pub closes: Option<Instant>,
}

/// What a clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The date.
    pub date: NaiveDate,
    /// The date's day of the week.
    pub weekday: Weekday,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
}

/// An instant, or the end of its window, some 262,000 years from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` lies beyond the calendar: write milliseconds since 1970-01-01T00:00:00Z")]
pub struct OutOfRange(pub Instant);

impl TenantCalendar {
    /// The window of this kind that holds the instant.
    ///
    /// Calendar windows tile time. Minutes and hours are counted from the start of the day, whose
    /// end cuts the last one short where clocks changed by a part of it. `Rolling` ends with the
    /// instant and reaches back for its length; `Request` holds this instant alone; `Lifetime`,
    /// `InFlight` and `Level` neither open nor close.
    pub fn span(&self, window: &Window, at: Instant) -> Result<Span, OutOfRange> {
        let span = match *window {
            Window::Calendar(calendar) => self.calendar_span(calendar, at),
            Window::Rolling(seconds) => i64::from(seconds.get())
                .checked_mul(1000)
                .and_then(|length| at.checked_sub(length)?.checked_add(1))
                .map(|opened| Span { opened, closes: None }),
            Window::Request => {
                at.checked_add(1).map(|next| Span { opened: at, closes: Some(next) })
            }
            Window::Lifetime | Window::InFlight | Window::Level => {
                Some(Span { opened: Instant::MIN, closes: None })
            }
        };
        span.ok_or(OutOfRange(at))
    }

    /// The tenant's wall clock, which policies are fed as facts.
    pub fn local(&self, at: Instant) -> Result<LocalTime, OutOfRange> {
        let local = wall_clock(self.zone, at).ok_or(OutOfRange(at))?;
        Ok(LocalTime {
            date: local.date(),
            weekday: local.weekday().into(),
            hour: local.hour(),
            minute: local.minute(),
        })
    }

    fn calendar_span(&self, calendar: Calendar, at: Instant) -> Option<Span> {
        let Calendar { period, utc } = calendar;
        let zone = if utc { Tz::UTC } else { self.zone };
        let today = wall_clock(zone, at)?.date();
        let (months, days) = step(period);
        let mut first = self.first_day(period, today)?;
        if first > today {
            let before = today.checked_sub_months(months)?.checked_sub_days(days)?;
            first = self.first_day(period, before)?;
        }
        let mut opened = begin(zone, first)?;
        // Mostly one round; another one where clocks were turned back across the window's end,
        // which lies behind us though today's date lies before it.
        let closes = loop {
            let after = first.checked_add_months(months)?.checked_add_days(days)?;
            first = self.first_day(period, after)?;
            let closes = begin(zone, first)?;
            if at < closes {
                break closes;
            }
            opened = closes;
        };
        match period {
            Period::Minute => slice(opened, closes, MINUTE_MS, at),
            Period::Hour => slice(opened, closes, HOUR_MS, at),
            _ => Some(Span { opened, closes: Some(closes) }),
        }
    }

    /// The first day of the period that is called after this date's day, week, month or year:
    /// it may lie after the date.
    fn first_day(&self, period: Period, date: NaiveDate) -> Option<NaiveDate> {
        match period {
            Period::Minute | Period::Hour | Period::Day => Some(date),
            Period::Week(first_day) => {
                let first = u8::from(first_day.unwrap_or(self.first_day_of_week));
                let today = date.weekday().number_from_monday();
                let days = today.saturating_add(7).saturating_sub(first.into()) % 7;
                date.checked_sub_days(Days::new(days.into()))
            }
            Period::Month(first_day) => {
                day_or_last(date.year(), date.month(), first_day.get().into())
            }
            Period::Year(first_day) => {
                day_or_last(date.year(), first_day.month().into(), first_day.day().into())
            }
        }
    }
}

impl From<chrono::Weekday> for Weekday {
    fn from(day: chrono::Weekday) -> Self {
        match day {
            chrono::Weekday::Mon => Self::Monday,
            chrono::Weekday::Tue => Self::Tuesday,
            chrono::Weekday::Wed => Self::Wednesday,
            chrono::Weekday::Thu => Self::Thursday,
            chrono::Weekday::Fri => Self::Friday,
            chrono::Weekday::Sat => Self::Saturday,
            chrono::Weekday::Sun => Self::Sunday,
        }
    }
}

fn wall_clock(zone: Tz, at: Instant) -> Option<NaiveDateTime> {
    let utc = DateTime::from_timestamp_millis(at)?.naive_utc();
    utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())
}

/// When a date begins.
fn begin(zone: Tz, date: NaiveDate) -> Option<Instant> {
    let midnight = date.and_time(NaiveTime::MIN);
    let first = match zone.from_local_datetime(&midnight) {
        MappedLocalTime::Single(only) => only,
        MappedLocalTime::Ambiguous(earlier, _) => earlier,
        MappedLocalTime::None => GapInfo::new(&midnight, &zone)?.end?,
    };
    Some(first.timestamp_millis())
}

/// The day of the month, or the month's last day where it is shorter.
fn day_or_last(year: i32, month: u32, day: u32) -> Option<NaiveDate> {
    // Adding months to a day of January, which has them all, does just that.
    NaiveDate::from_ymd_opt(year, 1, day)?.checked_add_months(Months::new(month.checked_sub(1)?))
}

/// How far apart two periods begin.
fn step(period: Period) -> (Months, Days) {
    let (months, days) = match period {
        Period::Minute | Period::Hour | Period::Day => (0, 1),
        Period::Week(_) => (0, 7),
        Period::Month(_) => (1, 0),
        Period::Year(_) => (12, 0),
    };
    (Months::new(months), Days::new(days))
}

/// The slice of a day that holds the instant; the last one ends with the day.
fn slice(opened: Instant, closes: Instant, length: i64, at: Instant) -> Option<Span> {
    let into = at.checked_sub(opened)?.checked_rem(length)?;
    let opened = at.checked_sub(into)?;
    Some(Span { opened, closes: Some(closes.min(opened.checked_add(length)?)) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

    use super::*;

    fn instant(text: &str) -> Instant {
        let at = DateTime::parse_from_rfc3339(text);
        at.unwrap_or_else(|_| panic!("{text}")).timestamp_millis()
    }

    fn in_zone(zone: &str) -> TenantCalendar {
        let zone = zone.parse().unwrap();
        TenantCalendar { zone, ..TenantCalendar::default() }
    }

    fn assert_span(calendar: TenantCalendar, window: &str, instants: &[Instant]) {
        let [opened, closes, ..] = *instants else { panic!("{window}") };
        let expected = Span { opened, closes: Some(closes) };
        let window = format!("calendar:{window}").parse().unwrap();
        // All but `closes` lie in it, and so does the last instant before that.
        for at in instants.iter().map(|at| (*at).min(closes - 1)) {
            assert_eq!(calendar.span(&window, at), Ok(expected), "{window} {at}");
        }
    }

    /// Rows of zone, window, when it opens and when it closes, and instants that it holds besides.
    fn assert_spans(rows: &[&str]) {
        for row in rows {
            let (zone, row) = row.split_once(' ').unwrap();
            let (window, instants) = row.split_once(' ').unwrap();
            let instants: Vec<_> = instants.split(' ').map(instant).collect();
            assert_span(in_zone(zone), window, &instants);
        }
    }

    fn wall_clock_shows(zone: &str, at: &str) -> String {
        let LocalTime { date, weekday, hour, minute } = in_zone(zone).local(instant(at)).unwrap();
        format!("{weekday:?} {date} {hour:02}:{minute:02}")
    }

    #[test]
    fn a_day_is_as_long_as_its_clock_makes_it() {
        assert_spans(&[
            "UTC day 2025-03-30T00:00:00Z 2025-03-31T00:00:00Z",
            // 23 hours, then 25 of them.
            "Europe/Berlin day 2025-03-29T23:00:00Z 2025-03-30T22:00:00Z",
            "Europe/Berlin day 2025-10-25T22:00:00Z 2025-10-26T23:00:00Z",
            "Pacific/Auckland day 2025-09-27T12:00:00Z 2025-09-28T11:00:00Z",
            "Pacific/Auckland day 2025-04-05T11:00:00Z 2025-04-06T12:00:00Z",
            "Asia/Kolkata day 2024-12-31T18:30:00Z 2025-01-01T18:30:00Z",
            // 23 hours and a half, then 24 and a half.
            "Australia/Lord_Howe day 2025-10-04T13:30:00Z 2025-10-05T13:00:00Z",
            "Australia/Lord_Howe day 2025-04-05T13:00:00Z 2025-04-06T13:30:00Z",
        ]);
    }

    #[test]
    fn a_day_whose_midnight_was_skipped_begins_right_after_the_gap() {
        assert_spans(&[
            "America/Sao_Paulo day 2018-11-04T03:00:00Z 2018-11-05T02:00:00Z",
            "America/Havana day 2025-03-09T05:00:00Z 2025-03-10T04:00:00Z",
        ]);
        let first = wall_clock_shows("America/Sao_Paulo", "2018-11-04T03:00:00Z");
        assert_eq!(first, "Sunday 2018-11-04 01:00");
    }

    #[test]
    fn a_day_whose_midnight_comes_twice_begins_at_the_earlier_one() {
        let again = "2025-11-02T05:00:00Z";
        assert_spans(&[&format!(
            "America/Havana day 2025-11-02T04:00:00Z 2025-11-03T05:00:00Z {again}"
        )]);
        let second = wall_clock_shows("America/Havana", again);
        assert_eq!(second, "Sunday 2025-11-02 00:00");
    }

    #[test]
    fn a_clock_turned_back_to_yesterday_stays_in_the_day_that_has_begun() {
        let back = "2010-11-07T02:45:00Z";
        let yesterday = wall_clock_shows("America/St_Johns", back);
        assert_eq!(yesterday, "Saturday 2010-11-06 23:15");
        assert_spans(&[
            &format!("America/St_Johns day 2010-11-07T02:30:00Z 2010-11-08T03:30:00Z {back}"),
            &format!("America/St_Johns week@7 2010-11-07T02:30:00Z 2010-11-14T03:30:00Z {back}"),
            &format!("America/St_Johns month@7 2010-11-07T02:30:00Z 2010-12-07T03:30:00Z {back}"),
            "America/St_Johns day 2010-11-06T02:30:00Z 2010-11-07T02:30:00Z",
            // In spring the clock went from 00:01 to 01:01.
            "America/St_Johns day 2010-03-14T03:30:00Z 2010-03-15T02:30:00Z",
        ]);
    }

    #[test]
    fn a_day_that_goes_back_at_its_very_end_goes_on() {
        let again = "2018-02-18T02:30:00Z";
        let eleven = wall_clock_shows("America/Sao_Paulo", again);
        assert_eq!(eleven, "Saturday 2018-02-17 23:30");
        assert_spans(&[&format!(
            "America/Sao_Paulo day 2018-02-17T02:00:00Z 2018-02-18T03:00:00Z {again}"
        )]);
    }

    #[test]
    fn a_day_that_a_zone_left_out_holds_no_instant() {
        assert_spans(&[
            "Pacific/Apia day 2011-12-29T10:00:00Z 2011-12-30T10:00:00Z",
            "Pacific/Apia day 2011-12-30T10:00:00Z 2011-12-31T10:00:00Z",
            "Pacific/Apia month@30 2011-12-30T10:00:00Z 2012-01-29T10:00:00Z",
        ]);
        let first = wall_clock_shows("Pacific/Apia", "2011-12-30T10:00:00Z");
        assert_eq!(first, "Saturday 2011-12-31 00:00");
    }

    #[test]
    fn hours_and_minutes_are_counted_from_the_start_of_the_day() {
        assert_spans(&[
            "Asia/Kolkata hour 2025-01-01T18:30:00Z 2025-01-01T19:30:00Z",
            "Asia/Kolkata hour@utc 2025-01-01T18:00:00Z 2025-01-01T19:00:00Z",
            "Asia/Kolkata minute 2025-01-01T18:30:00Z 2025-01-01T18:31:00Z",
            // Until 1972 its clock was half a minute off.
            "Africa/Monrovia minute 1971-01-01T00:44:30Z 1971-01-01T00:45:30Z",
            "Europe/Berlin hour 2025-10-26T00:00:00Z 2025-10-26T01:00:00Z",
            "Europe/Berlin hour 2025-10-26T01:00:00Z 2025-10-26T02:00:00Z",
            // The day's end cuts its last hour short.
            "Australia/Lord_Howe hour 2025-04-06T12:00:00Z 2025-04-06T13:00:00Z",
            "Australia/Lord_Howe hour 2025-04-06T13:00:00Z 2025-04-06T13:30:00Z",
            "Australia/Lord_Howe hour 2025-04-06T13:30:00Z 2025-04-06T14:30:00Z",
        ]);
    }

    #[test]
    fn months_and_years_begin_on_their_day_or_else_on_the_last_one() {
        assert_spans(&[
            "UTC month 2024-02-01T00:00:00Z 2024-03-01T00:00:00Z 2024-02-29T23:59:59Z",
            "UTC month@29 2023-01-29T00:00:00Z 2023-02-28T00:00:00Z",
            "UTC month@29 2024-01-29T00:00:00Z 2024-02-29T00:00:00Z",
            "UTC month@30 2024-02-29T00:00:00Z 2024-03-30T00:00:00Z",
            "UTC month@31 2023-01-31T00:00:00Z 2023-02-28T00:00:00Z",
            "UTC month@31 2023-02-28T00:00:00Z 2023-03-31T00:00:00Z",
            "UTC month@31 2024-02-29T00:00:00Z 2024-03-31T00:00:00Z 2024-03-30T00:00:00Z",
            "UTC month@31 2024-11-30T00:00:00Z 2024-12-31T00:00:00Z",
            "UTC month@31 2024-12-31T00:00:00Z 2025-01-31T00:00:00Z 2025-01-01T00:00:00Z",
            "UTC year 2024-01-01T00:00:00Z 2025-01-01T00:00:00Z 2024-02-29T00:00:00Z",
            "UTC year@04-01 2024-04-01T00:00:00Z 2025-04-01T00:00:00Z 2025-01-01T00:00:00Z",
            "UTC year@02-29 2023-02-28T00:00:00Z 2024-02-29T00:00:00Z 2024-02-28T00:00:00Z",
            "UTC year@02-29 2024-02-29T00:00:00Z 2025-02-28T00:00:00Z",
            "UTC year@12-31 1969-12-31T00:00:00Z 1970-12-31T00:00:00Z 1970-01-01T00:00:00Z",
            "America/Sao_Paulo year 2025-01-01T03:00:00Z 2026-01-01T03:00:00Z",
            "America/Sao_Paulo year@utc 2025-01-01T00:00:00Z 2026-01-01T00:00:00Z",
        ]);
    }

    #[test]
    fn a_week_begins_where_the_tenant_says_unless_the_window_does() {
        let sundays =
            TenantCalendar { first_day_of_week: Weekday::Sunday, ..TenantCalendar::default() };
        let may_31 = instant("2025-05-31T00:00:00Z");
        for (calendar, window, june) in [
            (TenantCalendar::default(), "week", 2),
            (TenantCalendar::default(), "week@7", 1),
            (sundays, "week", 1),
            (sundays, "week@1", 2),
            (sundays, "week@3", 4),
            (sundays, "week@6@utc", 0),
        ] {
            let opened = may_31 + june * 24 * HOUR_MS;
            let closes = opened + 7 * 24 * HOUR_MS;
            assert_span(calendar, window, &[opened, closes]);
        }
    }

    #[test]
    fn what_no_calendar_rules_is_as_the_contract_says() {
        let span = |window: &str, at| {
            let window = window.parse().unwrap();
            let span = TenantCalendar::default().span(&window, at)?;
            Ok((span.opened, span.closes))
        };
        assert_eq!(span("request", 5), Ok((5, Some(6))));
        assert_eq!(span("rolling:2", 2_000), Ok((1, None)));
        for window in ["lifetime", "in-flight", "level"] {
            assert_eq!(span(window, 5), Ok((Instant::MIN, None)));
        }
        assert_eq!(span("request", Instant::MAX), Err(OutOfRange(Instant::MAX)));
        assert_eq!(span("rolling:1", Instant::MIN), Err(OutOfRange(Instant::MIN)));
    }

    #[test]
    fn an_instant_beyond_the_calendar_is_an_error() {
        let (first, last) = (DateTime::<chrono::Utc>::MIN_UTC, DateTime::<chrono::Utc>::MAX_UTC);
        let (first, last) = (first.timestamp_millis(), last.timestamp_millis());
        for (zone, beyond) in [
            ("UTC", last + 1),
            ("UTC", first - 1),
            ("Asia/Kolkata", last),
            ("America/Lima", first),
            ("UTC", Instant::MIN),
            ("UTC", Instant::MAX),
        ] {
            assert_eq!(in_zone(zone).local(beyond), Err(OutOfRange(beyond)));
            for window in ["minute", "hour", "day", "week@3", "month@31", "year@02-29"] {
                let window = format!("calendar:{window}").parse().unwrap();
                assert_eq!(in_zone(zone).span(&window, beyond), Err(OutOfRange(beyond)));
            }
        }
        assert!(in_zone("UTC").local(first).is_ok() && in_zone("UTC").local(last).is_ok());
    }
}
