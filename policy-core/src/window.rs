//! The stretches of time that counters add up, as the contract writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z; negative before it.
pub type Instant = i64;

/// The stretch of time that a counter adds up. One canonical string each: defaults left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Window {
    /// Only the request in hand: `request`.
    Request,
    /// A period of the calendar: `calendar:month@31`.
    Calendar(Calendar),
    /// The last so many seconds: `rolling:18000`.
    Rolling(RollingSeconds),
    /// All of time: `lifetime`.
    Lifetime,
    /// What is open at the moment: `in-flight`.
    InFlight,
    /// What was last reported: `level`.
    Level,
}

/// A period of the calendar, and whose calendar: `day`, `week@7@utc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Calendar {
    /// Which period.
    pub period: Period,
    /// In UTC, and not in the tenant's time zone.
    pub utc: bool,
}

/// A period of the calendar, and where it begins: `month`, `year@04-01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// 60 seconds, counted from the start of the day.
    Minute,
    /// 60 minutes, counted from the start of the day.
    Hour,
    /// From midnight to midnight.
    Day,
    /// Seven days, from the tenant's own first day of the week unless another one is named.
    Week(Option<Weekday>),
    /// As long as a month of the calendar, from this day on.
    Month(MonthDay),
    /// As long as a year of the calendar, from this day on.
    Year(YearDay),
}

/// A day of the week; as a number, Monday is 1 and Sunday is 7.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Weekday {
    #[default]
    Monday = 1,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A day of any month, 1 to 31. A month that is shorter means its last day (seeds/004).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonthDay(u8);

/// A day of any year. 29 February means the 28th where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct YearDay {
    month: u8,
    day: u8,
}

/// How far a rolling window reaches back: 1 second to 366 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollingSeconds(u32);

/// What is wrong with the name of a window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No such kind.
    #[error(
        "`{0}` is not a window: write `request`, `calendar:PERIOD`, `rolling:SECONDS`, \
         `lifetime`, `in-flight` or `level`"
    )]
    NotAWindow(String),
    /// Neither a period of the settings nor a window.
    #[error(
        "`{0}` is not a period: write `request`, `minute`, `hour`, `day`, `week`, `month`, \
         `year` or `total`, or a window like `rolling:18000`"
    )]
    NotAPeriod(String),
    /// No such period of the calendar.
    #[error(
        "`{0}` is not a period of the calendar: write `minute`, `hour`, `day`, `week`, `month` \
         or `year`"
    )]
    NotOfTheCalendar(String),
    /// Minutes, hours and days begin where they begin.
    #[error("`{0}` cannot begin elsewhere: leave out what follows the `@`")]
    NoAnchor(String),
    /// Not a weekday's number.
    #[error("`{0}` is not a day of the week: write 1 for Monday to 7 for Sunday")]
    NotAWeekday(String),
    /// Not a day that a month has.
    #[error("`{0}` is not a day of the month: write 1 to 31")]
    NotAMonthDay(String),
    /// Not a day that a year has.
    #[error("`{0}` is not a day of the year: write month and day like `04-01`")]
    NotAYearDay(String),
    /// Too short, too long, or no number.
    #[error(
        "`{0}` is not a number of seconds to look back: write 1 to {max}, which are 366 days",
        max = RollingSeconds::MAX
    )]
    NotRollingSeconds(String),
}

