//! What a task will need, told from its description: keywords find operations, operations add
//! amounts.
//!
//! The description is read as lower-case words without the accents of Portuguese, `ё` as `е`. An
//! operation counts once, however often its keywords occur, unless a number stands among the two
//! words before one of them (`three large files`): then what it adds is multiplied by the largest
//! such number. Nothing reaches across the end of a clause, so that a numbered list multiplies
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, DecimalError};
use crate::meter::{LLM_TOKENS, Meter, RESOURCES};

/// The longest description that is read.
pub const DESCRIPTION_BYTES_MAX: usize = 100_000;

/// How many words before a keyword may hold its number.
const COUNT_WORDS: usize = 2;

/// How many words may stand between one of `after` and the keyword.
const AFTER_WORDS: usize = 3;

/// What ends a clause. A closing bracket does, for the sake of lists: `2) download`.
const CLAUSE_ENDS: [char; 9] = ['.', ',', ';', ':', '!', '?', ')', ']', '…'];

/// What may open a quotation or a bracket before a number.
const OPENINGS: [char; 6] = ['(', '[', '"', '\'', '«', '“'];

/// By how many letters clues are shelved.
const SHELF_LETTERS: usize = 6;

/// How much, meter by meter.
pub type Amounts = BTreeMap<Meter, Decimal>;

/// The table that estimates are made from. What is left out is taken from the standard table, so
/// that the default is the standard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimateSettings {
    /// What every task costs.
    pub base: Option<Amounts>,
    /// How many bytes of the description cost one of `llm_tokens`, rounded up.
    pub bytes_per_token: Option<NonZeroU32>,
    /// The most that a number multiplies by.
    pub count_max: Option<NonZeroU32>,
    /// Numbers written as words.
    pub numbers: Option<BTreeMap<String, NonZeroU32>>,
    /// Words that take the number before them for themselves, as `MB` does in `500 MB file`.
    pub measures: Option<Vec<String>>,
    /// What a task may consist of.
    pub operations: Option<Vec<Operation>>,
    /// Added to `operations`; one of the same name takes its place.
    pub extra_operations: Option<Vec<Operation>>,
}

/// Something that a task may consist of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// For people, and for `extra_operations`.
    pub name: String,
    /// Any of these tells of it: a word, or words that follow one another. `*` at the end of a
    /// word stands for any ending.
    pub keywords: Vec<String>,
    /// Where there are any, a keyword tells only if one of these stands shortly before it:
    /// `create` three `agents`, but not "ask the `agents`".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What it adds to the estimate, as often as it counts.
    pub adds: Amounts,
    /// What it adds however often it counts: files read one by one need the memory of one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub once: Amounts,
}

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// Not JSON, or not of the schema's shape.
    #[error("settings: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A keyword, number or measure that no description could hold.
    #[error("settings: `{word}` in `{place}` matches nothing: write {expected}")]
    Word {
        /// As it was written.
        word: String,
        /// The operation or setting that holds it.
        place: String,
        /// What to write instead.
        expected: &'static str,
    },
    /// An amount below zero.
    #[error("settings: `{amount}` of `{meter}` in `{place}` lies below zero: write zero or more")]
    BelowZero {
        /// As it was written.
        amount: Decimal,
        /// Of what.
        meter: Meter,
        /// The operation or setting that holds it.
        place: String,
    },
    /// The amounts could add up to more than can be held.
    #[error("settings: amounts of `{meter}`, with everything at `count_max`: {source}")]
    Amount {
        /// Of what.
        meter: String,
        /// What is wrong with the sum.
        source: DecimalError,
    },
    /// The description is too long to be read.
    #[error("the description has `{0}` bytes: shorten it to {DESCRIPTION_BYTES_MAX}")]
    TooLong(usize),
}

impl EstimateSettings {
    /// The JSON Schema of the settings.
    pub const SCHEMA: &str = include_str!("estimate_schema.json");

    /// Reads settings (JSON).
    pub fn parse(settings: &str) -> Result<Self, EstimateError> {
        Ok(serde_json::from_str(settings)?)
    }

    /// The standard table, every setting spelled out.
    pub fn standard() -> Result<Self, EstimateError> {
        Self::parse(include_str!("estimate_standard.json"))
    }
}

