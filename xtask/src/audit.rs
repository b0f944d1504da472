//! The auditor: predicts what `tollgate simulate` must report, knowing nothing of the engine.
//!
//! It shares no code with the program on purpose, not even decimals or a calendar: a mistake
//! would have to be made twice to go unseen. Money is i128 in 10^-12 USD, time is text.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 1 USD.
pub const USD: i128 = 1_000_000_000_000;

/// The `seed` price list: model, millionths of a USD per 1,000 tokens in and out.
const PRICES: [(&str, i128, i128); 6] = [
    ("gpt-4", 30_000, 60_000),
    ("gpt-4o", 5_000, 15_000),
    ("gpt-3.5", 1_000, 2_000),
    ("claude-opus", 15_000, 75_000),
    ("claude-sonnet", 3_000, 15_000),
    ("claude-instant", 800, 2_400),
];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meter {
    LlmRequests,
    LlmTokens,
    CostUsd,
}

/// The calendar is that of UTC.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    Lifetime,
    Month,
    Day,
    Hour,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Per {
    Tenant,
    User,
    Agent,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    pub meter: Meter,
    pub window: Window,
    pub per: Per,
    /// Requests, tokens, or 10^-12 USD.
    pub limit: i128,
}

/// Alerting on what an agent costs in a calendar month; the same for every agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgentAlert {
    /// In 10^-12 USD.
    pub monthly_limit: i128,
    pub threshold_percent: i128,
    pub auto_disable: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub limits: Vec<Limit>,
    pub alert: Option<AgentAlert>,
}

/// The rules of the demo: under them the sample trace has calls that are allowed, warned about
/// and denied (each limit denies some), and agents that are disabled and, by the turn of the
/// month, enabled again.
pub fn demo_rules() -> Rules {
    let monthly_limit = 9 * USD;
    let limits = [
        (Meter::CostUsd, Window::Month, Per::Agent, monthly_limit),
        (Meter::LlmTokens, Window::Day, Per::User, 1_000_000),
        (Meter::LlmRequests, Window::Hour, Per::Tenant, 300),
        (Meter::CostUsd, Window::Lifetime, Per::Tenant, 52 * USD),
    ];
    Rules {
        limits: limits.map(Limit::from).to_vec(),
        alert: Some(AgentAlert { monthly_limit, threshold_percent: 80, auto_disable: true }),
    }
}

impl From<(Meter, Window, Per, i128)> for Limit {
    fn from((meter, window, per, limit): (Meter, Window, Per, i128)) -> Self {
        Self { meter, window, per, limit }
    }
}

/// What must come out. Tokens and costs are those of the allowed rows, costs in 10^-12 USD.
#[derive(Debug, Clone, Default)]
pub struct Prediction {
    pub requests: u64,
    pub allowed: u64,
    pub denied: u64,
    pub denied_by: BTreeMap<String, u64>,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cost: i128,
    /// Model to its cost and its allowed requests.
    pub cost_by_model: BTreeMap<String, (i128, u64)>,
    /// Key, agent, instant; in order.
    pub notices: Vec<(String, String, String)>,
    /// Agent, from, until; in order.
    pub disabled: Vec<(String, String, String)>,
}

impl Prediction {
    /// The cost in USD as a canonical decimal.
    pub fn cost_text(&self) -> String {
        amount_text(self.cost)
    }
}

/// An amount of 10^-12 USD, not negative, as a canonical decimal: without trailing zeros.
pub fn amount_text(amount: i128) -> String {
    let text = format!("{}.{:012}", amount / USD, amount % USD);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const HEADER: &str =
    "TIMESTAMP,ContextTokens,GeneratedTokens,Model,Provider,User,Agent,Session,ApiKeyType";

/// Judges the rows in order. The trace has the columns of `trace::generate`, no cell quoted.
pub fn predict(trace_csv: &str, rules: &Rules) -> Result<Prediction, String> {
    if trace_csv.lines().next() != Some(HEADER) {
        return Err(format!("the trace does not begin with `{HEADER}`"));
    }
    let mut audit = Audit::default();
    let mut last = String::new();
    for (line, number) in trace_csv.lines().zip(1..).skip(1) {
        let row = Row::read(line).map_err(|why| format!("line {number}: {why}"))?;
        if row.at < last {
            return Err(format!("line {number}: `{}` is before `{last}`", row.at));
        }
        audit.judge(&row, rules);
        last = row.at;
    }
    Ok(audit.out)
}

struct Row<'a> {
    at: String,
    input: u32,
    output: u32,
    model: &'a str,
    user: &'a str,
    agent: &'a str,
    cost: i128,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Result<Self, String> {
        if line.contains('"') {
            return Err(format!("`{line}` has a quoted cell"));
        }
        let cells: Vec<&str> = line.split(',').collect();
        let [time, input, output, model, _, user, agent, _, _] = cells[..] else {
            return Err(format!("`{line}` has not nine cells"));
        };
        let tokens =
            |text: &str| text.parse().map_err(|_| format!("`{text}` is no number of tokens"));
        let (input, output) = (tokens(input)?, tokens(output)?);
        let cost = price(model, input, output).ok_or_else(|| format!("`{model}` has no price"))?;
        let at = instant(time).ok_or_else(|| format!("`{time}` is no instant"))?;
        Ok(Self { at, input, output, model, user, agent, cost })
    }
}

