//! Reading a trace: CSV in the order of time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDateTime};
use csv::{ReaderBuilder, StringRecord};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Dimension, Quantity};
use tollgate_policy_core::window::Instant;

/// Optional columns, and the dimensions they give.
const DIMENSIONS: [(&str, &str); 6] = [
    ("Model", "model"),
    ("Provider", "provider"),
    ("User", "user"),
    ("Agent", "agent"),
    ("Session", "session"),
    ("ApiKeyType", "api_key_type"),
];

/// One call of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file.
    pub line: u64,
    /// When.
    pub at: Instant,
    /// Tokens in.
    pub input: Decimal,
    /// Tokens out.
    pub output: Decimal,
    /// Those that the row has.
    pub dimensions: Vec<Dimension>,
}

impl Row {
    /// What the call uses.
    pub fn quantities(&self) -> Result<Vec<Quantity>> {
        let quantity = |meter: &str, amount| Ok(Quantity { meter: meter.parse()?, amount });
        [
            ("llm_requests", Decimal::ONE),
            ("llm_tokens", self.input.checked_add(self.output)?),
            ("llm_tokens.input", self.input),
            ("llm_tokens.output", self.output),
        ]
        .into_iter()
        .map(|(meter, amount)| quantity(meter, amount))
        .collect()
    }
}

struct Columns {
    at: usize,
    input: usize,
    output: usize,
    dimensions: Vec<(usize, &'static str)>,
}

/// Counts lines by their ends: the CSV reader is one behind where they are of two bytes.
struct Lines<'a> {
    text: &'a [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a record that begins at a byte, or at the line end before it.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let start = position.map_or(0, |position| position.byte() as usize);
        let ends = |byte: &&u8| **byte == b'\n';
        let passed = self.text.get(self.counted..start).unwrap_or_default();
        self.line += passed.iter().filter(ends).count() as u64;
        self.counted = self.counted.max(start);
        self.line + u64::from(self.text.get(start) == Some(&b'\n'))
    }
}

/// Reads a whole trace, so that a bad row is found before anything is judged.
pub fn read(path: &Path, default_model: Option<&str>) -> Result<Vec<Row>> {
    let text = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&text, default_model).with_context(|| format!("`{}`", path.display()))
}

fn parse(text: &[u8], default_model: Option<&str>) -> Result<Vec<Row>> {
    let mut reader = ReaderBuilder::new().has_headers(true).from_reader(text);
    let mut lines = Lines { text, counted: 0, line: 1 };
    let columns = Columns::find(reader.headers().context("line 1: the header cannot be read")?)?;
    let mut rows = Vec::new();
    let mut last = NaiveDateTime::MIN;
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = lines.of(error.position());
            anyhow::anyhow!("line {line}: the row cannot be read: {error}")
        })?;
        let line = lines.of(record.position());
        let (at, row) =
            columns.row(&record, line, default_model).with_context(|| format!("line {line}"))?;
        if at < last {
            bail!("line {line}: `{at}` lies before the row above: sort the trace by TIMESTAMP");
        }
        last = at;
        rows.push(row);
    }
    Ok(rows)
}

impl Columns {
    fn find(header: &StringRecord) -> Result<Self> {
        let position = |name: &str| {
            header.iter().position(|column| column.trim_start_matches('\u{feff}') == name)
        };
        let required = |name: &str| {
            position(name).with_context(|| {
                format!("line 1: no column `{name}`: the header is `TIMESTAMP,ContextTokens,GeneratedTokens`, and optional columns")
            })
        };
        let known = |column: &str| {
            ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
                .contains(&column.trim_start_matches('\u{feff}'))
                || DIMENSIONS.iter().any(|(name, _)| *name == column)
        };
        if let Some(unknown) = header.iter().find(|column| !known(column)) {
            let names: Vec<&str> = DIMENSIONS.iter().map(|(name, _)| *name).collect();
            bail!(
                "line 1: column `{unknown}` is not known: optional columns are `{}`",
                names.join("`, `")
            );
        }
        let dimensions = DIMENSIONS
            .iter()
            .filter_map(|(column, dimension)| Some((position(column)?, *dimension)))
            .collect();
        Ok(Self {
            at: required("TIMESTAMP")?,
            input: required("ContextTokens")?,
            output: required("GeneratedTokens")?,
            dimensions,
        })
    }

