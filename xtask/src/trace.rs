//! The project's own sample trace: invented calls in the shape of a real trace.
//!
//! From the Azure LLM inference trace 2023 (code) come quantiles of its two token columns and of
//! its inter-arrival times, and nothing else: no row of it is here. Users, agents, models and
//! sessions are invented. All arithmetic is on integers, so that every machine gives the same bytes.

use std::fmt::Write;

/// The seed of the checked-in `tests/data/sample_trace.csv`.
pub const SEED: u64 = 3;
/// The rows of the checked-in `tests/data/sample_trace.csv`.
pub const ROWS: usize = 5_000;

const HEADER: &str =
    "TIMESTAMP,ContextTokens,GeneratedTokens,Model,Provider,User,Agent,Session,ApiKeyType";

/// Ticks of 100 ns, as fine as the time stamps of the real trace.
const SECOND: u64 = 10_000_000;
const DAY: u64 = 86_400 * SECOND;
/// 2025-10-30 20:00 UTC: 5,000 rows take about 40 hours and cross into November.
const START: u64 = 1_761_854_400 * SECOND;

/// A marginal distribution: (parts per million, value), both rising, linear in between.
type Quantiles = [(u64, u64)];

const CONTEXT_TOKENS: &Quantiles = &[
    (0, 3),
    (10_000, 17),
    (50_000, 75),
    (100_000, 147),
    (200_000, 385),
    (300_000, 770),
    (400_000, 1_075),
    (500_000, 1_470),
    (600_000, 1_910),
    (700_000, 2_430),
    (800_000, 3_190),
    (900_000, 5_190),
    (950_000, 7_315),
    (960_000, 7_430),
    (1_000_000, 7_437),
];

const GENERATED_TOKENS: &Quantiles = &[
    (0, 6),
    (100_000, 7),
    (200_000, 8),
    (300_000, 9),
    (400_000, 11),
    (500_000, 13),
    (600_000, 16),
    (700_000, 20),
    (800_000, 29),
    (900_000, 55),
    (950_000, 90),
    (990_000, 252),
    (997_000, 520),
    (999_000, 830),
    (1_000_000, 1_900),
];

/// Ticks between two calls. Within a burst (96.3 %) as in the real trace: half of the calls come
/// within 64 ms. The pauses between bursts keep their spread (standard deviation about 1.9 times
/// the mean), stretched so that a call falls every 29 s on average.
const GAPS: &Quantiles = &[
    (0, 60),
    (50_000, 880),
    (100_000, 2_090),
    (200_000, 11_840),
    (300_000, 32_900),
    (400_000, 151_000),
    (500_000, 638_000),
    (600_000, 950_000),
    (700_000, 1_001_000),
    (800_000, 1_600_000),
    (900_000, 2_730_000),
    (950_000, 4_010_000),
    (PAUSE_FROM, SECOND / 2),
    (PAUSE_FROM, 20 * SECOND),
    (972_250, 60 * SECOND),
    (981_500, 150 * SECOND),
    (990_750, 600 * SECOND),
    (996_300, 2_000 * SECOND),
    (998_150, 3_600 * SECOND),
    (999_630, 7_200 * SECOND),
    (1_000_000, 9_000 * SECOND),
];
const PAUSE_FROM: u64 = 963_000;

/// Calls in a session.
const SESSION_CALLS: &Quantiles = &[(0, 1), (500_000, 6), (900_000, 25), (1_000_000, 60)];
/// A session ends when its user was silent for so long.
const SESSION_IDLE: u64 = 1_800 * SECOND;
/// How often, in a hundred, the next call of a burst comes from the same user.
const SAME_USER: u64 = 80;

/// Model and provider, as in the `seed` price list.
const MODELS: [(&str, &str); 6] = [
    ("gpt-4", "openai"),
    ("gpt-4o", "openai"),
    ("gpt-3.5", "openai"),
    ("claude-opus", "anthropic"),
    ("claude-sonnet", "anthropic"),
    ("claude-instant", "anthropic"),
];

