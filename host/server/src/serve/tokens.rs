//! Tokens, for those who may hand them out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::store::{Tenant, TokenRow};

use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::Time;
use crate::access::{Role, Token};
use crate::acts::Act;
use crate::stores::Stores;
use crate::token::{New, NotMade, Rotation, create};

/// A token that is to be made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What people call it.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    pub role: Role,
    /// For which tenant; none: for any, which each request then names.
    pub tenant: Option<String>,
    /// How long it counts; none: until it is revoked.
    #[schemars(range(min = 1))]
    pub ttl_seconds: Option<u32>,
}

/// How a token is rotated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRotation {
    /// How long the older secret counts yet: until all who use it have the new one.
    #[serde(default = "an_hour")]
    pub overlap_seconds: u32,
}

fn an_hour() -> u32 {
    3_600
}

/// A token that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made {
    pub id: String,
    /// All of it; it is shown this once.
    pub token: String,
}

/// A token, without its secret.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub struct TokenBody {
    pub id: String,
    pub name: String,
    pub role: String,
    /// For which tenant; none: for any.
    pub tenant: Option<String>,
    pub created_at: Time,
    pub created_by: String,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    /// When it was given its secret; none: as it was made.
    pub rotated_at: Option<Time>,
    /// Until when the older secret counts.
    pub older_until: Option<Time>,
}

/// Tokens in the order in which they were made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tokens {
    pub tokens: Vec<TokenBody>,
}

/// A token by its identifier.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfToken {
    pub id: String,
}

/// `POST /v1/tokens`
pub async fn make<S: Stores>(
    asked: Asked<S, Nothing, Json<NewToken>>,
) -> Result<Answer<Made>, Problem> {
    let Json(NewToken { name, role, tenant, ttl_seconds }) = &asked.body;
    let tenant: Option<Tenant> = tenant.as_deref().map(str::parse).transpose().map_err(invalid)?;
    if let Some(tenant) = &tenant {
        asked.service.know(tenant).await?;
    }
    let ttl_ms = ttl_seconds.map(|seconds| i64::from(seconds).saturating_mul(1_000));
    let new = New { name: name.clone(), role: *role, tenant, ttl_ms };
    let act = Act {
        owner: new.owner(),
        act: "token.create",
        subject: name.clone(),
        before: Value::Null,
        after: json!({ "role": role, "ttl_seconds": ttl_seconds }),
    };
    let (store, author) = (&**asked.service.registry.store(), asked.caller.author());
    let made = async { Ok(create(store, &asked.service.random, &new, &author).await?) };
    let token: Token = asked.act(act, made).await?;
    Ok(Made { id: token.id().to_owned(), token: token.reveal() }.into())
}

/// `GET /v1/tokens`
pub async fn list<S: Stores>(asked: Asked<S>) -> Result<Answer<Tokens>, Problem> {
    let rows = asked.service.registry.store().tokens(asked.tenant_if_any()).await?;
    Ok(Tokens { tokens: rows.into_iter().map(TokenBody::from).collect() }.into())
}

/// `POST /v1/tokens/{id}/rotate`
pub async fn rotate<S: Stores>(
    asked: Asked<S, OfToken, Json<NewRotation>>,
) -> Result<Answer<Made>, Problem> {
    let (service, id) = (&asked.service, &asked.parameters.id);
    let store = &**service.registry.store();
    let overlap_ms = i64::from(asked.body.0.overlap_seconds).saturating_mul(1_000);
    let rotation = Rotation { id: id.clone(), overlap_ms };
    let row = store.token(id).await?.ok_or_else(|| unknown(id))?;
    let made = async {
        let token = rotation.carry_out(store, &service.random, asked.tenant_if_any()).await?;
        token.ok_or_else(|| unknown(id))
    };
    let token = asked.act(rotation.act(&row), made).await?;
    Ok(Made { id: token.id().to_owned(), token: token.reveal() }.into())
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no token `{id}` that counts"))
}

/// `DELETE /v1/tokens/{id}`
pub async fn revoke<S: Stores>(asked: Asked<S, OfToken>) -> Result<(), Problem> {
    let (store, id) = (asked.service.registry.store(), &asked.parameters.id);
    let row = store.token(id).await?.ok_or_else(|| unknown(id))?;
    let act = Act {
        owner: row.owner(),
        act: "token.revoke",
        subject: id.clone(),
        before: json!({ "name": row.name, "role": row.role }),
        after: Value::Null,
    };
    asked
        .act(act, async {
            let at = store.now().await?;
            let done = store.revoke_token(asked.tenant_if_any(), id, at).await?;
            done.then_some(()).ok_or_else(|| unknown(id))
        })
        .await
}

impl From<TokenRow> for TokenBody {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            role: row.role,
            tenant: row.tenant.map(String::from),
            created_at: Time(row.created_at),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Time),
            revoked_at: row.revoked_at.map(Time),
            rotated_at: row.older.map(|older| Time(older.rotated_at)),
            older_until: row.older.map(|older| Time(older.until)),
        }
    }
}

impl From<NotMade> for Problem {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::Store(error) => error.into(),
            error => Self::invalid(error.to_string()),
        }
    }
}
