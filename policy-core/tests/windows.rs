//! Windows of the calendar tile time, in every zone and whatever its clocks do.
#![cfg(feature = "windows")]

use std::ops::Range;

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use proptest::sample::select;
use tollgate_policy_core::{calendar::*, window::*};

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// From 1970 to 2100.
const TIME: Range<Instant> = 0..4_133_980_800_000;

fn window(period: Period) -> Window {
    Window::Calendar(Calendar { period, utc: false })
}

/// Periods that are made of whole days.
fn long_periods() -> impl Strategy<Value = Period> {
    let year_days = (1..=12u8, 1..=31u8)
        .prop_filter_map("no such day", |(month, day)| YearDay::new(month, day));
    prop_oneof![
        Just(Period::Week(None)),
        select(&Weekday::ALL[..]).prop_map(|day| Period::Week(Some(day))),
        (1..=31u8).prop_map(|day| Period::Month(MonthDay::new(day).unwrap())),
        (28..=31u8).prop_map(|day| Period::Month(MonthDay::new(day).unwrap())),
        year_days.prop_map(Period::Year),
        Just(Period::Year(YearDay::new(2, 29).unwrap())),
    ]
}

fn windows() -> impl Strategy<Value = Window> {
    let short = select(&[Period::Minute, Period::Hour, Period::Day][..]);
    (prop_oneof![short, long_periods()], prop::bool::weighted(0.1))
        .prop_map(|(period, utc)| Window::Calendar(Calendar { period, utc }))
}

/// A calendar and an instant, every other one within two days of a change of the calendar's clock.
fn moments() -> impl Strategy<Value = (TenantCalendar, Instant)> {
    let calendar = (select(&TZ_VARIANTS[..]), select(&Weekday::ALL[..]));
    let away = prop::option::of(-2 * DAY_MS..2 * DAY_MS);
    (calendar, TIME, away).prop_map(|((zone, first_day_of_week), at, away)| {
        let at = away
            .and_then(|away| Some(changes(zone, at..at + 400 * DAY_MS).next()? + away))
            .unwrap_or(at);
        (TenantCalendar { zone, first_day_of_week }, at)
    })
}

fn utc_offset(zone: Tz, at: Instant) -> i32 {
    let utc = DateTime::from_timestamp_millis(at).unwrap().naive_utc();
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()
}

/// The first instants of another offset from UTC.
fn changes(zone: Tz, time: Range<Instant>) -> impl Iterator<Item = Instant> {
    let stride = 14 * DAY_MS;
    (time.start..time.end).step_by(stride as usize).filter_map(move |start| {
        let offset = utc_offset(zone, start);
        let (mut before, mut after) = (start, start + stride);
        if utc_offset(zone, after) == offset {
            return None;
        }
        while after - before > 1 {
            let middle = before + (after - before) / 2;
            if utc_offset(zone, middle) == offset {
                before = middle;
            } else {
                after = middle;
            }
        }
        Some(after)
    })
}

fn date(calendar: TenantCalendar, at: Instant) -> NaiveDate {
    calendar.local(at).unwrap().date
}