/// Agent, its weight, and the weights of its models in the order of `MODELS`.
const AGENTS: [(&str, u64, [u64; 6]); 6] = [
    ("Agente SDR", 34, [15, 55, 20, 0, 10, 0]),
    ("Revisor de Código", 22, [5, 10, 0, 35, 50, 0]),
    ("Suporte Técnico", 18, [0, 35, 35, 0, 10, 20]),
    ("research", 12, [10, 20, 0, 30, 40, 0]),
    ("Сводка отчётов", 9, [0, 30, 20, 0, 40, 10]),
    ("data-pipeline", 5, [0, 0, 50, 0, 0, 50]),
];

/// User, its weight, and the type of its API key.
const USERS: [(&str, u64, &str); 12] = [
    ("ana", 30, "platform"),
    ("bruno", 18, "platform"),
    ("carla", 12, "byok"),
    ("joão", 9, "platform"),
    ("elena", 7, "platform"),
    ("fábio", 6, "byok"),
    ("иван", 5, "platform"),
    ("helena", 4, "platform"),
    ("igor", 3, "byok"),
    ("júlia", 3, "platform"),
    ("kevin", 2, "platform"),
    ("лариса", 1, "byok"),
];

/// A user's consecutive calls with one agent and one model.
struct Session {
    number: u64,
    agent: usize,
    model: usize,
    calls_left: u64,
    last: u64,
}

/// The trace as CSV, a header and `rows` lines, in order of time. A shorter trace of the same
/// seed is the beginning of a longer one.
pub fn generate(seed: u64, rows: usize) -> String {
    let mut random = SplitMix64(seed);
    let mut sessions: [Option<Session>; USERS.len()] = [const { None }; USERS.len()];
    let mut opened = 0;
    let mut now = START;
    let mut user = pick(&mut random, USERS.iter().map(|u| u.1));
    let mut csv = format!("{HEADER}\n");
    for _ in 0..rows {
        let gap = sample(&mut random, GAPS);
        now += gap;
        if gap > SECOND || random.below(100) >= SAME_USER {
            user = pick(&mut random, USERS.iter().map(|u| u.1));
        }
        let open =
            sessions[user].take().filter(|s| s.calls_left > 0 && now - s.last <= SESSION_IDLE);
        let mut session = open.unwrap_or_else(|| {
            opened += 1;
            let agent = pick(&mut random, AGENTS.iter().map(|a| a.1));
            Session {
                number: opened,
                agent,
                model: pick(&mut random, AGENTS[agent].2.into_iter()),
                calls_left: sample(&mut random, SESSION_CALLS),
                last: now,
            }
        });
        session.calls_left -= 1;
        session.last = now;
        let context = sample(&mut random, CONTEXT_TOKENS);
        let generated = sample(&mut random, GENERATED_TOKENS);
        let (model, provider) = MODELS[session.model];
        let (name, _, key_type) = USERS[user];
        let agent = AGENTS[session.agent].0;
        let time = timestamp(now);
        let number = session.number;
        // Writing to a string cannot fail.
        let _ = writeln!(
            csv,
            "{time},{context},{generated},{model},{provider},{name},{agent},s-{number:04},{key_type}"
        );
        sessions[user] = Some(session);
    }
    csv
}

/// SplitMix64 (Steele, Lea, Flood, 2014): one addition and a mix; every seed is a good one.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A value of the distribution: the inverse of its table at a random point.
fn sample(random: &mut SplitMix64, table: &Quantiles) -> u64 {
    let point = random.below(1_000_000);
    let at = table.partition_point(|(ppm, _)| *ppm <= point);
    let ((low, from), (high, to)) = (table[at - 1], table[at]);
    from + (to - from) * (point - low) / (high - low)
}

/// An index, as often as its weight says.
fn pick(random: &mut SplitMix64, weights: impl Iterator<Item = u64> + Clone) -> usize {
    let mut point = random.below(weights.clone().sum());
    let mut index = 0;
    for weight in weights {
        if point < weight {
            break;
        }
        point -= weight;
        index += 1;
    }
    index
}

/// `2025-10-30 20:00:00.0000000`, from ticks since 1970.
fn timestamp(ticks: u64) -> String {
    let (year, month, day) = date(ticks / DAY);
    let second = ticks % DAY / SECOND;
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    let fraction = ticks % SECOND;
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}.{fraction:07}")
}

