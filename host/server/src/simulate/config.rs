//! What a simulation runs with: a TOML file, or the flags that stand in for one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use chrono_tz::Tz;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tollgate_host::sandbox::Limits;
use tollgate_policy_core::window::Weekday;
use tollgate_policy_core::{Currency, Decimal};
use toml_edit::{DocumentMut, Item, Table, Value as Toml};

/// A tenant's set-up. In the file its keys stand at the top, and again below `[tenants.NAME]`
/// where a tenant has others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// For rows that name no model.
    #[serde(default)]
    pub default_model: Option<String>,
    /// IANA name.
    #[serde(default = "utc")]
    pub time_zone: Tz,
    /// 1 is Monday.
    #[serde(default)]
    pub first_day_of_week: Weekday,
    /// Whose rates the pricing policy is handed.
    #[serde(default)]
    pub catalog: Catalog,
    /// Asked in this order.
    #[serde(default)]
    pub policies: Vec<PolicyConfig>,
    /// The records of agents: their settings, by name.
    #[serde(default)]
    pub agents: BTreeMap<String, Json>,
    /// What policies may spend.
    #[serde(default)]
    pub sandbox: Limits,
}

/// A policy in a tenant's set-up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// The name of a standard component, or a path.
    pub component: String,
    /// What people call it; none: the component.
    pub name: Option<String>,
    /// Its settings.
    #[serde(default = "no_settings")]
    pub settings: Json,
    /// Its settings, as a JSON file.
    pub settings_file: Option<PathBuf>,
}

/// The host's own prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Catalog {
    /// None are handed over.
    #[default]
    None,
    /// The current catalog.
    Current,
    /// The six models of the seed.
    Seed,
}

fn utc() -> Tz {
    Tz::UTC
}

fn no_settings() -> Json {
    json!({})
}

/// Where the prices of a simulation without a file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Prices {
    /// The six models of the seed list
    Seed,
    /// The current catalog
    Catalog,
}

/// `METER=N/PERIOD`.
#[derive(Clone, Debug)]
pub struct LimitFlag {
    meter: String,
    limit: Decimal,
    period: String,
}

impl std::str::FromStr for LimitFlag {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(meter, rest)| {
            let (limit, period) = rest.split_once('/')?;
            Some((meter, limit, period))
        });
        let Some((meter, limit, period)) = parts else {
            bail!("write `METER=N/PERIOD`, like `llm_requests=1000/day`");
        };
        Ok(Self { meter: meter.to_owned(), limit: limit.parse()?, period: period.to_owned() })
    }
}

impl Config {
    /// The tenant's part of a file.
    pub fn read(path: &Path, tenant: Option<&str>) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let mut config =
            Self::parse(&text, tenant).with_context(|| format!("`{}`", path.display()))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        for policy in &mut config.policies {
            policy.resolve(directory)?;
        }
        Ok(config)
    }

    fn parse(text: &str, tenant: Option<&str>) -> Result<Self> {
        let document: DocumentMut = text.parse().context("not TOML")?;
        let mut config = table_to_json(document.as_table())?;
        let tenants = config.remove("tenants").unwrap_or_else(|| json!({}));
        let Json::Object(tenants) = tenants else { bail!("`tenants` is not a table") };
        if let Some(tenant) = tenant.filter(|_| !tenants.is_empty()) {
            let Some(Json::Object(own)) = tenants.get(tenant) else {
                let names: Vec<&str> = tenants.keys().map(String::as_str).collect();
                bail!("no tenant `{tenant}`: the file has `{}`", names.join("`, `"));
            };
            config.extend(own.clone());
        }
        Ok(serde_json::from_value(Json::Object(config))?)
    }

    /// What the flags stand for.
    pub fn from_flags(
        model: Option<&str>,
        prices: Prices,
        time_zone: Tz,
        monthly_limit: Option<Decimal>,
        limits: &[LimitFlag],
    ) -> Self {
        let mut all: Vec<Json> = limits
            .iter()
            .map(|LimitFlag { meter, limit, period }| {
                json!({ "meter": meter, "limit": limit, "period": period })
            })
            .collect();
        if let Some(limit) = monthly_limit {
            all.push(
                json!({ "meter": Currency::USD.cost_meter(), "limit": limit, "period": "month" }),
            );
        }
        let (catalog, list) = match prices {
            Prices::Seed => (Catalog::None, "seed"),
            Prices::Catalog => (Catalog::Current, "host"),
        };
        let mut policies = vec![PolicyConfig::standard("pricing", json!({ "prices": list }))];
        if !all.is_empty() {
            policies.push(PolicyConfig::standard("quota", json!({ "limits": all })));
        }
        Self {
            default_model: model.map(str::to_owned),
            time_zone,
            first_day_of_week: Weekday::default(),
            catalog,
            policies,
            agents: BTreeMap::new(),
            sandbox: Limits::default(),
        }
    }
}

