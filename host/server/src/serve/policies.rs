//! Policies as the command line has them: what is pushed, and what is bound for whom.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{BindingMode, Canary, Failing, Percent};
use tollgate_host::registry::{Bindings, Bound, By, Change, Upload};
use tollgate_host::store::{Owner, RevisionId, RevisionRow, Scope, Tenant};

use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Body, Json, Nothing, Schemed, media_type};
use super::shapes::Time;
use crate::access::Role;
use crate::acts::Act;
use crate::policies::Named;
use crate::stores::Stores;

/// So many tenants are named that are not judged by what is bound.
const TROUBLES_MAX: usize = 100;

/// A component to be pushed: the body itself.
pub struct Component(bytes::Bytes);

/// With what it is pushed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// What people call the policy.
    pub policy: String,
    /// Its settings, JSON; `{}` unless said otherwise.
    pub settings: Option<String>,
    /// The digest that it must have, `sha256:` and 64 digits.
    pub digest: Option<String>,
    /// A signature over `sha256:` and the digest, hexadecimal.
    pub signature: Option<String>,
    /// Why, in words.
    pub message: Option<String>,
}

/// A standard component with other settings.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevision {
    /// What people call the policy.
    pub policy: String,
    /// A standard component: `quota`, `pricing`, `alerts`, `estimate`; none: the component of the
    /// policy's last revision.
    pub component: Option<String>,
    #[serde(default)]
    pub settings: serde_json::Map<String, Value>,
    /// A signature over `sha256:` and the component's digest, hexadecimal.
    pub signature: Option<String>,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

/// A component with its settings; it never changes.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Revision {
    /// `*/house@3`, `acme/own@1`
    pub revision: String,
    /// The component's, SHA-256.
    pub digest: String,
    pub settings: Value,
    /// Whose key signed the component.
    pub signer: Option<String>,
    pub at: Time,
    pub author: String,
    pub message: String,
}

/// Revisions in the order in which they were made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Revisions {
    pub revisions: Vec<Revision>,
}

/// A component that was pushed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pushed {
    /// `*/house@3`
    pub revision: String,
    /// The component's, SHA-256.
    pub digest: String,
    /// Whether it is new: the last one may have been the same.
    pub is_new: bool,
}

/// Whose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfPlan {
    /// Of the platform, for tenants on this plan.
    pub plan: Option<String>,
}

/// Of which policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfPolicy {
    /// None: of all.
    pub policy: Option<String>,
}

/// What is bound.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BoundBody {
    /// As of which version.
    pub version: i64,
    /// The policies, in the order in which they are asked, and what else is set.
    #[schemars(with = "Value")]
    pub bound: Bindings,
    /// Tenants that this server does not judge by all that is bound for them, the first hundred;
    /// of a tenant its own.
    pub troubles: Vec<TroubleBody>,
}

/// Why a tenant is not judged by all that is bound for it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TroubleBody {
    pub tenant: String,
    /// In words.
    pub why: String,
}

/// What becomes of what is bound.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "serde_json::Map<String, Value>")]
pub struct Rebind {
    #[schemars(flatten)]
    pub change: ChangeBody,
    /// Only if this version is bound.
    pub expect: Option<i64>,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

impl TryFrom<serde_json::Map<String, Value>> for Rebind {
    type Error = serde_json::Error;

    /// What is said beside the change is taken out first, so that nothing else is overlooked in it.
    fn try_from(mut body: serde_json::Map<String, Value>) -> serde_json::Result<Self> {
        let expect = serde_json::from_value(body.remove("expect").unwrap_or_default())?;
        let message = body.remove("message").map(serde_json::from_value).transpose()?;
        let change = serde_json::from_value(Value::Object(body))?;
        Ok(Self { change, expect, message: message.unwrap_or_default() })
    }
}

/// How what is bound changes.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "do", deny_unknown_fields)]
pub enum ChangeBody {
    /// A revision is bound, in the place of the policy's other one, or last.
    Bind {
        /// `house`, `house@3`, for a tenant also `*/house@3`.
        revision: String,
        /// A call goes ahead where the policy fails.
        #[serde(default)]
        failing_open: bool,
        #[serde(default)]
        mode: ModeBody,
    },
    /// A policy's candidate is enforced.
    Promote { policy: String },
    /// A policy's candidate is bound no longer.
    Withdraw { policy: String },
    /// A policy is bound no longer, nor its candidate.
    Unbind { policy: String },
    /// All policies, in the order in which they are asked from now on.
    Order { policies: Vec<String> },
    /// What was bound as of a version is bound again; none: before the last change.
    RollBack { to: Option<i64> },
}

/// How much a policy's word counts.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModeBody {
    #[default]
    Enforce,
    /// It is asked, and does not count.
    Shadow,
    /// It counts for so many of a hundred.
    Canary {
        #[schemars(range(max = 100))]
        percent: u8,
        /// Of a hundred what: `user`.
        by: String,
    },
}

