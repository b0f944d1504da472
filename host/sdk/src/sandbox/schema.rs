//! Settings against the schema that a component tells. Both are of strangers: this runs where
//! components are compiled, and patterns are matched in linear time.

use jsonschema::PatternOptions;
use serde_json::Value as Json;

use super::fault::first_line;
use super::refusal::Refused;

/// So many places are told.
const PLACES_MAX: usize = 3;

/// Refuses settings that do not fit, and says where.
pub fn check(schema: &str, settings: &str) -> Result<(), Refused> {
    let settings: Json = serde_json::from_str(settings)
        .map_err(|error| Refused::Settings(format!("they are not JSON: {error}")))?;
    let wrong = |words: String| Refused::Schema(first_line(&words));
    let schema: Json = serde_json::from_str(schema).map_err(|error| wrong(error.to_string()))?;
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| wrong(error.to_string()))?;
    let misfit = |error: jsonschema::ValidationError<'_>| {
        let at = error.instance_path().to_string();
        let at = if at.is_empty() { "/".to_owned() } else { at };
        first_line(&format!("at `{at}`: {error}"))
    };
    let misfits: Vec<String> =
        validator.iter_errors(&settings).take(PLACES_MAX).map(misfit).collect();
    if misfits.is_empty() { Ok(()) } else { Err(Refused::Misfit(misfits.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"limits":{"type":"array","items":
        {"type":"object","required":["meter"],"properties":{"limit":{"type":"number"}}}}}}"#;

    #[test]
    fn what_does_not_fit_is_told_by_its_place() {
        assert_eq!(check(SCHEMA, r#"{"limits":[{"meter":"a","limit":5}]}"#), Ok(()));
        let misfit = check(SCHEMA, r#"{"limits":[{"meter":"a"},{"limit":"5"}]}"#);
        let Err(Refused::Misfit(words)) = misfit else { panic!("{misfit:?}") };
        assert!(words.contains("at `/limits/1`") && words.contains("meter"), "{words}");
        assert!(words.contains("at `/limits/1/limit`"), "{words}");
        let misfit = check(SCHEMA, "[]");
        let Err(Refused::Misfit(words)) = misfit else { panic!("{misfit:?}") };
        assert!(words.starts_with("at `/`: "), "{words}");
    }

    #[test]
    fn a_schema_that_is_none_is_refused() {
        for schema in
            ["", "{", r#"{"type":"number of things"}"#, r#"{"$ref":"http://localhost/x"}"#]
        {
            assert!(matches!(check(schema, "{}"), Err(Refused::Schema(_))), "{schema}");
        }
        assert!(matches!(check("{}", "{"), Err(Refused::Settings(_))));
        assert_eq!(check("{}", "{}"), Ok(()));
    }

    #[test]
    fn a_pattern_takes_no_longer_than_its_text() {
        let schema = r#"{"properties":{"name":{"pattern":"^(a+)+$"}}}"#;
        let settings = format!(r#"{{"name":"{}!"}}"#, "a".repeat(40_000));
        assert!(matches!(check(schema, &settings), Err(Refused::Misfit(_))));
    }
}
