//! Administrative acts, as callers of the API do and read them.

use std::fmt;
use std::future::Future;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tollgate_host::engine::{Operation, Outcome, Subject};
use tollgate_host::store::{AuditRow, Owner};
use uuid::Uuid;

use super::problem::Problem;
use super::route::{Answer, Asked};
use super::shapes::Time;
use crate::acts::{Act, carry_out};
use crate::stores::Stores;

/// An act that was written down.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Act")]
pub struct ActBody {
    pub id: Uuid,
    pub at: Time,
    /// In whose affairs: a tenant's name, or `*`.
    pub owner: String,
    /// Who: the token's name, and its identifier.
    pub who: String,
    pub act: String,
    /// On what.
    pub subject: String,
    /// What that was; null: it was not there.
    pub before: Json,
    /// What it was to become; null: it was to be gone.
    pub after: Json,
    /// `done`, or why not; none: what became of it was never told.
    pub outcome: Option<String>,
}

/// Acts, the last first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Acts {
    pub acts: Vec<ActBody>,
    /// Where the next page begins; none: there is none.
    pub next: Option<String>,
}

/// Which acts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Where the page begins, as the one before said.
    pub before: Option<String>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// So many things are listed at a time at the most.
pub const PAGE_MAX: u32 = 1_000;

/// How many are listed at a time.
pub fn page(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(100);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid(format!("a `limit` of {limit}: list 1 to {PAGE_MAX} at a time")))
    }
}

impl<S: Stores, P, B> Asked<S, P, B> {
    /// Does what the caller is about to do, and has it written down.
    pub async fn act<T>(
        &self,
        act: Act,
        doing: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let (store, who) = (&**self.service.registry.store(), self.caller.author());
        carry_out(store, &self.service.random, who, act, doing).await
    }

    /// Sets or removes what is known of the tenant by name, and has it written down. With a key it is
    /// done once.
    pub async fn set(
        &self,
        act: Act,
        subject: Subject,
        key: Option<&String>,
    ) -> Result<(), Problem> {
        let (tenant, operation) = (self.tenant()?, Operation::Set { subject, by: self.by() });
        self.act(act, async {
            match self.service.host.ask(tenant, key.cloned(), operation).await? {
                Outcome::Done => Ok(()),
                _ => Err(Problem::unavailable("the host is going down")),
            }
        })
        .await
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// `GET /v1/audit`: a tenant's, or for whoever belongs to none everybody's.
pub async fn list<S: Stores>(asked: Asked<S, Which>) -> Result<Answer<Acts>, Problem> {
    let limit = page(asked.parameters.limit)?;
    let before = asked.parameters.before.as_deref().map(read).transpose()?;
    let owner = asked.tenant_if_any().cloned().map(Owner::Tenant);
    let rows = asked.service.registry.store().audits(owner.as_ref(), before, limit).await?;
    let is_whole = rows.len() == limit as usize;
    let next = rows.last().filter(|_| is_whole).map(|row| format!("{}.{}", row.at, row.id));
    Ok(Acts { acts: rows.into_iter().map(ActBody::from).collect(), next }.into())
}

fn read(text: &str) -> Result<(i64, Uuid), Problem> {
    let read = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.parse().ok()?)));
    read.ok_or_else(|| Problem::bad_request("`before` is not what the page before said"))
}

impl From<AuditRow> for ActBody {
    fn from(row: AuditRow) -> Self {
        let json = |text: Option<String>| {
            text.map_or(Json::Null, |text| {
                serde_json::from_str(&text).unwrap_or(Json::String(text))
            })
        };
        Self {
            id: row.id,
            at: Time(row.at),
            owner: row.owner.as_str().to_owned(),
            who: row.who,
            act: row.act,
            subject: row.subject,
            before: json(row.before),
            after: json(row.after),
            outcome: row.outcome,
        }
    }
}
