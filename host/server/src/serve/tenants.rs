//! Tenants, and the money that is paid in for them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{Entry, EntryKind, Operation, Outcome, Tariff};
use tollgate_host::registry::{By, Change, Prices, TenantSettings};
use tollgate_host::store::{Owner, Scope, Tenant};
use tollgate_policy_core::{Decimal, Money};
use uuid::Uuid;

use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{DecimalText, MoneyBody};
use crate::acts::Act;
use crate::stores::Stores;

/// A tenant that is to be served.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// 1 to 64 letters, digits, `-`, `_` or `.`
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,64}$"))]
    pub name: String,
    /// The plan that it is on.
    pub plan: Option<String>,
    /// Its time zone, `America/Sao_Paulo`; UTC unless said otherwise.
    pub time_zone: Option<String>,
}

/// A tenant.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tenant")]
pub struct TenantBody {
    pub name: String,
}

/// All tenants there are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tenants {
    pub tenants: Vec<TenantBody>,
}

/// An entry of the ledger that no call makes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Credit {
    /// Chosen by the caller: told again with the same one, it is booked once.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Credits and refunds are above zero, adjustments either.
    #[schemars(with = "DecimalText")]
    pub amount: Decimal,
    /// ISO 4217.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    pub currency: String,
    #[serde(default)]
    pub kind: CreditKind,
    /// Why, in words.
    pub reason: String,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditKind {
    /// Paid in.
    #[default]
    Credit,
    /// Put right.
    Adjustment,
    /// Given back.
    Refund,
}

/// An entry that is booked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Credited {
    /// The entry's.
    pub entry: Uuid,
    /// What the account stands at.
    pub balance: MoneyBody,
}

/// `POST /v1/tenants`: one that is there already stays as it is.
pub async fn create<S: Stores>(
    asked: Asked<S, Nothing, Json<NewTenant>>,
) -> Result<Answer<TenantBody>, Problem> {
    let Json(NewTenant { name, plan, time_zone }) = &asked.body;
    let tenant: Tenant = name.parse().map_err(invalid)?;
    let time_zone = time_zone.as_deref().map(str::parse).transpose();
    let time_zone = time_zone.map_err(|_| Problem::invalid("`time_zone` is not a zone's name"))?;
    let registry = &asked.service.registry;
    let scope = Scope { owner: Owner::Tenant(tenant.clone()), plan: String::new() };
    let (mut version, mut bindings) = registry.bound(&scope).await?;
    if version == 0 {
        let prices = Prices::Current;
        let settings =
            TenantSettings { plan: plan.clone(), time_zone, prices, ..TenantSettings::default() };
        let by = By { author: asked.caller.author(), message: "a new tenant".into() };
        let act = Act {
            owner: scope.owner.clone(),
            act: "tenant.create",
            subject: name.clone(),
            before: Value::Null,
            after: json!(settings),
        };
        let change = Change::Settings(Box::new(settings));
        let created = async { Ok(registry.change(&scope, Some(0), change, &by).await?) };
        match asked.act(act, created).await {
            // Somebody else asked for it just then, and maybe for the same.
            Err(problem) if problem.code == "moved" => {
                (version, bindings) = registry.bound(&scope).await?;
            }
            created => drop(created?),
        }
    }
    if version > 0
        && ((plan.is_some() && *plan != bindings.tenant.plan)
            || (time_zone.is_some() && time_zone != bindings.tenant.time_zone))
    {
        return Err(Problem::conflict(
            "exists",
            format!("`{tenant}` is there, and is set otherwise"),
        ));
    }
    asked.service.bring(Some(&tenant)).await?;
    Ok(TenantBody { name: tenant.to_string() }.into())
}

/// `GET /v1/tenants`
pub async fn list<S: Stores>(asked: Asked<S>) -> Result<Answer<Tenants>, Problem> {
    let tenants = asked.service.registry.store().tenants().await?;
    let body = |tenant: Tenant| TenantBody { name: tenant.to_string() };
    Ok(Tenants { tenants: tenants.into_iter().map(body).collect() }.into())
}

/// `POST /v1/credits`
pub async fn credit<S: Stores>(
    asked: Asked<S, Nothing, Json<Credit>>,
) -> Result<Answer<Credited>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Credit { key, amount, currency, kind, reason }) = &asked.body;
    let kind = match kind {
        CreditKind::Credit => EntryKind::Credit,
        CreditKind::Adjustment => EntryKind::Adjustment,
        CreditKind::Refund => EntryKind::Refund,
    };
    let money = Money::new(*amount, currency.parse().map_err(invalid)?);
    let entry = Entry { account: Tariff::Cost, kind, money, reason: reason.clone() };
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "ledger.book",
        subject: key.clone(),
        before: Value::Null,
        after: json!(entry),
    };
    let booked = async {
        let key = Some(key.clone());
        match asked.service.host.ask(&tenant, key, Operation::Book { entry }).await? {
            Outcome::Booked { entry, balance } => Ok(Credited { entry, balance: balance.into() }),
            _ => Err(Problem::unavailable("the host is going down")),
        }
    };
    Ok(asked.act(act, booked).await?.into())
}
