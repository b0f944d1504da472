//! Settings from a file: TOML whose keys are the long flags of the verb. A flag has the last word, then
//! the environment, then the file.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Command;
use toml_edit::{DocumentMut, Item, Value};

/// The verb's flags, with what a file says in place of their defaults.
pub fn with_file(command: Command, verb: &str, file: &Path) -> Result<Command> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read `{}`", file.display()))?;
    with_text(command, verb, &text).with_context(|| format!("`{}`", file.display()))
}

fn with_text(command: Command, verb: &str, text: &str) -> Result<Command> {
    let document: DocumentMut = text.parse()?;
    let mut defaults = Vec::new();
    for (key, item) in document.iter() {
        let flag = key.replace('_', "-");
        let known = command.find_subcommand(verb).and_then(|verb| {
            verb.get_arguments().find(|own| own.get_long() == Some(flag.as_str()) && flag != FILE)
        });
        let Some(known) = known else {
            bail!("there is no setting `{key}`: look at `tollgate {verb} --help`");
        };
        defaults.push((known.get_id().clone(), word(key, item)?));
    }
    Ok(command.mut_subcommand(verb, |verb| {
        defaults.into_iter().fold(verb, |verb, (id, word)| {
            verb.mut_arg(id, |flag| flag.default_value(word).required(false))
        })
    }))
}

/// The flag that names the file itself.
const FILE: &str = "config";

fn word(key: &str, item: &Item) -> Result<String> {
    match item.as_value() {
        Some(Value::String(text)) => Ok(text.value().clone()),
        Some(Value::Integer(number)) => Ok(number.value().to_string()),
        Some(Value::Boolean(is_on)) => Ok(is_on.value().to_string()),
        _ => bail!("`{key}` is neither a text nor a whole number"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, value_parser};

    use super::*;

    fn command() -> Command {
        let limit = Arg::new("requests_max").long("requests-max").default_value("10");
        let limit = limit.value_parser(value_parser!(u32));
        let verb = Command::new("serve").arg(limit).arg(Arg::new("config").long("config"));
        Command::new("tollgate").subcommand(verb)
    }

    fn limit(text: &str, arguments: &[&str]) -> Result<u32> {
        let arguments = [&["tollgate", "serve"], arguments].concat();
        let matches = with_text(command(), "serve", text)?.try_get_matches_from(arguments)?;
        let serve = matches.subcommand_matches("serve").context("the verb")?;
        serve.get_one("requests_max").copied().context("a limit")
    }

    #[test]
    fn a_flag_has_the_last_word_and_then_the_file() {
        assert_eq!(limit("", &[]).unwrap(), 10);
        assert_eq!(limit("requests_max = 20", &[]).unwrap(), 20);
        assert_eq!(limit("requests-max = \"20\"", &[]).unwrap(), 20);
        assert_eq!(limit("requests_max = 20", &["--requests-max", "30"]).unwrap(), 30);
    }

    #[test]
    fn what_is_no_setting_is_refused_by_its_name() {
        for (text, named) in [
            ("request_max = 20", "`request_max`"),
            ("requests_max = [20]", "`requests_max`"),
            ("requests_max = \"many\"", "many"),
            ("config = \"other.toml\"", "`config`"),
            ("requests_max 20", "TOML"),
        ] {
            let error = format!("{:#}", limit(text, &[]).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
