//! What people were told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_host::engine::NoticeRecord;
use tollgate_host::store::{DeliveryRow, DeliveryState, Owner};
use uuid::Uuid;

use super::audit::page;
use super::problem::Problem;
use super::route::{Answer, Asked};
use super::shapes::Time;
use crate::notices::{Notice, acknowledges, replays};
use crate::stores::Stores;

/// Notices, the last first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Notices {
    pub notices: Vec<Notice>,
    /// Where the next page begins; none: there is none.
    pub next: Option<Uuid>,
}

/// Which notices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Only those that are neither over nor acknowledged.
    #[serde(default)]
    pub open: bool,
    /// Where the page begins, as the one before said.
    pub before: Option<Uuid>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// A notice by its identifier.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfNotice {
    pub id: Uuid,
}

/// What became of notices on their way, the last first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Deliveries {
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; none: there is none.
    pub next: Option<Uuid>,
}

/// A notice on its way over a channel.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Delivery {
    pub notice: Uuid,
    pub channel: String,
    /// Whether it is the platform's channel.
    pub is_platforms: bool,
    pub state: State,
    pub attempts: i32,
    /// When it is tried next, where it waits.
    pub due_at: Option<Time>,
    /// Why it was not delivered.
    pub error: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waits,
    Delivered,
    GivenUp,
}

/// Which of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichDeliveries {
    /// Only those that were given up.
    #[serde(default)]
    pub given_up: bool,
    /// Where the page begins, as the one before said.
    pub before: Option<Uuid>,
    /// Of so many notices at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// Of one notice, or of all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Again {
    pub notice: Option<Uuid>,
}

/// How many are tried again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Replayed {
    pub deliveries: u64,
}

/// `GET /v1/notices`
pub async fn list<S: Stores>(asked: Asked<S, Which>) -> Result<Answer<Notices>, Problem> {
    let (tenant, store) = (asked.tenant()?, &**asked.service.registry.store());
    let Which { open, before, limit } = asked.parameters;
    let limit = page(limit)?;
    let page = store.notices(tenant, before, open, limit).await?;
    let is_whole = page.len() == limit as usize;
    let next = page.last().filter(|_| is_whole).map(|last| last.id);
    let records = page.into_iter().filter_map(NoticeRecord::of);
    let notices = records.map(|own| Notice::of(tenant, own)).collect();
    Ok(Notices { notices, next }.into())
}

/// `GET /v1/notices/{id}`
pub async fn get<S: Stores>(asked: Asked<S, OfNotice>) -> Result<Answer<Notice>, Problem> {
    let (tenant, id) = (asked.tenant()?, asked.parameters.id);
    let kept = asked.service.registry.store().notice(tenant, id).await?;
    let record = kept.and_then(NoticeRecord::of);
    let record = record.ok_or_else(|| unknown(id))?;
    Ok(Notice::of(tenant, record).into())
}

/// `POST /v1/notices/{id}/acknowledge`: again it changes nothing.
pub async fn acknowledge<S: Stores>(asked: Asked<S, OfNotice>) -> Result<(), Problem> {
    let (tenant, id) = (asked.tenant()?.clone(), asked.parameters.id);
    let store = asked.service.registry.store();
    if store.notice(&tenant, id).await?.is_none() {
        return Err(unknown(id));
    }
    asked
        .act(acknowledges(&tenant, id), async {
            let at = store.now().await?;
            store.acknowledge(&tenant, id, &asked.caller.author(), at).await?;
            Ok(())
        })
        .await
}

/// `GET /v1/deliveries`
pub async fn deliveries<S: Stores>(
    asked: Asked<S, WhichDeliveries>,
) -> Result<Answer<Deliveries>, Problem> {
    let (tenant, store) = (asked.tenant()?, &**asked.service.registry.store());
    let WhichDeliveries { given_up, before, limit } = asked.parameters;
    let limit = page(limit)?;
    let mut rows = store.deliveries(tenant, before, given_up, limit).await?;
    let mut notices: Vec<Uuid> = rows.iter().map(|row| row.notice).collect();
    notices.dedup();
    let next = notices.last().copied().filter(|_| notices.len() == limit as usize);
    // Over which channels the platform hears, and what is said there, is its own affair.
    if let Some(owner) = own_channels(&asked) {
        rows.retain(|row| row.channel_of == owner);
    }
    Ok(Deliveries { deliveries: rows.into_iter().map(Delivery::from).collect(), next }.into())
}

/// `POST /v1/deliveries/replay`
pub async fn replay<S: Stores>(asked: Asked<S, Again>) -> Result<Answer<Replayed>, Problem> {
    let (tenant, notice) = (asked.tenant()?.clone(), asked.parameters.notice);
    let store = asked.service.registry.store();
    if let Some(id) = notice
        && store.notice(&tenant, id).await?.is_none()
    {
        return Err(unknown(id));
    }
    let replayed = async {
        let now = store.now().await?;
        Ok(store.replay(&tenant, notice, own_channels(&asked).as_ref(), now).await?)
    };
    Ok(Replayed { deliveries: asked.act(replays(&tenant, notice), replayed).await? }.into())
}

fn unknown(id: Uuid) -> Problem {
    Problem::not_found(format!("there is no notice `{id}`"))
}

/// Of whose channels the caller may know; none: of all.
fn own_channels<S, P, B>(asked: &Asked<S, P, B>) -> Option<Owner> {
    asked.caller.tenant.clone().map(Owner::Tenant)
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        let state = match row.state {
            DeliveryState::Waits => State::Waits,
            DeliveryState::Delivered => State::Delivered,
            DeliveryState::GivenUp => State::GivenUp,
        };
        Self {
            notice: row.notice,
            channel: row.channel,
            is_platforms: row.channel_of == Owner::Platform,
            due_at: (row.state == DeliveryState::Waits).then_some(Time(row.due_at)),
            state,
            attempts: row.attempts,
            error: row.error,
        }
    }
}
