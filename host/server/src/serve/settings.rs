//! What is bound beside policies: whose signatures count, and what a tenant is.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_host::registry::{Bindings, Change, Key, Signing, TenantSettings};
use tollgate_host::store::Owner;

use super::policies::BoundBody;
use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json, Nothing};
use crate::acts::Act;
use crate::stores::Stores;

/// Whose signatures of components count: a tenant's, or the platform's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetSigning {
    /// Whether a component without a signature is refused.
    #[serde(default)]
    pub required: bool,
    /// All of them: a key that is not among them counts no longer.
    #[serde(default)]
    pub keys: Vec<KeyBody>,
    /// Only if this version is bound.
    pub expect: Option<i64>,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

/// A key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// What people call it.
    pub name: String,
    /// An Ed25519 public key: in PEM, or 32 bytes in hexadecimal.
    pub public: String,
}

/// What a tenant is beside its policies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTenant {
    /// All of it, as `GET /v1/policies` tells it under `tenant`; what is left out is as if it had
    /// never been set: `plan`, `time_zone`, `first_day_of_week`, `prices`, `expiring`,
    /// `required_dimensions`, `meters`, `proposals`, `language`.
    pub settings: serde_json::Map<String, Value>,
    /// Only if this version is bound.
    pub expect: Option<i64>,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

/// `PUT /v1/policies/signing`
pub async fn sign<S: Stores>(
    asked: Asked<S, Nothing, Json<SetSigning>>,
) -> Result<Answer<BoundBody>, Problem> {
    let Json(SetSigning { required, keys, expect, message }) = &asked.body;
    let key = |own: &KeyBody| {
        let public = own.public.parse().map_err(invalid)?;
        Ok(Key { name: own.name.clone(), public })
    };
    let keys = keys.iter().map(key).collect::<Result<_, Problem>>()?;
    let signing = Signing { required: *required, keys };
    let act = Act {
        owner: asked.owner()?,
        act: "policy.signing",
        subject: String::new(),
        before: json!(asked.bound().await?.signing),
        after: json!(signing),
    };
    asked.change(act, Change::Signing(signing), *expect, message).await
}

/// `PUT /v1/policies/tenant`
pub async fn set_tenant<S: Stores>(
    asked: Asked<S, Nothing, Json<SetTenant>>,
) -> Result<Answer<BoundBody>, Problem> {
    let Json(SetTenant { settings, expect, message }) = &asked.body;
    let settings = serde_json::from_value(Value::Object(settings.clone()));
    let settings: TenantSettings =
        settings.map_err(|error| Problem::invalid(format!("`settings` does not fit: {error}")))?;
    let act = Act {
        owner: Owner::Tenant(asked.tenant()?.clone()),
        act: "tenant.set",
        subject: String::new(),
        before: json!(asked.bound().await?.tenant),
        after: json!(settings),
    };
    asked.change(act, Change::Settings(Box::new(settings)), *expect, message).await
}

impl<S: Stores, B> Asked<S, Nothing, B> {
    async fn bound(&self) -> Result<Bindings, Problem> {
        Ok(self.service.registry.bound(&self.scope(None)?).await?.1)
    }

    async fn change(
        &self,
        act: Act,
        change: Change,
        expect: Option<i64>,
        message: &str,
    ) -> Result<Answer<BoundBody>, Problem> {
        let (scope, by) = (self.scope(None)?, self.because(message));
        let registry = &self.service.registry;
        self.act(act, async { Ok(registry.change(&scope, expect, change, &by).await?) }).await?;
        self.service.bring(self.tenant_if_any()).await?;
        Ok(self.told(&scope).await?.into())
    }
}
