//! A value of a dimension that is erased, and the pseudonym that takes its place wherever it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tollgate_policy_core::contract::{
    Action, Decision, Denial, Dimension, Fact, Notice, Refusal, Value, Verdict,
};

use super::body::{ExpiredBody, KeptUsage};
use super::notices::NoticeBody;
use super::price::Priced;
use super::records::KeptCounter;
use super::tally::sorted;
use crate::sandbox::Fault;
use crate::store::AuditRow;

/// What is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub dimension: Dimension,
    pub pseudonym: String,
    /// What people called it: an agent, which has a name.
    #[serde(default)]
    pub names: BTreeSet<String>,
}

/// What is being erased from a tenant's records, and how often something was before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasures {
    pub under_way: Vec<Erasure>,
    pub begun: u64,
}

impl Erasure {
    pub fn is_named(&self, dimensions: &[Dimension]) -> bool {
        dimensions.contains(&self.dimension)
    }

    /// Whether it was among them.
    pub fn dimensions(&self, dimensions: &mut [Dimension]) -> bool {
        let mut named = false;
        for own in dimensions.iter_mut().filter(|own| **own == self.dimension) {
            own.value.clone_from(&self.pseudonym);
            named = true;
        }
        named
    }

    /// Of a JSON list, which stands for these dimensions; for which is not known where a counter is
    /// kept no longer. None: it is not among them.
    pub fn values(&self, per: Option<&[String]>, values: &str) -> Option<String> {
        let mut list: Vec<String> = serde_json::from_str(values).ok()?;
        let mut named = false;
        for (place, value) in list.iter_mut().enumerate() {
            let of_it = per.is_none_or(|per| per.get(place) == Some(&self.dimension.name));
            if of_it && *value == self.dimension.value {
                value.clone_from(&self.pseudonym);
                named = true;
            }
        }
        named.then(|| serde_json::to_string(&list).unwrap_or_default())
    }

    /// Of a counter's values.
    pub fn of_counter(
        &self,
        counters: &BTreeMap<i64, KeptCounter>,
        counter: i64,
        values: &str,
    ) -> Option<String> {
        let per = counters.get(&counter).map(|kept| sorted(&kept.counter.per));
        self.values(per.as_deref(), values)
    }

    /// Whether it was of this value.
    pub fn usage(&self, used: &mut KeptUsage, counters: &BTreeMap<i64, KeptCounter>) -> bool {
        let named = self.dimensions(&mut used.dimensions);
        if named {
            used.elsewhere.rename(|counter, values| self.of_counter(counters, counter, values));
        }
        named
    }

    /// The same.
    pub fn expired(
        &self,
        expired: &mut ExpiredBody,
        counters: &BTreeMap<i64, KeptCounter>,
    ) -> bool {
        if let Some(charged) = &mut expired.charged {
            self.usage(&mut charged.used, counters);
        }
        self.dimensions(&mut expired.call.dimensions)
    }

    /// Of what a quota policy was fed and said to a call that names it.
    pub fn judged(&self, facts: &mut [Fact], outcome: &mut Result<Verdict, Fault>) {
        self.facts(facts);
        let Verdict { decision, findings, facts } = match outcome {
            Ok(verdict) => verdict,
            Err(fault) => return self.fault(fault),
        };
        self.facts(facts);
        for finding in findings {
            finding.message.iter_mut().for_each(|message| self.text(message));
        }
        if let Decision::Deny(denial) = decision {
            self.denial(denial);
        }
    }

    /// Of what a pricing policy was fed and said to such a call.
    pub fn priced(&self, Priced { facts, outcome, .. }: &mut Priced) {
        self.facts(facts);
        match outcome {
            Ok(Ok(quote)) => self.facts(&mut quote.facts),
            Ok(Err(Refusal { message, .. })) => self.text(message),
            Err(fault) => self.fault(fault),
        }
    }

    /// Of what an alerting policy wanted done about it.
    pub fn action(&self, action: &mut Action) {
        match action {
            Action::Raise(Notice { key, title, body, facts, .. }) => {
                self.facts(facts);
                [key, title, body].into_iter().for_each(|text| self.text(text));
            }
            Action::Resolve(key) => self.text(key),
            Action::Disable(disablement) => self.text(&mut disablement.reason),
            Action::Enable(_) | Action::ProposeLimit { .. } => {}
        }
    }

