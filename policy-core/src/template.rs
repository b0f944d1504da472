//! Texts with places to fill.

use std::borrow::Cow;
use std::fmt::Display;

/// A text with placeholders such as `{agent}`; `{{` and `}}` stand for braces. It is kept as it is
/// written, since the standard texts then take no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Cow<'static, str>);

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing of that name to be filled in.
    #[error("`{{{name}}}` is not a placeholder here: write {known}, or `{{{{` for a brace")]
    Unknown {
        /// As written.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A brace that opens and does not close.
    #[error("a `{{` is not closed: write {known}, or `{{{{` for a brace")]
    Unclosed {
        /// Those that there are.
        known: String,
    },
    /// A brace that closes and did not open.
    #[error("a `}}` closes nothing: write {known}, or `}}}}` for a brace")]
    Unopened {
        /// Those that there are.
        known: String,
    },
}

/// The next part of a text.
enum Piece<'a> {
    Words(&'a str),
    Placeholder(&'a str),
    Unclosed,
    Unopened,
}

impl Template {
    /// A text of the program's own.
    pub const fn standard(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// Takes a text whose placeholders are among `names`.
    pub fn parse(text: String, names: &[&str]) -> Result<Self, TemplateError> {
        for piece in pieces(&text) {
            match piece {
                Piece::Placeholder(name) if !names.contains(&name) => {
                    let name = name.chars().take(40).collect();
                    return Err(TemplateError::Unknown { name, known: listed(names) });
                }
                Piece::Words(_) | Piece::Placeholder(_) => {}
                Piece::Unclosed => return Err(TemplateError::Unclosed { known: listed(names) }),
                Piece::Unopened => return Err(TemplateError::Unopened { known: listed(names) }),
            }
        }
        Ok(Self(Cow::Owned(text)))
    }

    /// The text with these values in their places.
    pub fn fill(&self, values: &[(&str, &dyn Display)]) -> String {
        let mut filled = String::with_capacity(self.0.len());
        for piece in pieces(&self.0) {
            match piece {
                Piece::Words(words) => filled.push_str(words),
                Piece::Placeholder(name) => {
                    let value = values.iter().find(|(own, _)| *own == name);
                    filled.extend(value.map(|(_, value)| value.to_string()));
                }
                Piece::Unclosed | Piece::Unopened => {}
            }
        }
        filled
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = next_piece(rest)?;
        rest = after;
        Some(piece)
    })
}

fn next_piece(text: &str) -> Option<(Piece<'_>, &str)> {
    let words = text.find(['{', '}']).unwrap_or(text.len());
    match text.split_at_checked(words)? {
        ("", "") => None,
        ("", rest) => Some(brace(rest)),
        (words, rest) => Some((Piece::Words(words), rest)),
    }
}

fn brace(text: &str) -> (Piece<'_>, &str) {
    if let Some(after) = text.strip_prefix("{{") {
        (Piece::Words("{"), after)
    } else if let Some(after) = text.strip_prefix("}}") {
        (Piece::Words("}"), after)
    } else if let Some(after) = text.strip_prefix('{') {
        match after.split_once('}') {
            Some((name, after)) => (Piece::Placeholder(name), after),
            None => (Piece::Unclosed, ""),
        }
    } else {
        (Piece::Unopened, "")
    }
}

/// `{agent}`, `{limit}` and `{cost}`, for an error.
fn listed(names: &[&str]) -> String {
    let name = |name: &&str| format!("`{{{name}}}`");
    match names.split_last() {
        Some((last, [])) => name(last),
        Some((last, others)) => {
            let others: Vec<String> = others.iter().map(name).collect();
            format!("{} or {}", others.join(", "), name(last))
        }
        None => "no placeholder".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["agent", "cost"];

    fn filled(text: &str) -> Result<String, TemplateError> {
        let template = Template::parse(text.into(), &NAMES)?;
        Ok(template.fill(&[("agent", &"{cost}"), ("cost", &5)]))
    }

    #[test]
    fn placeholders_are_filled_once_and_doubled_braces_are_braces() {
        for (text, wanted) in [
            ("", ""),
            ("no place", "no place"),
            ("{cost}", "5"),
            ("é {cost}{cost} ü", "é 55 ü"),
            ("{{cost}} and {{{cost}}}", "{cost} and {5}"),
            ("}}{{", "}{"),
            // What is filled in is not read again.
            ("by {agent}", "by {cost}"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_placeholders_that_there_are() {
        let known = "write `{agent}` or `{cost}`, or";
        for (text, error) in [
            (
                "{agente}",
                format!("`{{agente}}` is not a placeholder here: {known} `{{{{` for a brace"),
            ),
            ("{}", format!("`{{}}` is not a placeholder here: {known} `{{{{` for a brace")),
            (
                "{ cost}",
                format!("`{{ cost}}` is not a placeholder here: {known} `{{{{` for a brace"),
            ),
            ("at {cost", format!("a `{{` is not closed: {known} `{{{{` for a brace")),
            ("{{{", format!("a `{{` is not closed: {known} `{{{{` for a brace")),
            ("{cost}}", format!("a `}}` closes nothing: {known} `}}}}` for a brace")),
        ] {
            assert_eq!(filled(text).map_err(|error| error.to_string()), Err(error), "{text}");
        }
        let long = filled(&format!("{{{}}}", "x".repeat(500))).map_err(|error| error.to_string());
        assert!(long.is_err_and(|error| error.len() < 200));
    }

    #[test]
    fn the_names_are_listed_as_they_are_written() {
        assert_eq!(listed(&["a", "b", "c"]), "`{a}`, `{b}` or `{c}`");
        assert_eq!(listed(&["a"]), "`{a}`");
    }
}
