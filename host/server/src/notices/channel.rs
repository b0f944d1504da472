//! Channels: where notices go, which of them, and when people want to hear of them.

use chrono::{DateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tollgate_policy_core::window::Instant;

use super::Destination;

/// A channel that notices go over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Where to.
    pub to: Destination,
    /// Notices that matter less are passed over; all are told unless said otherwise.
    #[serde(default)]
    pub least_severity: Severity,
    /// When only critical notices are told; the others wait until it is over.
    #[serde(default)]
    pub quiet_hours: Option<QuietHours>,
    /// At which times of the day what has come up is told as one message; empty: each notice at once.
    /// Critical ones never wait.
    #[serde(default)]
    pub digest_at: Vec<TimeOfDay>,
    /// Of these times; the tenant's unless said otherwise.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub time_zone: Option<Tz>,
}

/// How much a notice matters.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// To be known.
    #[default]
    Info,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

/// From when until when; over midnight where it ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    pub from: TimeOfDay,
    pub to: TimeOfDay,
}

/// A time of the day, `22:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct TimeOfDay(
    #[schemars(with = "String", regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))] NaiveTime,
);

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = NaiveTime::parse_from_str(&text, "%H:%M");
        let words = || format!("`{text}` is not a time of the day: write `22:00`");
        time.map(Self).map_err(|_| de::Error::custom(words()))
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%H:%M"))
    }
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// As policies write it; what they write otherwise matters.
    pub fn read(text: &str) -> Self {
        match text {
            "info" => Self::Info,
            "critical" => Self::Critical,
            _ => Self::Warning,
        }
    }
}

impl Channel {
    /// When a notice that is raised at an instant is told; none: it is not. The zone is the tenant's.
    pub fn due_at(&self, severity: Severity, at: Instant, zone: Tz) -> Option<Instant> {
        if severity < self.least_severity {
            return None;
        }
        let zone = self.time_zone.unwrap_or(zone);
        let Some(told) =
            DateTime::from_timestamp_millis(at).filter(|_| severity < Severity::Critical)
        else {
            return Some(at);
        };
        let digest = self.digest_at.iter().map(|time| next(*time, told, zone)).min();
        let told = digest.unwrap_or(told);
        let quiet = self.quiet_hours.filter(|own| own.holds(told.with_timezone(&zone).time()));
        Some(quiet.map_or(told, |own| next(own.to, told, zone)).timestamp_millis())
    }

    /// Whether what is due at a time is told as one message.
    pub fn gathers(&self) -> bool {
        !self.digest_at.is_empty()
    }
}

impl QuietHours {
    fn holds(&self, time: NaiveTime) -> bool {
        let (from, to) = (self.from.0, self.to.0);
        if from <= to { from <= time && time < to } else { from <= time || time < to }
    }
}

/// When it is next that time of the day in a zone. A time that clocks leave out is an hour later.
fn next(TimeOfDay(time): TimeOfDay, after: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
    let today = after.with_timezone(&zone).date_naive();
    let on = |days| {
        let local = (today + TimeDelta::days(days)).and_time(time);
        let there = zone.from_local_datetime(&local).earliest();
        there.or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
    };
    let all = (0..3).filter_map(on).map(|own| own.with_timezone(&Utc));
    all.filter(|own| *own > after).min().unwrap_or(after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn channel(more: serde_json::Value) -> Channel {
        let mut all = json!({ "to": { "kind": "log" } });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn at(text: &str) -> Instant {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    fn due(channel: &Channel, severity: Severity, told: &str, zone: Tz) -> String {
        let due = channel.due_at(severity, at(told), zone).unwrap();
        let due = DateTime::from_timestamp_millis(due).unwrap();
        due.with_timezone(&zone).format("%d %H:%M").to_string()
    }

    #[test]
    fn quiet_hours_hold_in_the_tenants_zone_but_for_what_is_critical() {
        let quiet = channel(json!({ "quiet_hours": { "from": "22:00", "to": "07:00" } }));
        let zone = chrono_tz::America::Sao_Paulo;
        let due = |severity, told| due(&quiet, severity, told, zone);
        // 21:59, 22:00, 06:59 and 07:00 in São Paulo, three hours behind.
        assert_eq!(due(Severity::Warning, "2025-11-20T00:59:00Z"), "19 21:59");
        assert_eq!(due(Severity::Warning, "2025-11-20T01:00:00Z"), "20 07:00");
        assert_eq!(due(Severity::Info, "2025-11-20T09:59:00Z"), "20 07:00");
        assert_eq!(due(Severity::Info, "2025-11-20T10:00:00Z"), "20 07:00");
        assert_eq!(due(Severity::Critical, "2025-11-20T01:00:00Z"), "19 22:00");
    }

    #[test]
    fn a_digest_waits_for_its_next_time_and_for_quiet_hours_to_end() {
        let digest = channel(json!({
            "digest_at": ["17:00", "06:00"],
            "quiet_hours": { "from": "00:00", "to": "06:30" },
        }));
        let zone = chrono_tz::Europe::Berlin;
        let due = |severity, told| due(&digest, severity, told, zone);
        assert_eq!(due(Severity::Warning, "2025-11-20T15:59:59Z"), "20 17:00");
        assert_eq!(due(Severity::Warning, "2025-11-20T16:00:00Z"), "21 06:30");
        assert_eq!(due(Severity::Critical, "2025-11-20T16:00:00Z"), "20 17:00");
    }

    #[test]
    fn where_clocks_leave_a_time_out_it_is_told_an_hour_later() {
        let digest = channel(json!({ "digest_at": ["02:30"] }));
        let zone = chrono_tz::Europe::Berlin;
        assert_eq!(due(&digest, Severity::Info, "2026-03-29T00:00:00Z", zone), "29 03:30");
        assert_eq!(due(&digest, Severity::Info, "2026-03-29T01:30:00Z", zone), "30 02:30");
    }

    #[test]
    fn what_matters_less_is_passed_over() {
        let severe = channel(json!({ "least_severity": "warning" }));
        assert_eq!(severe.due_at(Severity::Info, 7, Tz::UTC), None);
        assert_eq!(severe.due_at(Severity::Warning, 7, Tz::UTC), Some(7));
        let wrong = json!({ "to": { "kind": "log" }, "digest_at": ["25:00"] });
        let error = serde_json::from_value::<Channel>(wrong).unwrap_err().to_string();
        assert!(error.contains("`25:00`"), "{error}");
    }
}