impl PolicyConfig {
    fn standard(component: &str, settings: Json) -> Self {
        Self { component: component.to_owned(), name: None, settings, settings_file: None }
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.component)
    }

    /// Paths in a file are relative to it.
    fn resolve(&mut self, directory: &Path) -> Result<()> {
        if tollgate_plugins::standard(&self.component).is_none()
            && self.component.contains(['/', '.'])
        {
            self.component = directory.join(&self.component).display().to_string();
        }
        if let Some(file) = self.settings_file.take() {
            let path = directory.join(file);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            self.settings = serde_json::from_str(&text)
                .with_context(|| format!("`{}` is not JSON", path.display()))?;
        }
        Ok(())
    }
}

fn table_to_json(table: &Table) -> Result<Map<String, Json>> {
    table.iter().map(|(key, item)| Ok((key.to_owned(), item_to_json(key, item)?))).collect()
}

fn item_to_json(key: &str, item: &Item) -> Result<Json> {
    Ok(match item {
        Item::None => Json::Null,
        Item::Value(value) => to_json(key, value)?,
        Item::Table(table) => Json::Object(table_to_json(table)?),
        Item::ArrayOfTables(tables) => Json::Array(
            tables
                .iter()
                .map(|table| Ok(Json::Object(table_to_json(table)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

/// Numbers keep the digits that the file has: none passes through a float.
fn to_json(key: &str, value: &Toml) -> Result<Json> {
    Ok(match value {
        Toml::String(text) => json!(text.value()),
        Toml::Integer(number) => json!(number.value()),
        Toml::Float(number) => {
            let digits = number.display_repr().replace('_', "");
            let digits = digits.trim_start_matches('+');
            digits
                .parse::<serde_json::Number>()
                .map(Json::Number)
                .map_err(|_| anyhow!("`{key}` is `{digits}`, which is not a number with digits"))?
        }
        Toml::Boolean(flag) => json!(flag.value()),
        Toml::Datetime(datetime) => json!(datetime.value().to_string()),
        Toml::Array(values) => {
            Json::Array(values.iter().map(|value| to_json(key, value)).collect::<Result<_>>()?)
        }
        Toml::InlineTable(table) => Json::Object(
            table
                .iter()
                .map(|(key, value)| Ok((key.to_owned(), to_json(key, value)?)))
                .collect::<Result<_>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_every_digit_of_the_file() {
        let text = "[[policies]]\ncomponent = 'quota'\nsettings = { monthly_limit = 123456789.123456789012 }";
        let config = Config::parse(text, None).unwrap();
        assert_eq!(
            config.policies[0].settings.to_string(),
            r#"{"monthly_limit":123456789.123456789012}"#
        );
        assert!(Config::parse("[[policies]]\ncomponent='a'\nsettings={x=nan}", None).is_err());
    }

    #[test]
    fn a_tenants_keys_stand_in_for_those_at_the_top() {
        let text = "default_model = 'a'\n[tenants.acme]\ndefault_model = 'b'\n[tenants.zen]";
        let model = |tenant| Config::parse(text, tenant).unwrap().default_model.unwrap();
        assert_eq!(model(None), "a");
        assert_eq!(model(Some("acme")), "b");
        assert_eq!(model(Some("zen")), "a");
        let error = Config::parse(text, Some("nobody")).unwrap_err().to_string();
        assert_eq!(error, "no tenant `nobody`: the file has `acme`, `zen`");
    }

    #[test]
    fn a_key_that_nothing_reads_is_refused() {
        let error = Config::parse("defualt_model = 'a'", None).unwrap_err().to_string();
        assert!(error.contains("defualt_model"), "{error}");
    }
}
