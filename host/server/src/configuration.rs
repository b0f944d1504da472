//! Settings from a file: TOML whose keys are the long flags of the verb. A flag has the last word, then
//! the environment, then the file.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, Command};
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
        let Some(known) = settings(&command, verb).find(|own| is_of(own, key)) else {
            bail!("there is no setting `{key}`: look at `tollgate {verb} --help`");
        };
        defaults.push((known.get_id().clone(), words(key, item, known)?));
    }
    Ok(command.mut_subcommand(verb, |verb| {
        defaults.into_iter().fold(verb, |verb, (id, words)| {
            verb.mut_arg(id, |flag| flag.default_values(words).required(false))
        })
    }))
}

/// All settings of a verb as such a file: what each is for, by which flag and in which variable of the
/// environment it is said as well, and what it is where nobody says anything.
pub fn document(command: &Command, verb: &str) -> String {
    let mut text = String::new();
    for flag in settings(command, verb) {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let (long, key) = (flag.get_long().unwrap_or_default(), key(flag));
        let variable = flag.get_env().unwrap_or_default().to_string_lossy();
        let value = match default(flag) {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} = {}", example(flag)),
        };
        // Nothing fails that writes to a text.
        let _ = writeln!(text, "# {help}\n# `--{long}`, `{variable}`\n{value}\n");
    }
    text
}

/// Those that are about the file itself are none.
fn settings<'a>(command: &'a Command, verb: &str) -> impl Iterator<Item = &'a Arg> {
    let verb = command.find_subcommand(verb);
    let flags = verb.into_iter().flat_map(Command::get_arguments);
    flags.filter(|own| own.get_env().is_some() && own.get_long() != Some(FILE))
}

/// The flag that names the file.
const FILE: &str = "config";

fn key(flag: &Arg) -> String {
    flag.get_long().unwrap_or_default().replace('-', "_")
}

fn is_of(flag: &Arg, named: &str) -> bool {
    key(flag) == named.replace('-', "_")
}

fn is_list(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Append)
}

fn default(flag: &Arg) -> Option<Value> {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return Some(false.into());
    }
    let word = flag.get_default_values().first()?.to_str()?;
    Some(word.parse::<i64>().map_or_else(|_| word.into(), Value::from))
}

fn example(flag: &Arg) -> Value {
    let names = flag.get_value_names().unwrap_or_default();
    let name = names.first().map(|name| name.as_str()).unwrap_or_default();
    if is_list(flag) { Value::from_iter([name]) } else { name.into() }
}

fn words(key: &str, item: &Item, flag: &Arg) -> Result<Vec<String>> {
    match item.as_value() {
        Some(Value::Array(all)) if is_list(flag) => {
            all.iter().map(|own| word(key, Some(own))).collect()
        }
        Some(Value::Array(_)) => bail!("`{key}` is one value: write it without brackets"),
        own => Ok(vec![word(key, own)?]),
    }
}