impl Body for Component {
    const SCHEMA: Option<Schemed> = Some(|_| schemars::json_schema!({}));
    const MEDIA_TYPES: &'static [&'static str] = &["application/wasm"];

    fn read(headers: &axum::http::HeaderMap, body: bytes::Bytes) -> Result<Self, Problem> {
        if !media_type(headers).eq_ignore_ascii_case("application/wasm") {
            let status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let words = "send the component itself, as `content-type: application/wasm`";
            return Err(Problem::new(status, "unsupported_media_type", words));
        }
        Ok(Self(body))
    }
}

impl<S: Stores, P, B> Asked<S, P, B> {
    /// Whose policies: the tenant's, or the platform's for those who may look after them.
    pub fn owner(&self) -> Result<Owner, Problem> {
        match self.tenant_if_any() {
            Some(tenant) => Ok(Owner::Tenant(tenant.clone())),
            None if self.caller.role.is_platforms() || self.caller.role == Role::Read => {
                Ok(Owner::Platform)
            }
            None => Err(Problem::forbidden("the platform's policies are not for this role")),
        }
    }

    pub fn scope(&self, plan: Option<&String>) -> Result<Scope, Problem> {
        let owner = self.owner()?;
        if plan.is_some() && owner != Owner::Platform {
            return Err(Problem::invalid("a plan is the platform's: leave out the tenant"));
        }
        Ok(Scope { owner, plan: plan.cloned().unwrap_or_default() })
    }

    /// What is bound in a scope.
    pub async fn told(&self, scope: &Scope) -> Result<BoundBody, Problem> {
        let (version, bound) = self.service.registry.bound(scope).await?;
        let of_scope = |own: &Tenant| match &scope.owner {
            Owner::Platform => true,
            Owner::Tenant(tenant) => own == tenant,
        };
        let troubles = self.service.registry.troubles().into_iter();
        let troubles = troubles.filter(|(tenant, _)| of_scope(tenant)).take(TROUBLES_MAX);
        let troubles = troubles.map(|(tenant, trouble)| {
            let (tenant, why) = (tenant.to_string(), Problem::from(trouble).detail);
            TroubleBody { tenant, why }
        });
        Ok(BoundBody { version, bound, troubles: troubles.collect() })
    }

    pub fn because(&self, message: &str) -> By {
        By { author: self.caller.author(), message: message.to_owned() }
    }
}

/// `POST /v1/components`
pub async fn push<S: Stores>(asked: Asked<S, Push, Component>) -> Result<Answer<Pushed>, Problem> {
    let Push { policy, settings, digest, signature, message } = &asked.parameters;
    let digest = digest.as_deref().map(|text| text.strip_prefix("sha256:").unwrap_or(text));
    let signature = signature.as_deref().map(unhex).transpose()?;
    let upload = Upload {
        policy,
        component: &asked.body.0,
        settings: settings.as_deref().unwrap_or("{}"),
        digest,
        signature: signature.as_deref(),
    };
    pushed(&asked, &upload, message.as_deref().unwrap_or_default()).await
}

/// `POST /v1/revisions`
pub async fn revise<S: Stores>(
    asked: Asked<S, Nothing, Json<NewRevision>>,
) -> Result<Answer<Pushed>, Problem> {
    let Json(NewRevision { policy, component, settings, signature, message }) = &asked.body;
    let owner = asked.owner()?;
    let registry = &asked.service.registry;
    let component = match component {
        // Only by its name: a path would be one of the server's own files.
        Some(name) => match tollgate_plugins::standard(name) {
            Some(component) => component.to_vec(),
            None => {
                let words =
                    format!("`{name}` is not a standard component: push yours to `/v1/components`");
                return Err(Problem::invalid(words));
            }
        },
        None => {
            let unknown = || Problem::not_found(format!("there is no policy `{policy}`"));
            let last = registry.revisions(&owner, Some(policy)).await?.pop().ok_or_else(unknown)?;
            let bytes = registry.store().component(&owner, &last.digest).await?;
            bytes.ok_or_else(unknown)?
        }
    };
    let settings = Value::Object(settings.clone()).to_string();
    let signature = signature.as_deref().map(unhex).transpose()?;
    let signature = signature.as_deref();
    let upload = Upload { signature, ..Upload::new(policy, &component, &settings) };
    pushed(&asked, &upload, message).await
}

