//! Channels that notices go over: a tenant's, or for whoever names no tenant the platform's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tollgate_host::store::{ChannelRow, Owner};

use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json};
use crate::acts::Act;
use crate::notices::{Channel, check_name, connects, trial};
use crate::stores::Stores;

/// So many channels an owner has at the most.
const CHANNELS_MAX: usize = 20;

/// A channel, without its secrets.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChannelSummary")]
pub struct ChannelBody {
    pub name: String,
    /// Where to, in words.
    pub to: String,
}

/// Channels in the order of their names.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Channels {
    pub channels: Vec<ChannelBody>,
}

/// A channel by its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfChannel {
    /// 1 to 64 letters, digits, `-`, `_` or `.`
    pub name: String,
}

/// What became of a trial.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Trial {
    pub delivered: bool,
    /// Why not.
    pub error: Option<String>,
}

/// `GET /v1/channels`
pub async fn list<S: Stores>(asked: Asked<S>) -> Result<Answer<Channels>, Problem> {
    let rows = asked.service.registry.store().channels(&owner(&asked)).await?;
    let body = |ChannelRow { name, body, .. }: ChannelRow| {
        let channel = serde_json::from_str::<Channel>(&body);
        let to = channel.map_or_else(|_| "unreadable".to_owned(), |own| own.to.to_string());
        ChannelBody { name, to }
    };
    Ok(Channels { channels: rows.into_iter().map(body).collect() }.into())
}

/// `PUT /v1/channels/{name}`
pub async fn put<S: Stores>(asked: Asked<S, OfChannel, Json<Channel>>) -> Result<(), Problem> {
    let (name, Json(channel)) = (&asked.parameters.name, &asked.body);
    check_name(name).map_err(|error| Problem::invalid(error.to_string()))?;
    let owner = owner(&asked);
    asked.service.outgoing.check((&owner).into(), &channel.to).map_err(invalid)?;
    let all = asked.service.registry.store().channels(&owner).await?;
    if all.len() >= CHANNELS_MAX && all.iter().all(|own| own.name != *name) {
        return Err(Problem::invalid(format!(
            "more than {CHANNELS_MAX} channels: remove one first"
        )));
    }
    let body =
        serde_json::to_string(channel).map_err(|error| Problem::invalid(error.to_string()))?;
    let row = ChannelRow { owner: owner.clone(), name: name.clone(), body };
    let act = connects(owner, name, Some(channel));
    asked.act(act, async { Ok(asked.service.registry.store().put_channel(&row).await?) }).await
}

/// `DELETE /v1/channels/{name}`
pub async fn remove<S: Stores>(asked: Asked<S, OfChannel>) -> Result<(), Problem> {
    let (name, owner) = (&asked.parameters.name, owner(&asked));
    if find(&asked, &owner, name).await?.is_none() {
        return Err(unknown(name));
    }
    let act = connects(owner.clone(), name, None);
    asked
        .act(act, async {
            let gone = asked.service.registry.store().remove_channel(&owner, name).await?;
            gone.then_some(()).ok_or_else(|| unknown(name))
        })
        .await
}

/// `POST /v1/channels/{name}/test`: a trial message is sent over it.
pub async fn test<S: Stores>(mut asked: Asked<S, OfChannel>) -> Result<Answer<Trial>, Problem> {
    let owner = owner(&asked);
    let trial_of = asked.service.trials.take(1, asked.tenant_if_any());
    let _trial = trial_of.ok_or_else(|| {
        Problem::unavailable("another channel is being tried: come again once that has ended")
    })?;
    // Receivers may be slow, for which nobody else is to wait.
    asked.give_place_back();
    let name = &asked.parameters.name;
    let row = find(&asked, &owner, name).await?.ok_or_else(|| unknown(name))?;
    let channel: Channel = serde_json::from_str(&row.body)
        .map_err(|error| Problem::invalid(format!("the channel `{name}`: {error}")))?;
    let service = &asked.service;
    let now = service.registry.store().now().await?;
    let language = asked.tenant_if_any().map(|tenant| service.language(tenant));
    let message = trial(&service.random, name, language.unwrap_or_default(), now);
    let act = tries(owner.clone(), name);
    let sent =
        async { Ok(service.outgoing.send((&owner).into(), &channel.to, &message, now).await) };
    let error = asked.act(act, sent).await?.err().map(|failure| failure.to_string());
    Ok(Trial { delivered: error.is_none(), error }.into())
}

async fn find<S: Stores, P, B>(
    asked: &Asked<S, P, B>,
    owner: &Owner,
    name: &str,
) -> Result<Option<ChannelRow>, Problem> {
    let all = asked.service.registry.store().channels(owner).await?;
    Ok(all.into_iter().find(|own| own.name == name))
}

fn owner<S, P, B>(asked: &Asked<S, P, B>) -> Owner {
    asked.tenant_if_any().cloned().map_or(Owner::Platform, Owner::Tenant)
}

/// What is written down as somebody tries a channel.
fn tries(owner: Owner, name: &str) -> Act {
    let (subject, before, after) = (name.to_owned(), Value::Null, Value::Null);
    Act { owner, act: "channel.test", subject, before, after }
}

fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("there is no channel `{name}`"))
}