/// Two lines, each rounded once.
fn price(model: &str, input: u32, output: u32) -> Option<i128> {
    let (_, rate_in, rate_out) = PRICES.iter().find(|price| price.0 == model)?;
    let line = |tokens, rate| half_even(i128::from(tokens) * rate * 1_000_000, 1_000);
    Some(line(input, rate_in) + line(output, rate_out))
}

/// `amount` / `by`, rounded half to even; neither is negative.
fn half_even(amount: i128, by: i128) -> i128 {
    let (down, rest) = (amount / by, amount % by);
    down + i128::from(rest * 2 > by || (rest * 2 == by && down % 2 == 1))
}

/// `2025-10-30T20:00:00.123Z` of `2025-10-30 20:00:00.1234567`. Text of this form sorts as time
/// does, and its beginnings name its month, its day and its hour.
fn instant(text: &str) -> Option<String> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape = seconds.replace(' ', "T").replace(|c: char| c.is_ascii_digit(), "0");
    let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    if shape != "0000-00-00T00:00:00" || !digits {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(format!("{}.{millis}Z", seconds.replace(' ', "T")))
}

fn window(window: Window, at: &str) -> String {
    let length = match window {
        Window::Lifetime => 0,
        Window::Month => "2025-10".len(),
        Window::Day => "2025-10-30".len(),
        Window::Hour => "2025-10-30T20".len(),
    };
    at.chars().take(length).collect()
}

fn next_month(at: &str) -> String {
    let number = |digits: &str| digits.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    let next = number(&at[..4]) * 12 + number(&at[5..7]);
    format!("{:04}-{:02}-01T00:00:00.000Z", next / 12, next % 12 + 1)
}

/// The state of the tenant while the trace passes.
#[derive(Default)]
struct Audit {
    /// By limit, whom it is about, and window.
    used: BTreeMap<(usize, String, String), i128>,
    /// By agent and month.
    agent_cost: BTreeMap<(String, String), i128>,
    out: Prediction,
}

impl Audit {
    fn judge(&mut self, row: &Row, rules: &Rules) {
        self.out.requests += 1;
        let mut disabled = self.out.disabled.iter();
        if disabled.any(|(agent, _, until)| agent == row.agent && row.at < *until) {
            return self.deny("disabled");
        }
        let mut totals = Vec::new();
        let mut denied = false;
        let mut denied_by_own = false;
        for (index, limit) in rules.limits.iter().enumerate() {
            let asked = match limit.meter {
                Meter::LlmRequests => 1,
                Meter::LlmTokens => i128::from(row.input) + i128::from(row.output),
                Meter::CostUsd => row.cost,
            };
            let whose = match limit.per {
                Per::Tenant => "",
                Per::User => row.user,
                Per::Agent => row.agent,
            };
            let counter = (index, whose.to_owned(), window(limit.window, &row.at));
            let total = self.used.get(&counter).unwrap_or(&0) + asked;
            if total > limit.limit {
                denied = true;
                denied_by_own |= (limit.meter, limit.window, limit.per)
                    == (Meter::CostUsd, Window::Month, Per::Agent);
            }
            totals.push((counter, total));
        }
        if denied {
            self.deny("quota_exceeded");
        } else {
            self.used.extend(totals);
            self.settle(row);
        }
        if let Some(alert) = rules.alert {
            self.alert(row, alert, denied, denied_by_own);
        }
    }

    fn deny(&mut self, code: &str) {
        self.out.denied += 1;
        *self.out.denied_by.entry(code.to_owned()).or_default() += 1;
    }

    fn settle(&mut self, row: &Row) {
        self.out.allowed += 1;
        self.out.input_tokens += u64::from(row.input);
        self.out.output_tokens += u64::from(row.output);
        self.out.cost += row.cost;
        let model = self.out.cost_by_model.entry(row.model.to_owned()).or_default();
        *model = (model.0 + row.cost, model.1 + 1);
        let month = (row.agent.to_owned(), window(Window::Month, &row.at));
        *self.agent_cost.entry(month).or_default() += row.cost;
    }