/// Estimates tasks by one table.
#[derive(Clone, Debug)]
pub struct Estimator {
    base: Amounts,
    bytes_per_token: u32,
    count_max: u32,
    numbers: BTreeMap<String, u32>,
    measures: BTreeSet<String>,
    operations: Vec<Operation>,
    clues: Shelf,
}

/// Clues by the letters that they begin with, so that a word meets few of them, however many
/// there are.
#[derive(Clone, Debug, Default)]
struct Shelf {
    clues: Vec<Clue>,
    next: BTreeMap<char, Shelf>,
}

/// A keyword, or one of the words that it must come after.
#[derive(Clone, Debug)]
struct Clue {
    /// Index into `Estimator::operations`.
    operation: usize,
    kind: Kind,
    /// At least one.
    stems: Vec<Stem>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Tells of the operation.
    Keyword,
    /// Tells of it only if one of `after` came before.
    Guarded,
    /// One of `after`.
    Guard,
}

/// A word that is looked for.
#[derive(Clone, Debug)]
struct Stem {
    text: String,
    /// Any ending will do.
    open: bool,
}

/// A word of a description.
struct Word<'a> {
    text: &'a str,
    /// Which clause it belongs to.
    clause: usize,
    /// What it says, if it is a number in digits.
    number: Option<u32>,
}

/// What is known of an operation so far.
#[derive(Clone, Default)]
struct Sighting {
    /// The largest number that it came with, 1 without one; 0 while it was not found.
    count: u32,
    /// Where the last of `after` ended, and its clause.
    guard: Option<(usize, usize)>,
}

impl Estimator {
    /// Reads the table. Whatever could go wrong with its amounts goes wrong here.
    pub fn new(settings: EstimateSettings) -> Result<Self, EstimateError> {
        let standard = EstimateSettings::standard()?;
        let mut operations = settings.operations.or(standard.operations).unwrap_or_default();
        let extra = settings.extra_operations.unwrap_or_default();
        operations.retain(|operation| extra.iter().all(|other| other.name != operation.name));
        operations.extend(extra);
        let numbers = settings.numbers.or(standard.numbers).unwrap_or_default();
        let measures = settings.measures.or(standard.measures).unwrap_or_default();
        let bytes_per_token = settings.bytes_per_token.or(standard.bytes_per_token);
        let count_max = settings.count_max.or(standard.count_max);

        let mut estimator = Self {
            base: settings.base.or(standard.base).unwrap_or_default(),
            bytes_per_token: bytes_per_token.map_or(1, NonZeroU32::get),
            count_max: count_max.map_or(1, NonZeroU32::get),
            numbers: BTreeMap::new(),
            measures: BTreeSet::new(),
            operations: Vec::new(),
            clues: Shelf::default(),
        };
        for (word, number) in numbers {
            estimator.numbers.insert(single(&word, "numbers")?, number.get());
        }
        for word in measures {
            estimator.measures.insert(single(&word, "measures")?);
        }
        check_amounts(&estimator.base, "base")?;
        for operation in operations {
            estimator.add_operation(operation)?;
        }
        let most = vec![estimator.count_max; estimator.operations.len()];
        estimator.total(DESCRIPTION_BYTES_MAX, most)?;
        Ok(estimator)
    }

    /// What a task of this description needs: the eleven [`RESOURCES`] in their order, then what
    /// other meters the settings name, in alphabetical order. An amount may be zero.
    pub fn estimate(&self, description: &str) -> Result<Vec<(String, Decimal)>, EstimateError> {
        if description.len() > DESCRIPTION_BYTES_MAX {
            return Err(EstimateError::TooLong(description.len()));
        }
        let mut totals = self.total(description.len(), self.counts(&read(&fold(description))))?;
        let resources = RESOURCES.map(|meter| (meter, totals.remove(meter).unwrap_or_default()));
        Ok(resources
            .into_iter()
            .chain(totals)
            .map(|(meter, amount)| (meter.into(), amount))
            .collect())
    }