impl Window {
    /// From the words of the settings: `request`, `minute`, `hour`, `day`, `week`, `month` and
    /// `year`, each also with `per_` before it, and `total` or `lifetime`; else from the
    /// canonical string of a window.
    pub fn from_period_name(name: &str) -> Result<Self, WindowError> {
        match name.strip_prefix("per_").unwrap_or(name) {
            "request" => Ok(Self::Request),
            period @ ("minute" | "hour" | "day" | "week" | "month" | "year") => {
                let (period, utc) = (period.parse()?, false);
                Ok(Self::Calendar(Calendar { period, utc }))
            }
            _ if name == "total" => Ok(Self::Lifetime),
            _ => name.parse().map_err(|error| match error {
                WindowError::NotAWindow(name) => WindowError::NotAPeriod(name),
                error => error,
            }),
        }
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        match text {
            "request" => Ok(Self::Request),
            "lifetime" => Ok(Self::Lifetime),
            "in-flight" => Ok(Self::InFlight),
            "level" => Ok(Self::Level),
            _ => match text.split_once(':') {
                Some(("calendar", period)) => {
                    let in_utc = period.strip_suffix("@utc");
                    let utc = in_utc.is_some();
                    let period = in_utc.unwrap_or(period).parse()?;
                    Ok(Self::Calendar(Calendar { period, utc }))
                }
                Some(("rolling", length)) => {
                    number(length, RollingSeconds::new, WindowError::NotRollingSeconds)
                        .map(Self::Rolling)
                }
                _ => Err(WindowError::NotAWindow(shown(text))),
            },
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Calendar(Calendar { period, utc }) => {
                write!(f, "calendar:{period}{}", if *utc { "@utc" } else { "" })
            }
            Self::Rolling(seconds) => write!(f, "rolling:{}", seconds.get()),
            Self::Lifetime => f.write_str("lifetime"),
            Self::InFlight => f.write_str("in-flight"),
            Self::Level => f.write_str("level"),
        }
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl FromStr for Period {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let (name, anchor) = match text.split_once('@') {
            Some((name, anchor)) => (name, Some(anchor)),
            None => (text, None),
        };
        match (name, anchor) {
            ("minute", None) => Ok(Self::Minute),
            ("hour", None) => Ok(Self::Hour),
            ("day", None) => Ok(Self::Day),
            ("minute" | "hour" | "day", Some(_)) => Err(WindowError::NoAnchor(shown(text))),
            ("week", None) => Ok(Self::Week(None)),
            ("month", None) => Ok(Self::Month(MonthDay::FIRST)),
            ("year", None) => Ok(Self::Year(YearDay::FIRST)),
            ("week", Some(day)) => {
                let weekday = |day: u8| day.try_into().ok();
                number(day, weekday, WindowError::NotAWeekday).map(|day| Self::Week(Some(day)))
            }
            ("month", Some(day)) => {
                number(day, MonthDay::new, WindowError::NotAMonthDay).map(Self::Month)
            }
            ("year", Some(day)) => year_day(day).map(Self::Year),
            _ => Err(WindowError::NotOfTheCalendar(shown(text))),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Minute => f.write_str("minute"),
            Self::Hour => f.write_str("hour"),
            Self::Day => f.write_str("day"),
            Self::Week(None) => f.write_str("week"),
            Self::Week(Some(day)) => write!(f, "week@{}", u8::from(day)),
            Self::Month(MonthDay::FIRST) => f.write_str("month"),
            Self::Month(MonthDay(day)) => write!(f, "month@{day}"),
            Self::Year(YearDay::FIRST) => f.write_str("year"),
            Self::Year(YearDay { month, day }) => write!(f, "year@{month:02}-{day:02}"),
        }
    }
}

impl Weekday {
    /// All of them, from Monday on.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];
}

impl TryFrom<u8> for Weekday {
    type Error = WindowError;

    fn try_from(number: u8) -> Result<Self, WindowError> {
        Self::ALL
            .into_iter()
            .find(|day| u8::from(*day) == number)
            .ok_or_else(|| WindowError::NotAWeekday(number.to_string()))
    }
}

impl From<Weekday> for u8 {
    fn from(day: Weekday) -> Self {
        day as Self
    }
}

impl MonthDay {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// 1 to 31.
    #[must_use]
    pub fn new(day: u8) -> Option<Self> {
        (1..=31).contains(&day).then_some(Self(day))
    }

    /// 1 to 31.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl YearDay {
    /// 1 January.
    pub const FIRST: Self = Self { month: 1, day: 1 };

    /// A day of a leap year.
    #[must_use]
    pub fn new(month: u8, day: u8) -> Option<Self> {
        let days = match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => 0,
        };
        (1..=days).contains(&day).then_some(Self { month, day })
    }

    /// 1 to 12.
    #[must_use]
    pub fn month(self) -> u8 {
        self.month
    }

    /// 1 to 31.
    #[must_use]
    pub fn day(self) -> u8 {
        self.day
    }
}

impl RollingSeconds {
    /// 366 days.
    pub const MAX: u32 = 366 * 24 * 60 * 60;

    /// 1 to [`RollingSeconds::MAX`].
    #[must_use]
    pub fn new(seconds: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&seconds).then_some(Self(seconds))
    }

    /// 1 to [`RollingSeconds::MAX`].
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

/// What stands for a number in its only spelling: no sign, no leading zero.
fn number<N: FromStr + ToString, T>(
    text: &str,
    new: fn(N) -> Option<T>,
    error: fn(String) -> WindowError,
) -> Result<T, WindowError> {
    text.parse()
        .ok()
        .filter(|number: &N| number.to_string() == text)
        .and_then(new)
        .ok_or_else(|| error(shown(text)))
}

/// `MM-DD`, two digits each.
fn year_day(text: &str) -> Result<YearDay, WindowError> {
    text.split_once('-')
        .and_then(|(month, day)| YearDay::new(month.parse().ok()?, day.parse().ok()?))
        .filter(|day| text == format!("{:02}-{:02}", day.month, day.day))
        .ok_or_else(|| WindowError::NotAYearDay(shown(text)))
}