/// The window that holds the instant, which its neighbours touch and do not overlap.
fn tile(calendar: TenantCalendar, window: Window, at: Instant) -> Range<Instant> {
    let span = |at| calendar.span(&window, at).unwrap();
    let Span { opened, closes } = span(at);
    let closes = closes.unwrap();
    assert!((opened..closes).contains(&at), "{calendar:?} {window} {at}: {opened} {closes}");
    assert_eq!(span(opened), span(at), "{calendar:?} {window} {at}");
    assert_eq!(span(closes - 1), span(at), "{calendar:?} {window} {at}");
    assert_eq!(span(closes).opened, closes, "{calendar:?} {window} {at}");
    assert_eq!(span(opened - 1).closes, Some(opened), "{calendar:?} {window} {at}");
    opened..closes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn windows_of_the_calendar_tile_time(
        (calendar, at) in moments(),
        window in windows(),
        inside in prop::array::uniform4(0..i64::MAX),
    ) {
        let tile = tile(calendar, window, at);
        let span = calendar.span(&window, at).unwrap();
        for other in inside {
            let other = tile.start + other % (tile.end - tile.start);
            prop_assert_eq!(calendar.span(&window, other).unwrap(), span);
        }
    }

    #[test]
    fn hours_are_full_and_only_the_end_of_the_day_cuts_one((calendar, at) in moments()) {
        let day = tile(calendar, window(Period::Day), at);
        for (period, length) in [(Period::Minute, HOUR_MS / 60), (Period::Hour, HOUR_MS)] {
            let slice = tile(calendar, window(period), at);
            prop_assert_eq!((slice.start - day.start) % length, 0);
            prop_assert_eq!(slice.end, (slice.start + length).min(day.end));
        }
    }

    #[test]
    fn weeks_months_and_years_are_whole_days_from_their_first_one_on(
        (calendar, at) in moments(),
        period in long_periods(),
    ) {
        let opened = tile(calendar, window(period), at).start;
        prop_assert_eq!(tile(calendar, window(Period::Day), opened).start, opened);
        let (eve, first) = (date(calendar, opened - 1), date(calendar, opened));
        let day_or_last = |day: u8| u32::from(day.min(first.num_days_in_month()));
        let expected = match period {
            Period::Week(day) => {
                let day = day.unwrap_or(calendar.first_day_of_week);
                calendar.local(opened).unwrap().weekday == day
            }
            Period::Month(day) => first.day() == day_or_last(day.get()),
            Period::Year(day) => {
                first.month() == u32::from(day.month()) && first.day() == day_or_last(day.day())
            }
            Period::Minute | Period::Hour | Period::Day => unreachable!(),
        };
        // Where the zone left out that first day, the next one takes its place.
        prop_assert!(expected || (first - eve).num_days() > 1, "{} after {}", first, eve);
    }

    #[test]
    fn a_rolling_window_ends_with_its_instant(at in TIME, seconds in 1..=RollingSeconds::MAX) {
        let window = Window::Rolling(RollingSeconds::new(seconds).unwrap());
        let span = TenantCalendar::default().span(&window, at).unwrap();
        prop_assert_eq!(at - span.opened + 1, i64::from(seconds) * 1000);
        prop_assert_eq!(span.closes, None);
    }

    #[test]
    fn whatever_is_read_as_a_window_is_read_again_from_its_string(
        text in "(calendar:|rolling:|)(day|week|month|year|)@?[0-9]{0,4}-?[0-9]{0,2}(@utc|)",
    ) {
        if let Ok(window) = text.parse::<Window>() {
            prop_assert_eq!(window.to_string().parse(), Ok(window));
        }
    }
}

#[test]
fn windows_tile_time_at_every_change_of_every_clock() {
    for zone in TZ_VARIANTS {
        let calendar = TenantCalendar { zone, ..TenantCalendar::default() };
        for change in changes(zone, TIME) {
            let month_day = MonthDay::new(date(calendar, change).day() as u8).unwrap();
            for period in [Period::Hour, Period::Week(None), Period::Month(month_day)] {
                for at in [change - HOUR_MS, change - 1, change, change + HOUR_MS] {
                    tile(calendar, window(period), at);
                }
            }
        }
    }
}

#[test]
fn a_day_begins_when_a_clock_first_shows_its_date() {
    for zone in TZ_VARIANTS {
        let calendar = TenantCalendar { zone, ..TenantCalendar::default() };
        let shows = |at| date(calendar, at);
        for change in changes(zone, TIME) {
            for at in [change - DAY_MS, change - 1, change, change + DAY_MS] {
                let Range { start, end } = tile(calendar, window(Period::Day), at);
                // Between changes clocks only go on: what they showed last is the most.
                for peak in [start - 1, change - 1, change, end - 1] {
                    let begun = shows(peak) >= shows(start);
                    let later = shows(peak) > shows(start);
                    let place = format!("{zone} {start} {peak}");
                    assert!(!begun || peak >= start, "{place}: it began before");
                    assert!(!later || peak >= end, "{place}: it was over before");
                }
            }
        }
    }
}