    fn add_operation(&mut self, operation: Operation) -> Result<(), EstimateError> {
        check_amounts(&operation.adds, &operation.name)?;
        check_amounts(&operation.once, &operation.name)?;
        let guarded = if operation.after.is_empty() { Kind::Keyword } else { Kind::Guarded };
        let keywords = operation.keywords.iter().map(|keyword| (keyword, guarded));
        for (words, kind) in keywords.chain(operation.after.iter().map(|word| (word, Kind::Guard)))
        {
            let stems = stems(words);
            let Some(first) = stems.first() else {
                return Err(EstimateError::Word {
                    word: words.clone(),
                    place: operation.name.clone(),
                    expected: "a word or several, `*` only at the end of one",
                });
            };
            let letters = first.text.chars().take(SHELF_LETTERS);
            letters
                .fold(&mut self.clues, |shelf, letter| shelf.next.entry(letter).or_default())
                .clues
                .push(Clue { operation: self.operations.len(), kind, stems });
        }
        self.operations.push(operation);
        Ok(())
    }

    /// How often each operation counts.
    fn counts(&self, words: &[Word]) -> Vec<u32> {
        let mut sightings = vec![Sighting::default(); self.operations.len()];
        for (position, word) in words.iter().enumerate() {
            let (before, onward) = words.split_at_checked(position).unwrap_or_default();
            for clue in self.clues.at(word.text).filter(|clue| clue.begins(onward)) {
                let Some(sighting) = sightings.get_mut(clue.operation) else { continue };
                let guarded = sighting.guard.is_some_and(|(end, clause)| {
                    clause == word.clause
                        && position.checked_sub(end).is_some_and(|between| between <= AFTER_WORDS)
                });
                match clue.kind {
                    Kind::Guard => {
                        let end = position.saturating_add(clue.stems.len());
                        sighting.guard = Some((end, word.clause));
                    }
                    Kind::Guarded if !guarded => {}
                    Kind::Guarded | Kind::Keyword => {
                        let count = self.count(before, word.clause).min(self.count_max);
                        sighting.count = sighting.count.max(count);
                    }
                }
            }
        }
        sightings.into_iter().map(|sighting| sighting.count).collect()
    }

    /// The number that belongs to a keyword after these words, 1 if there is none.
    fn count(&self, before: &[Word], clause: usize) -> u32 {
        for word in before.iter().rev().take(COUNT_WORDS) {
            if word.clause != clause || self.measures.contains(word.text) {
                break;
            }
            if let Some(number) = word.number.or_else(|| self.numbers.get(word.text).copied()) {
                return number;
            }
        }
        1
    }

    /// Adds up the base, the description's own tokens and what the operations add.
    fn total(
        &self,
        bytes: usize,
        counts: Vec<u32>,
    ) -> Result<BTreeMap<&str, Decimal>, EstimateError> {
        let tokens = u32::try_from(bytes).unwrap_or(u32::MAX).div_ceil(self.bytes_per_token);
        let mut totals = BTreeMap::from([(LLM_TOKENS, Decimal::from(tokens))]);
        let operations = self.operations.iter().zip(counts).flat_map(|(operation, count)| {
            [(&operation.adds, count), (&operation.once, count.min(1))]
        });
        for (amounts, count) in operations.chain([(&self.base, 1)]) {
            for (meter, amount) in amounts {
                let total = totals.entry(meter.as_str()).or_default();
                *total = amount
                    .checked_mul(Decimal::from(count))
                    .and_then(|product| total.checked_add(product))
                    .map_err(|source| EstimateError::Amount { meter: meter.to_string(), source })?;
            }
        }
        Ok(totals)
    }
}

impl Shelf {
    /// The clues that may begin with this word.
    fn at(&self, word: &str) -> impl Iterator<Item = &Clue> {
        let mut letters = word.chars();
        let shelves = iter::successors(Some(self), move |shelf| shelf.next.get(&letters.next()?));
        shelves.flat_map(|shelf| &shelf.clues)
    }
}

impl Clue {
    /// Whether these words begin with it, in one clause.
    fn begins(&self, words: &[Word]) -> bool {
        let clause = words.first().map(|word| word.clause);
        self.stems.len() <= words.len()
            && self.stems.iter().zip(words).all(|(stem, word)| {
                Some(word.clause) == clause
                    && word.text.starts_with(&stem.text)
                    && (stem.open || word.text.len() == stem.text.len())
            })
    }
}