    /// Of a notice about it. Whether it is.
    pub fn notice(&self, notice: &mut NoticeBody) -> bool {
        let named = self.dimensions(&mut notice.dimensions);
        if named {
            let NoticeBody { key, title, body, facts, .. } = notice;
            self.facts(facts);
            [key, title, body].into_iter().for_each(|text| self.text(text));
        }
        named
    }

    /// Of an administrative act about it. Whether it is.
    pub fn act(&self, row: &mut AuditRow) -> bool {
        let Dimension { name, value } = &self.dimension;
        let AuditRow { act, subject, before, after, outcome, .. } = row;
        let mut named = *subject == format!("{name}={value}")
            || name == super::records::AGENT && act.starts_with("agent.") && *subject == *value;
        if named {
            subject.truncate(subject.len() - value.len());
            subject.push_str(&self.pseudonym);
        }
        for text in [Some(&mut *subject), before.as_mut(), after.as_mut()].into_iter().flatten() {
            if let Some(new) = self.json(text.as_bytes()) {
                *text = new;
                named = true;
            }
        }
        if named {
            for text in [before, after].into_iter().flatten() {
                match self.texts(text.as_bytes()) {
                    Some(new) => *text = new,
                    None => self.text(text),
                }
            }
            outcome.iter_mut().for_each(|outcome| self.text(outcome));
        }
        named
    }

    /// Of how a policy failed, which is in its own words.
    pub fn fault(&self, fault: &mut Fault) {
        if let Fault::Trap(words) | Fault::Malformed(words) | Fault::Settings(words) = fault {
            self.text(words);
        }
    }

    pub fn denial(&self, denial: &mut Denial) {
        self.text(&mut denial.message);
    }

    pub fn facts(&self, facts: &mut [Fact]) {
        for fact in facts {
            if let Value::Text(text) = &mut fact.value {
                self.text(text);
            }
        }
    }

    /// Wherever it, or what people called it, stands as a word of its own.
    fn text(&self, text: &mut String) {
        let names = self.names.iter().filter(|name| !name.is_empty());
        let mut values: Vec<&str> = names.map(String::as_str).collect();
        values.push(&self.dimension.value);
        // One may be part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.into_iter().for_each(|value| self.word(value, text));
    }

    fn word(&self, value: &str, text: &mut String) {
        let is_part = |edge: Option<char>| edge.is_some_and(|edge| edge.is_alphanumeric());
        let (mut told, mut rest, mut before) = (String::new(), text.as_str(), None);
        while let Some(place) = rest.find(value) {
            let (front, after) = (&rest[..place], &rest[place + value.len()..]);
            let left = front.chars().next_back().or(before);
            told.push_str(front);
            let within = is_part(left) || is_part(after.chars().next());
            told.push_str(if within { value } else { &self.pseudonym });
            (rest, before) = (after, value.chars().next_back());
        }
        told.push_str(rest);
        *text = told;
    }

    /// Of a record of this kind: its name and its body.
    pub fn record(
        &self,
        kind: &str,
        name: &str,
        body: Option<&[u8]>,
    ) -> Option<(String, Option<Vec<u8>>)> {
        let is_agent = kind == super::records::AGENT && self.dimension.name == "agent";
        let is_its = is_agent && name == self.dimension.value;
        let new_name = match is_its {
            true => Some(self.pseudonym.clone()),
            false => self.json(name.as_bytes()),
        };
        // That it was erased stays known, but not what.
        let is_own = kind == super::records::ERASURE && name == self.pseudonym;
        let new_body = match is_its || is_own {
            true => body.and_then(|body| self.texts(body)),
            false => body.and_then(|body| self.json(body)),
        };
        if new_name.is_none() && new_body.is_none() {
            return None;
        }
        let body = new_body.map(String::into_bytes).or_else(|| body.map(<[u8]>::to_vec));
        Some((new_name.unwrap_or_else(|| name.to_owned()), body))
    }