    fn row(
        &self,
        record: &StringRecord,
        line: u64,
        default_model: Option<&str>,
    ) -> Result<(NaiveDateTime, Row)> {
        let cell = |index: usize| record.get(index).unwrap_or_default().trim();
        let at = timestamp(cell(self.at))?;
        let tokens = |index: usize| -> Result<Decimal> {
            let text = cell(index);
            let tokens: u64 = text.parse().with_context(|| {
                format!("`{text}` is not a number of tokens: write a whole number")
            })?;
            Ok(Decimal::try_from(tokens)?)
        };
        let mut dimensions: Vec<Dimension> = self
            .dimensions
            .iter()
            .filter(|(index, _)| !cell(*index).is_empty())
            .map(|(index, name)| Dimension { name: (*name).into(), value: cell(*index).into() })
            .collect();
        if !dimensions.iter().any(|dimension| dimension.name == "model") {
            let Some(model) = default_model else {
                bail!(
                    "the row names no model, and there is no default: add a column `Model`, or name one with `--model` or `default_model`"
                );
            };
            dimensions.insert(0, Dimension { name: "model".into(), value: model.into() });
        }
        let (input, output) = (tokens(self.input)?, tokens(self.output)?);
        let row = Row { line, at: at.and_utc().timestamp_millis(), input, output, dimensions };
        Ok((at, row))
    }
}

/// `2023-11-16 18:17:03.9799600` in UTC, or RFC 3339.
fn timestamp(text: &str) -> Result<NaiveDateTime> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.naive_utc());
    }
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .with_context(|| {
            format!("`{text}` is not a time: write it like `2023-11-16 18:17:03.9799600`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

    fn parse_text(text: &str) -> Result<Vec<Row>> {
        parse(text.as_bytes(), Some("gpt-4o"))
    }

    #[test]
    fn line_ends_of_either_kind_and_a_missing_last_one_read_the_same() {
        let rows = ["2023-11-16 18:17:03.9799600,4808,10", "2023-11-16 18:17:04.0319600,3180,8"];
        let unix = parse_text(&format!("{HEADER}\n{}\n{}\n", rows[0], rows[1])).unwrap();
        let dos = parse_text(&format!("{HEADER}\r\n{}\r\n{}\r\n", rows[0], rows[1])).unwrap();
        let open = parse_text(&format!("{HEADER}\r\n{}\r\n{}", rows[0], rows[1])).unwrap();
        assert_eq!(unix, dos);
        assert_eq!(unix, open);
        assert_eq!(unix[0].at, 1_700_158_623_979);
        assert_eq!(unix[1].line, 3);
    }

    #[test]
    fn a_bad_row_is_an_error_that_names_its_line() {
        let good = "2023-11-16 18:17:03,1,1";
        for (row, words) in [
            ("2023-11-16 18:17:03,x,1", "`x` is not a number of tokens"),
            ("2023-11-16 18:17:03,-1,1", "`-1` is not a number of tokens"),
            ("2023-11-16 18:17:03,1.5,1", "`1.5` is not a number of tokens"),
            ("2023-13-16 18:17:03,1,1", "is not a time"),
            ("2023-11-16 18:17:03,1", "the row cannot be read"),
            ("2023-11-16 18:17:02.9,1,1", "lies before the row above"),
            ("2023-11-16 18:17:03,99999999999999999999,1", "is not a number of tokens"),
        ] {
            let error = parse_text(&format!("{HEADER}\n{good}\n{row}\n")).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.starts_with("line 3: ") && error.contains(words), "{error}");
        }
        let error = format!("{:#}", parse_text("TIMESTAMP,ContextTokens\n").unwrap_err());
        assert!(error.contains("no column `GeneratedTokens`"), "{error}");
        let error = format!("{:#}", parse_text(&format!("{HEADER},Modle\n")).unwrap_err());
        assert!(error.contains("`Modle` is not known"), "{error}");
    }
}