fn check_amounts(amounts: &Amounts, place: &str) -> Result<(), EstimateError> {
    match amounts.iter().find(|(_, amount)| amount.is_negative()) {
        Some((meter, amount)) => Err(EstimateError::BelowZero {
            amount: *amount,
            meter: meter.clone(),
            place: place.into(),
        }),
        None => Ok(()),
    }
}

/// The words of a keyword; none if it cannot be one.
fn stems(keyword: &str) -> Vec<Stem> {
    let mut stems = Vec::new();
    for chunk in fold(keyword).split_whitespace() {
        let (chunk, open) = chunk.strip_suffix('*').map_or((chunk, false), |chunk| (chunk, true));
        if chunk.contains('*') || (open && !chunk.ends_with(char::is_alphanumeric)) {
            return Vec::new();
        }
        stems.extend(split(chunk).map(|text| Stem { text: text.into(), open: false }));
        if let Some(last) = stems.last_mut() {
            last.open |= open;
        }
    }
    stems
}

/// A word without `*`, as descriptions are read.
fn single(word: &str, place: &str) -> Result<String, EstimateError> {
    match stems(word).as_mut_slice() {
        [Stem { text, open: false }] => Ok(std::mem::take(text)),
        _ => Err(EstimateError::Word {
            word: word.into(),
            place: place.into(),
            expected: "one word, without `*`",
        }),
    }
}

/// The words of a folded description.
fn read(description: &str) -> Vec<Word<'_>> {
    let mut words: Vec<Word> = Vec::new();
    let mut clause = 0_usize;
    for chunk in description.split_whitespace() {
        let group = chunk.len() == 3 && digits(chunk);
        match (words.last_mut(), number(chunk)) {
            // Thousands set off by a space: `10 000`.
            (Some(Word { number: Some(number @ 1..=999), .. }), _) if group => {
                *number = number.saturating_mul(1000).saturating_add(chunk.parse().unwrap_or(0));
            }
            (_, Some(number)) => {
                words.push(Word { text: chunk, clause, number: Some(number) });
            }
            _ => words.extend(split(chunk).map(|text| Word { text, clause, number: None })),
        }
        if chunk.ends_with(CLAUSE_ENDS) {
            clause = clause.saturating_add(1);
        }
    }
    words
}

/// What a chunk between spaces says if it is nothing but a count: `12`, `1,000`, `3-5` (the
/// larger). No count is a year, a date, a version, `05`, `5%`, `$5`, `3.` or `3)`.
fn number(chunk: &str) -> Option<u32> {
    let chunk = chunk.trim_start_matches(OPENINGS);
    match chunk.split_once(['-', '–']) {
        Some((low, high)) => whole(high).filter(|high| whole(low).is_some_and(|low| low <= *high)),
        None => whole(chunk),
    }
}

fn whole(text: &str) -> Option<u32> {
    let mut groups = text.split([',', '.']);
    let first = groups.next().filter(|first| digits(first) && !first.starts_with('0'))?;
    let grouped = first.len() < text.len();
    let year = text.len() == 4 && (text.starts_with("19") || text.starts_with("20"));
    if year || grouped && first.len() > 3 || !groups.all(|group| group.len() == 3 && digits(group))
    {
        return None;
    }
    // Whatever does not fit lies above every cap.
    Some(text.replace([',', '.'], "").parse().unwrap_or(u32::MAX))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The stretches of letters and digits.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// In lower case, without accents, be they part of a letter or characters of their own.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.to_lowercase().chars() {
        folded.push(match letter {
            '\u{300}'..='\u{36f}' => continue,
            'á' | 'à' | 'â' | 'ã' => 'a',
            'é' | 'ê' => 'e',
            'í' => 'i',
            'ó' | 'ô' | 'õ' => 'o',
            'ú' | 'ü' => 'u',
            'ç' => 'c',
            'ё' => 'е',
            // Where its breve was a character of its own, only this is left of it.
            'й' => 'и',
            other => other,
        });
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_table_spells_out_every_setting() {
        let standard = EstimateSettings::standard().unwrap();
        let json = serde_json::to_value(&standard).unwrap();
        assert!(json.as_object().unwrap().values().all(|setting| !setting.is_null()), "{json}");
        Estimator::new(standard).unwrap();
    }
}