    /// A denial alerts only when the agent's own limit denied; an allowed row by what is used.
    fn alert(&mut self, row: &Row, alert: AgentAlert, denied: bool, denied_by_own: bool) {
        let month = window(Window::Month, &row.at);
        let notices = self.out.notices.iter();
        let raised = notices.filter(|(_, agent, at)| agent == row.agent && at.starts_with(&month));
        let raised: Vec<&str> = raised.map(|notice| notice.0.as_str()).collect();
        let exceeded = raised.contains(&"limit_exceeded");
        let (agent, at) = (row.agent.to_owned(), row.at.clone());
        let used = *self.agent_cost.get(&(agent.clone(), month)).unwrap_or(&0);
        let near = used * 100 >= alert.monthly_limit * alert.threshold_percent;
        if denied_by_own || (!denied && used > alert.monthly_limit) {
            if !exceeded {
                let notice = ("limit_exceeded".to_owned(), agent.clone(), at.clone());
                self.out.notices.push(notice);
                if alert.auto_disable {
                    let until = next_month(&at);
                    self.out.disabled.push((agent, at, until));
                }
            }
        } else if !denied && raised.is_empty() && near {
            let notice = ("threshold_warning".to_owned(), agent, at);
            self.out.notices.push(notice);
        }
    }
}

/// Every difference between the prediction and the program's report, in words. Amounts must be
/// canonical decimals; the models' order, and what else the report holds, are left to it.
pub fn compare(predicted: &Prediction, report: &Value) -> Vec<String> {
    let p = predicted;
    let cost = [json!({"currency": "USD", "amount": p.cost_text()})];
    let by_model = p.cost_by_model.iter().map(|(model, (cost, requests))| {
        let amount = amount_text(*cost);
        json!({"model": model, "currency": "USD", "amount": amount, "requests": requests})
    });
    let notices =
        p.notices.iter().map(|(key, agent, at)| json!({"key": key, "body": agent, "at": at}));
    let disabled = p.disabled.iter().map(
        |(agent, at, until)| json!({"dimensions": {"agent": agent}, "at": at, "until": until}),
    );
    let want = json!({
        "requests": p.requests, "allowed": p.allowed, "denied": p.denied,
        "denied_by": p.denied_by,
        "input_tokens": p.input_tokens, "output_tokens": p.output_tokens,
        "cost": if p.cost == 0 { &[] } else { &cost[..] },
        "cost_by_model": by_model.collect::<Vec<_>>(),
        "notices": notices.collect::<Vec<_>>(),
        "disabled": disabled.collect::<Vec<_>>(),
    });
    let mut got = report.clone();
    if let Some(costs) = got.get_mut("cost").and_then(Value::as_array_mut) {
        costs.retain(|cost| cost["amount"] != "0");
    }
    if let Some(models) = got.get_mut("cost_by_model").and_then(Value::as_array_mut) {
        models.sort_by_key(|cost| cost["model"].as_str().map(str::to_owned));
    }
    let mut out = Vec::new();
    differ("report", &want, &got, &mut out);
    out
}

fn differ(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(wants), Value::Object(gots)) => {
            for (name, value) in wants {
                differ(&format!("{path}.{name}"), value, &got[name], out);
            }
            // Elsewhere the report may say more than is predicted.
            let closed = path.ends_with(".denied_by") || path.ends_with(".dimensions");
            let more = gots.iter().filter(|(name, _)| closed && !wants.contains_key(*name));
            for (name, value) in more.filter(|(_, value)| **value != 0) {
                let told = format!("`{path}.{name}`: predicted nothing, reported {value}");
                out.push(told);
            }
        }
        (Value::Array(wants), Value::Array(gots)) => {
            for index in 0..wants.len().max(gots.len()) {
                let [want, got] = [wants, gots].map(|side| side.get(index).unwrap_or(&Value::Null));
                differ(&format!("{path}[{index}]"), want, got, out);
            }
        }
        (Value::String(agent), Value::String(body))
            if path.ends_with(".body") && body.contains(agent) => {}
        (Value::String(at), Value::String(other)) if rfc3339(other).as_ref() == Some(at) => {}
        _ if want == got => {}
        _ => out.push(format!("`{path}`: predicted {want}, reported {got}")),
    }
}

/// An instant of UTC in any precision, as predictions write it.
fn rfc3339(text: &str) -> Option<String> {
    instant(text.strip_suffix('Z').or(text.strip_suffix("+00:00"))?)
}

#[cfg(test)]
mod tests;
