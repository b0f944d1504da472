//! Calls go ahead within working hours only.

use serde::Deserialize;
use tollgate_policy_core::guest::{
    Decimal, Decision, Denial, Manifest, Policy, Read, Request, Value, Verdict, fact,
};

/// Open from an hour on, until before another, in the tenant's time zone.
#[derive(Deserialize)]
pub struct Hours {
    from: Decimal,
    until: Decimal,
}

impl Policy for Hours {
    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let hours = serde_json::from_str(settings).map_err(|error| error.to_string())?;
        let reads = vec![Read::Fact("local.hour".into())];
        Ok((hours, Manifest { reads, ..Manifest::default() }))
    }

    fn check(&self, request: &Request) -> Verdict {
        let open = match fact(&request.facts, "local.hour") {
            Some(Value::Number(hour)) => (self.from..self.until).contains(hour),
            _ => false,
        };
        let decision = match open {
            true => Decision::Allow,
            false => Decision::Deny(Denial::new("closed", "calls wait for working hours")),
        };
        Verdict { decision, findings: Vec::new(), facts: Vec::new() }
    }
}

tollgate_policy_core::export_policy!(Hours: quota);