async fn pushed<S: Stores, P, B>(
    asked: &Asked<S, P, B>,
    upload: &Upload<'_>,
    message: &str,
) -> Result<Answer<Pushed>, Problem> {
    let owner = asked.owner()?;
    let settings: Value = serde_json::from_str(upload.settings)
        .map_err(|error| Problem::invalid(format!("`settings` is not JSON: {error}")))?;
    let act = Act {
        owner: owner.clone(),
        act: "policy.push",
        subject: upload.policy.to_owned(),
        before: Value::Null,
        after: json!({ "settings": settings, "message": message }),
    };
    let by = asked.because(message);
    let registry = &asked.service.registry;
    let pushed = asked.act(act, async { Ok(registry.push(&owner, upload, &by).await?) }).await?;
    let tollgate_host::registry::Pushed { id, digest, is_new } = pushed;
    Ok(Pushed { revision: id.to_string(), digest, is_new }.into())
}

/// `GET /v1/revisions`
pub async fn revisions<S: Stores>(asked: Asked<S, OfPolicy>) -> Result<Answer<Revisions>, Problem> {
    let policy = asked.parameters.policy.as_deref();
    let rows = asked.service.registry.revisions(&asked.owner()?, policy).await?;
    Ok(Revisions { revisions: rows.into_iter().map(Revision::from).collect() }.into())
}

/// `GET /v1/policies`
pub async fn bound<S: Stores>(asked: Asked<S, OfPlan>) -> Result<Answer<BoundBody>, Problem> {
    let scope = asked.scope(asked.parameters.plan.as_ref())?;
    Ok(asked.told(&scope).await?.into())
}

/// `POST /v1/policies`
pub async fn rebind<S: Stores>(
    asked: Asked<S, OfPlan, Json<Rebind>>,
) -> Result<Answer<BoundBody>, Problem> {
    let scope = asked.scope(asked.parameters.plan.as_ref())?;
    let Json(Rebind { change, expect, message }) = &asked.body;
    let registry = &asked.service.registry;
    let (_, before) = registry.bound(&scope).await?;
    let act = Act {
        owner: scope.owner.clone(),
        act: "policy.rebind",
        subject: scope.plan.clone(),
        before: json!(before),
        after: json!(change),
    };
    let by = asked.because(message);
    let version = asked
        .act(act, async {
            let change = match change {
                ChangeBody::RollBack { to } => {
                    // What else is bound for a tenant is the platform's word.
                    let policies_only = asked.caller.role == Role::Tenant;
                    let back = registry.roll_back(&scope, *to, *expect, policies_only, &by);
                    return Ok(back.await?);
                }
                ChangeBody::Promote { policy } => Change::Promote(policy.clone()),
                ChangeBody::Withdraw { policy } => Change::Withdraw(policy.clone()),
                ChangeBody::Unbind { policy } => Change::Unbind(policy.clone()),
                ChangeBody::Order { policies } => Change::Order(policies.clone()),
                ChangeBody::Bind { revision, failing_open, mode } => {
                    let named: Named = revision.parse().map_err(invalid)?;
                    let own = named.owner.as_ref().unwrap_or(&scope.owner);
                    // Whether there is such a one is nobody else's business.
                    if *own != Owner::Platform && *own != scope.owner {
                        let words =
                            format!("there is no policy `{revision}` that can be bound here");
                        return Err(Problem::not_found(words));
                    }
                    let id = named.of(registry, scope.owner.clone()).await;
                    let RevisionId { owner: of, policy, number: revision } =
                        id.map_err(|error| Problem::not_found(format!("{error:#}")))?;
                    let failing = if *failing_open { Failing::Open } else { Failing::Closed };
                    let mode = mode.read()?;
                    Change::Bind(Bound { policy, of, revision, failing, mode })
                }
            };
            Ok(registry.change(&scope, *expect, change, &by).await?)
        })
        .await?;
    asked.service.bring(asked.tenant_if_any()).await?;
    Ok(BoundBody { version, ..asked.told(&scope).await? }.into())
}

impl ModeBody {
    fn read(&self) -> Result<BindingMode, Problem> {
        Ok(match self {
            Self::Enforce => BindingMode::Enforce,
            Self::Shadow => BindingMode::Shadow,
            Self::Canary { percent, by } => {
                let percent = Percent::try_from(*percent).map_err(invalid)?;
                BindingMode::Canary(Canary { percent, by: by.clone() })
            }
        })
    }
}

impl From<RevisionRow> for Revision {
    fn from(row: RevisionRow) -> Self {
        let revision = row.id().to_string();
        let RevisionRow { digest, settings, signer, signed, .. } = row;
        Self {
            revision,
            digest,
            settings: serde_json::from_str(&settings).unwrap_or_default(),
            signer,
            at: Time(signed.at),
            author: signed.author,
            message: signed.message,
        }
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, Problem> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.ok_or_else(|| Problem::invalid("`signature` is not hexadecimal"))
}