/// What an error repeats of its input.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    fn every_window() -> impl Iterator<Item = Window> {
        let numbers = 0..=u8::MAX;
        let weeks = Weekday::ALL.map(Some).into_iter().chain([None]);
        let months = numbers.clone().filter_map(MonthDay::new);
        let years = numbers
            .clone()
            .flat_map(move |month| numbers.clone().map(move |day| YearDay::new(month, day)));
        let lengths = [1, 18_000, RollingSeconds::MAX];
        [Period::Minute, Period::Hour, Period::Day]
            .into_iter()
            .chain(weeks.map(Period::Week))
            .chain(months.map(Period::Month))
            .chain(years.flatten().map(Period::Year))
            .flat_map(|period| [false, true].map(|utc| Calendar { period, utc }))
            .map(Window::Calendar)
            .chain(lengths.map(|length| Window::Rolling(RollingSeconds::new(length).unwrap())))
            .chain(["request", "lifetime", "in-flight", "level"].map(|text| text.parse().unwrap()))
    }

    #[test]
    fn every_window_has_one_string_and_is_read_back_from_it() {
        let mut strings = BTreeSet::new();
        for window in every_window() {
            let text = window.to_string();
            assert_eq!(text.parse(), Ok(window), "{text}");
            assert_eq!(Window::from_period_name(&text), Ok(window), "{text}");
            let json = serde_json::to_string(&window).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Window>(&json).unwrap(), window);
            strings.insert(text);
        }
        assert_eq!(strings.len(), 2 * (3 + 8 + 31 + 366) + 3 + 4);
        // Those that the contract names, and some more.
        for text in [
            "request,calendar:month,calendar:month@31,calendar:week@7,calendar:year@04-01",
            "calendar:day@utc,rolling:18000,rolling:31622400,lifetime,in-flight,level",
        ] {
            assert!(text.split(',').all(|text| strings.contains(text)));
        }
    }

    #[test]
    fn defaults_are_left_out() {
        for (written, canonical) in [
            ("calendar:month@1", "calendar:month"),
            ("calendar:year@01-01@utc", "calendar:year@utc"),
            // The tenant's own week may begin on another day.
            ("calendar:week@1", "calendar:week@1"),
        ] {
            let window: Window = written.parse().unwrap();
            assert_eq!(window.to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        use WindowError as E;
        type Refusal = fn(String) -> WindowError;
        let cases: [(Refusal, &str, &str); 9] = [
            (E::NotAWindow, "", ", Request,request:,calendar,day"),
            (E::NotOfTheCalendar, "calendar:", ",fortnight,days,@5"),
            (E::NoAnchor, "calendar:", "day@,day@1,hour@5,minute@utc@5"),
            (E::NotAWeekday, "calendar:week@", ",0,8,01,+1,mon,1@2"),
            (E::NotAMonthDay, "calendar:month@", ",0,32,256,01,+1,utc@5"),
            (E::NotAYearDay, "calendar:year@", ",00-01,13-01,02-30,04-31,1-00"),
            (E::NotAYearDay, "calendar:year@", "4-1,+4-01,04-1,04-001,0401"),
            (E::NotRollingSeconds, "rolling:", ",0,31622401,4294967296,-1"),
            (E::NotRollingSeconds, "rolling:", "1h,018000,+1,1.5, 1"),
        ];
        for (error, prefix, rests) in cases {
            for rest in rests.split(',') {
                let read = format!("{prefix}{rest}").parse::<Window>();
                assert_eq!(read, Err(error(rest.to_owned())));
                let words = error(rest.to_owned()).to_string();
                assert!(words.starts_with(&format!("`{rest}` ")), "{words}");
            }
        }
        let utc_twice = "calendar:day@utc@utc".parse::<Window>();
        assert_eq!(utc_twice, Err(E::NoAnchor("day@utc".into())));
    }

    #[test]
    fn the_settings_may_say_day_or_per_day() {
        assert_eq!(Window::from_period_name("request"), Ok(Window::Request));
        assert_eq!(Window::from_period_name("per_request"), Ok(Window::Request));
        for period in ["minute", "hour", "day", "week", "month", "year"] {
            let window = format!("calendar:{period}").parse();
            assert_eq!(Window::from_period_name(period), window);
            assert_eq!(Window::from_period_name(&format!("per_{period}")), window);
        }
        for name in ["total", "lifetime"] {
            assert_eq!(Window::from_period_name(name), Ok(Window::Lifetime));
        }
        for name in ["per_total", "per_per_day", "daily", "per_", "month@5", ""] {
            let error = WindowError::NotAPeriod(name.into());
            assert_eq!(Window::from_period_name(name), Err(error));
        }
    }

    #[test]
    fn a_weekday_is_a_number_in_settings() {
        assert_eq!(serde_json::from_str::<Weekday>("7").unwrap(), Weekday::Sunday);
        assert_eq!(serde_json::to_string(&Weekday::Monday).unwrap(), "1");
        for json in ["0", "8", "9", "256", "\"Monday\""] {
            assert!(serde_json::from_str::<Weekday>(json).is_err(), "{json}");
        }
    }
}