    /// In a JSON text, wherever it stands in words.
    fn texts(&self, text: &[u8]) -> Option<String> {
        fn walk(json: &mut Json, with: &impl Fn(&mut String)) {
            match json {
                Json::String(text) => with(text),
                Json::Array(all) => all.iter_mut().for_each(|own| walk(own, with)),
                Json::Object(fields) => fields.values_mut().for_each(|own| walk(own, with)),
                Json::Null | Json::Bool(_) | Json::Number(_) => {}
            }
        }
        let mut json: Json = serde_json::from_slice(text).ok()?;
        walk(&mut json, &|text| self.text(text));
        Some(json.to_string())
    }

    /// In a JSON text, wherever it stands as a dimension. None: nowhere.
    fn json(&self, text: &[u8]) -> Option<String> {
        let mut json: Json = serde_json::from_slice(text).ok()?;
        self.in_json(&mut json).then(|| json.to_string())
    }

    fn in_json(&self, json: &mut Json) -> bool {
        match json {
            Json::Array(all) => all.iter_mut().fold(false, |named, own| self.in_json(own) | named),
            Json::Object(fields) => {
                let is = |field: &str, value: &str| {
                    fields.get(field).and_then(Json::as_str) == Some(value)
                };
                let Dimension { name, value } = &self.dimension;
                // Of a repair: a counter's values.
                let values = fields.get("values").and_then(Json::as_str);
                if let Some(new) = values.and_then(|values| self.values(None, values)) {
                    fields.insert("values".into(), new.into());
                    return true;
                }
                if is("name", name) && is("value", value) {
                    fields.insert("value".into(), self.pseudonym.clone().into());
                    return true;
                }
                fields.values_mut().fold(false, |named, own| self.in_json(own) | named)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure() -> Erasure {
        let dimension = Dimension { name: "user".into(), value: "ana".into() };
        Erasure { dimension, pseudonym: "erased-1".into(), names: BTreeSet::new() }
    }

    #[test]
    fn what_people_called_an_agent_gives_way_with_it() {
        let dimension = Dimension { name: "agent".into(), value: "ana".into() };
        let names = ["Agente Ana", "Assistant of ana", ""].map(String::from).into();
        let erasure = Erasure { dimension, pseudonym: "erased-1".into(), names };
        let mut told = "'Agente Ana' (ana), once Assistant of ana; Agente Anabela".to_owned();
        erasure.text(&mut told);
        assert_eq!(told, "'erased-1' (erased-1), once erased-1; Agente Anabela");
        let body = br#"{"name":"Agente Ana","settings":{"cost":2,"note":"Agente Ana's"}}"#;
        let (name, body) = erasure.record("agent", "ana", Some(body)).unwrap();
        let wanted = r#"{"name":"erased-1","settings":{"cost":2,"note":"erased-1's"}}"#;
        assert_eq!((name.as_str(), body.as_deref()), ("erased-1", Some(wanted.as_bytes())));
        assert_eq!(erasure.record("agent", "eva", Some(b"{}")), None);
    }

    #[test]
    fn a_value_gives_way_where_it_is_a_word() {
        for (text, wanted) in [
            ("ana", "erased-1"),
            ("banana", "banana"),
            ("anaana", "anaana"),
            (
                "`ana` has used 5; ana's limit is 3, ana",
                "`erased-1` has used 5; erased-1's limit is 3, erased-1",
            ),
            ("nothing", "nothing"),
        ] {
            let mut told = text.to_owned();
            erasure().text(&mut told);
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_value_gives_way_where_it_is_of_its_dimension() {
        let per = ["agent".to_owned(), "user".to_owned()];
        let values = |text| erasure().values(Some(&per), text);
        assert_eq!(values(r#"["ana","ana"]"#).as_deref(), Some(r#"["ana","erased-1"]"#));
        assert_eq!(values(r#"["ana","eva"]"#), None);
        let any = erasure().values(None, r#"["ana","eva"]"#);
        assert_eq!(any.as_deref(), Some(r#"["erased-1","eva"]"#));
    }

    #[test]
    fn a_record_tells_the_pseudonym() {
        let name =
            r#"{"dimensions":[{"name":"user","value":"ana"},{"name":"agent","value":"ana"}]}"#;
        let wanted =
            r#"{"dimensions":[{"name":"user","value":"erased-1"},{"name":"agent","value":"ana"}]}"#;
        let told = erasure().record("limit", name, Some(b"{}"));
        assert_eq!(told, Some((wanted.to_owned(), Some(b"{}".to_vec()))));
        assert_eq!(erasure().record("agent", "ana", None), None);
    }
}