/// Year, month and day of a day counted from 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if leap { 29 } else { 28 };
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, length) in (1..).zip(lengths) {
            if days < length {
                return (year, month, days + 1);
            }
            days -= length;
        }
        year += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn rows(csv: &str) -> Vec<Vec<&str>> {
        csv.lines().skip(1).map(|line| line.split(',').collect()).collect()
    }

    fn numbers(rows: &[Vec<&str>], column: usize) -> Vec<u64> {
        let mut numbers: Vec<u64> = rows.iter().map(|r| r[column].parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Ticks since the last of September, for October and November.
    fn ticks(time: &str) -> u64 {
        let number = |digits: &str| digits.parse::<u64>().unwrap();
        let day = (number(&time[5..7]) - 10) * 31 + number(&time[8..10]);
        let minute = number(&time[11..13]) * 60 + number(&time[14..16]);
        let fraction = number(&time[20..]);
        day * DAY + (minute * 60 + number(&time[17..19])) * SECOND + fraction
    }

    #[test]
    fn the_checked_in_trace_is_what_the_generator_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/sample_trace.csv");
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(
            generate(SEED, ROWS) == checked_in,
            "`{path}` has drifted: write `generate(SEED, ROWS)` to it"
        );
    }

    #[test]
    fn a_seed_decides_every_byte() {
        assert_eq!(generate(7, 300), generate(7, 300));
        assert_ne!(generate(7, 300), generate(8, 300));
        assert!(generate(7, 300).starts_with(&generate(7, 200)));
        assert_eq!(generate(7, 0), format!("{HEADER}\n"));
    }

    #[test]
    fn time_never_goes_back() {
        for seed in 0..20 {
            let csv = generate(seed, 2_000);
            assert!(rows(&csv).is_sorted_by(|a, b| a[0] <= b[0]));
        }
    }

    #[test]
    fn the_sample_takes_about_forty_hours_and_crosses_a_month_end() {
        let csv = generate(SEED, ROWS);
        let rows = rows(&csv);
        assert_eq!(rows.len(), ROWS);
        assert!(rows[0][0].starts_with("2025-10-30 2"));
        let last = rows[ROWS - 1][0];
        assert!(("2025-11-01 08".."2025-11-01 16").contains(&last), "{last}");
    }

    #[test]
    fn medians_and_bursts_are_those_of_the_real_trace() {
        for seed in [SEED, 1, 2] {
            let csv = generate(seed, ROWS);
            let rows = rows(&csv);
            // Within 10 % of the tables' medians, 1,470 and 13.
            let context = numbers(&rows, 1)[ROWS / 2];
            assert!((1_323..=1_617).contains(&context), "{context}");
            let generated = numbers(&rows, 2)[ROWS / 2];
            assert!((12..=14).contains(&generated), "{generated}");
            // Half of the calls come within 64 ms of the one before, give or take a fifth.
            let times: Vec<u64> = rows.iter().map(|r| ticks(r[0])).collect();
            let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            gaps.sort_unstable();
            let median = gaps[ROWS / 2];
            assert!((510_000..=765_000).contains(&median), "{median}");
            let pauses = gaps.iter().filter(|gap| **gap > SECOND).count();
            assert!((140..=230).contains(&pauses), "{pauses}");
        }
    }

    #[test]
    fn every_name_is_known_and_appears() {
        let csv = generate(SEED, ROWS);
        let mut seen = BTreeSet::new();
        for row in rows(&csv) {
            assert_eq!(row.len(), 9);
            assert!(MODELS.contains(&(row[3], row[4])), "{row:?}");
            assert!(USERS.iter().any(|u| u.0 == row[5] && u.2 == row[8]));
            seen.extend([row[3], row[5], row[6]]);
        }
        assert_eq!(seen.len(), MODELS.len() + USERS.len() + AGENTS.len());
    }

    #[test]
    fn a_session_is_one_user_with_one_agent() {
        let csv = generate(SEED, ROWS);
        let mut owners = BTreeMap::new();
        for row in rows(&csv) {
            let owner = (row[5], row[6], row[3]);
            assert_eq!(*owners.entry(row[7]).or_insert(owner), owner);
        }
        assert!(owners.len() > 100);
    }

    #[test]
    fn dates_turn_with_months_and_leap_years() {
        assert_eq!(timestamp(START), "2025-10-30 20:00:00.0000000");
        assert_eq!(timestamp(START + 2 * DAY + 1), "2025-11-01 20:00:00.0000001");
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(19_783), (2024, 3, 1));
    }
}