fn word(key: &str, value: Option<&Value>) -> Result<String> {
    match value {
        Some(Value::String(text)) => Ok(text.value().clone()),
        Some(Value::Integer(number)) => Ok(number.value().to_string()),
        Some(Value::Boolean(is_on)) => Ok(is_on.value().to_string()),
        _ => bail!("`{key}` is neither a text nor a whole number, and not `true` or `false`"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{ArgMatches, CommandFactory, value_parser};

    use super::*;

    fn command() -> Command {
        let limit = Arg::new("requests_max").long("requests-max").env("T_REQUESTS_MAX");
        let limit = limit.default_value("10").value_parser(value_parser!(u32));
        let domains = Arg::new("domains").long("mail-domain").env("T_MAIL_DOMAINS");
        let domains = domains.action(ArgAction::Append).value_delimiter(',').value_name("DOMAIN");
        let is_on = Arg::new("own_network").long("own-network").env("T_OWN_NETWORK");
        let flags = [limit, domains, is_on.action(ArgAction::SetTrue)];
        let file = Arg::new("config").long("config").env("T_CONFIG");
        let verb = Command::new("serve").args(flags).arg(file);
        Command::new("tollgate").subcommand(verb)
    }

    fn read(text: &str, arguments: &[&str]) -> Result<ArgMatches> {
        let arguments = [&["tollgate", "serve"], arguments].concat();
        let matches = with_text(command(), "serve", text)?.try_get_matches_from(arguments)?;
        matches.subcommand_matches("serve").cloned().context("the verb")
    }

    fn limit(text: &str, arguments: &[&str]) -> Result<u32> {
        read(text, arguments)?.get_one("requests_max").copied().context("a limit")
    }

    #[test]
    fn a_flag_has_the_last_word_and_then_the_file() {
        assert_eq!(limit("", &[]).unwrap(), 10);
        assert_eq!(limit("requests_max = 20", &[]).unwrap(), 20);
        assert_eq!(limit("requests-max = \"20\"", &[]).unwrap(), 20);
        assert_eq!(limit("requests_max = 20", &["--requests-max", "30"]).unwrap(), 30);
    }

    #[test]
    fn a_list_is_a_list_or_a_text_and_what_is_on_is_true() {
        let domains = |text: &str, arguments: &[&str]| {
            let matches = read(text, arguments).unwrap();
            let all = matches.get_many::<String>("domains").unwrap_or_default();
            all.cloned().collect::<Vec<_>>().join(" ")
        };
        for text in [r#"mail_domain = ["a", "b"]"#, r#"mail_domain = "a,b""#] {
            assert_eq!(domains(text, &[]), "a b");
            assert_eq!(domains(text, &["--mail-domain", "c"]), "c");
        }
        assert_eq!(domains("mail_domain = []", &[]), "");
        for (text, arguments, expected) in [
            ("own_network = true", &[][..], true),
            ("own_network = false", &[], false),
            ("own_network = false", &["--own-network"], true),
            ("", &[], false),
        ] {
            let matches = read(text, arguments).unwrap();
            assert_eq!(matches.get_flag("own_network"), expected, "{text}");
        }
    }

    #[test]
    fn what_is_printed_names_every_setting_and_is_read_as_it_stands() {
        let command = crate::Arguments::command();
        let text = document(&command, "serve");
        let plain = command.clone().try_get_matches_from(["tollgate", "serve"]).unwrap();
        let read = with_text(command.clone(), "serve", &text).unwrap();
        let read = read.try_get_matches_from(["tollgate", "serve"]).unwrap();
        let values = |matches: &ArgMatches, id: &str| -> Vec<OsString> {
            let serve = matches.subcommand_matches("serve").unwrap();
            serve.get_raw(id).into_iter().flatten().map(Into::into).collect()
        };
        let mut count = 0;
        for flag in settings(&command, "serve") {
            let id = flag.get_id().as_str();
            assert_eq!(values(&read, id), values(&plain, id), "{id}");
            let variable = flag.get_env().unwrap().to_str().unwrap();
            assert!(text.contains(&format!("`{variable}`")), "{variable}");
            count += 1;
        }
        // With what is said for those that have no default.
        let example = |line: &str| Some(line.strip_prefix("# ")?.to_owned());
        let lines = text.lines().filter(|line| line.contains(" = "));
        let all: Vec<String> = lines.map(|own| example(own).unwrap_or(own.into())).collect();
        assert_eq!(all.len(), count);
        with_text(command, "serve", &all.join("\n")).unwrap();
    }

    #[test]
    fn what_is_no_setting_is_refused_by_its_name() {
        for (text, named) in [
            ("request_max = 20", "`request_max`"),
            ("requests_max = [20]", "`requests_max`"),
            ("mail_domain = [1.5]", "`mail_domain`"),
            ("own_network = \"perhaps\"", "perhaps"),
            ("requests_max = \"many\"", "many"),
            ("config = \"other.toml\"", "`config`"),
            ("requests_max 20", "TOML"),
        ] {
            let error = format!("{:#}", limit(text, &[]).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
