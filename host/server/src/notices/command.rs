//! `tollgate notices`: what people were told, over which channels, and what was not delivered.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tollgate_host::engine::{NoticeRecord, notices};
use tollgate_host::registry::Bindings;
use tollgate_host::store::{ChannelRow, DeliveryRow, Owner, Scope, Tenant};
use tollgate_policy_core::messages::Language;
use uuid::Uuid;

use super::{Channel, Notice, Secret, Sending, line, trial};
use crate::acts::{Act, carry_out};
use crate::period::instant;
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::random;

/// So much of a title is listed, in characters.
const TITLE: usize = 200;

/// What can be done with notices.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists a tenant's notices, the last first
    List(List),
    /// Says that somebody has seen a notice
    Ack(Ack),
    /// Sends a trial message over a channel
    Test(Test),
    /// Draws a secret by which the receiver of a webhook knows who sends, and shows it this once
    Secret,
    /// Keeps a channel: its settings are a JSON file, `{"to": {"kind": "slack", "url": "…"}}`
    Connect(Connect),
    /// Removes a channel
    Disconnect(Named),
    /// Lists channels
    Channels(Channels),
    /// Lists what could not be delivered
    Undelivered(Undelivered),
    /// Tries again to deliver what was given up
    Replay(Replay),
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    place: StorePlace,
    #[arg(long)]
    tenant: Tenant,
    /// Only those that are neither over nor acknowledged
    #[arg(long)]
    open: bool,
    /// So many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Ack {
    #[command(flatten)]
    place: StorePlace,
    #[arg(long)]
    tenant: Tenant,
    /// The notice's
    id: Uuid,
    /// Who has seen it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Whose channels.
#[derive(Args)]
struct Whose {
    #[command(flatten)]
    place: StorePlace,
    /// A tenant's; without it the platform's, which hear of all tenants
    #[arg(long)]
    tenant: Option<Tenant>,
}

#[derive(Args)]
pub struct Test {
    #[command(flatten)]
    whose: Whose,
    /// The channel's
    name: String,
    #[command(flatten)]
    sending: Sending,
}

#[derive(Args)]
pub struct Connect {
    #[command(flatten)]
    whose: Whose,
    /// The channel's
    name: String,
    /// Its settings
    file: PathBuf,
    #[command(flatten)]
    sending: Sending,
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

#[derive(Args)]
pub struct Named {
    #[command(flatten)]
    whose: Whose,
    /// The channel's
    name: String,
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

#[derive(Args)]
pub struct Channels {
    #[command(flatten)]
    whose: Whose,
}

#[derive(Args)]
pub struct Undelivered {
    #[command(flatten)]
    place: StorePlace,
    #[arg(long)]
    tenant: Tenant,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Replay {
    #[command(flatten)]
    place: StorePlace,
    #[arg(long)]
    tenant: Tenant,
    /// Of this notice alone
    id: Option<Uuid>,
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Runs the verb.
pub fn run(verb: &Verb) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let Some(place) = verb.place() else {
        let (first, second) = (random()().to_le_bytes(), random()().to_le_bytes());
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(first.into_iter().chain(second)).for_each(|(own, byte)| *own = byte);
        println!("{}", Secret::new(bytes).reveal());
        return Ok(());
    };
    runtime.block_on(async {
        match place.open_there().await? {
            AnyStore::Postgres(store) => verb.on(&store).await,
            AnyStore::Sqlite(store, _) => verb.on(&store).await,
        }
    })
}

impl Verb {
    /// Where it looks; none: nowhere.
    fn place(&self) -> Option<&StorePlace> {
        Some(match self {
            Self::Secret => return None,
            Self::List(own) => &own.place,
            Self::Ack(own) => &own.place,
            Self::Test(own) => &own.whose.place,
            Self::Connect(own) => &own.whose.place,
            Self::Disconnect(own) => &own.whose.place,
            Self::Channels(own) => &own.whose.place,
            Self::Undelivered(own) => &own.place,
            Self::Replay(own) => &own.place,
        })
    }

    async fn on<S: Stores>(&self, store: &S) -> Result<()> {
        match self {
            Self::Secret => Ok(()),
            Self::List(own) => own.run(store).await,
            Self::Ack(own) => own.run(store).await,
            Self::Test(own) => own.run(store).await,
            Self::Connect(own) => own.run(store).await,
            Self::Disconnect(own) => own.run(store).await,
            Self::Channels(own) => own.run(store).await,
            Self::Undelivered(own) => own.run(store).await,
            Self::Replay(own) => own.run(store).await,
        }
    }
}

impl List {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let records = notices(store, &self.tenant, None, self.open, self.limit).await?;
        if self.json {
            let all = records.into_iter().map(|own| Notice::of(&self.tenant, own));
            let all: Vec<Notice> = all.collect();
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        for NoticeRecord { id, at, notice, over_at, acknowledged } in &records {
            let state = match (over_at, acknowledged) {
                (Some(at), _) => format!("over {}", instant(*at)),
                (None, Some((_, who))) => format!("seen by {who}"),
                (None, None) => "open".to_owned(),
            };
            // Policies write it, and terminals obey.
            let (severity, title) = (&notice.severity, line(&notice.title, TITLE));
            println!("{id}  {}  {severity:8}  {state}  {title}", instant(*at));
        }
        Ok(())
    }
}

impl Ack {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let act = acknowledges(&self.tenant, self.id);
        let done = async {
            let at = store.now().await?;
            if !store.acknowledge(&self.tenant, self.id, &self.author, at).await? {
                bail!("there is no notice `{}` that was not acknowledged before", self.id);
            }
            Ok(())
        };
        carry_out(store, &random(), self.author.clone(), act, done).await
    }
}

impl Whose {
    fn owner(&self) -> Owner {
        self.tenant.clone().map_or(Owner::Platform, Owner::Tenant)
    }

    /// In which its people are told.
    async fn language(&self, store: &impl Stores) -> Result<Language> {
        let scope = Scope { owner: self.owner(), plan: String::new() };
        let Some(row) = store.bindings(&scope, 1).await?.pop() else {
            return Ok(Language::default());
        };
        let bound: Bindings = serde_json::from_str(&row.body).context("what is bound")?;
        Ok(bound.tenant.language)
    }

    async fn channel(&self, store: &impl Stores, name: &str) -> Result<Channel> {
        let all = store.channels(&self.owner()).await?;
        let row = all.into_iter().find(|own| own.name == name);
        let row = row.with_context(|| format!("there is no channel `{name}`"))?;
        serde_json::from_str(&row.body).with_context(|| format!("the channel `{name}`"))
    }
}

impl Test {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let channel = self.whose.channel(store, &self.name).await?;
        let now = store.now().await?;
        let language = self.whose.language(store).await?;
        let message = trial(&random(), &self.name, language, now);
        let of = (&self.whose.owner()).into();
        self.sending.outgoing()?.send(of, &channel.to, &message, now).await?;
        println!("`{}` took it: {}", self.name, channel.to);
        Ok(())
    }
}

impl Connect {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let channel = read(&self.file)?;
        let owner = self.whose.owner();
        self.sending.outgoing()?.check((&owner).into(), &channel.to)?;
        check_name(&self.name)?;
        let row = ChannelRow {
            owner: owner.clone(),
            name: self.name.clone(),
            body: serde_json::to_string(&channel)?,
        };
        let act = connects(owner, &self.name, Some(&channel));
        let done = async { Ok::<_, anyhow::Error>(store.put_channel(&row).await?) };
        carry_out(store, &random(), self.author.clone(), act, done).await
    }
}

fn read(file: &Path) -> Result<Channel> {
    let named = || format!("`{}`", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    serde_json::from_str(&text).with_context(named)
}

/// Refuses what is no channel's name.
pub fn check_name(name: &str) -> Result<()> {
    if name.parse::<Tenant>().is_err() {
        bail!("`{name}` is not a channel's name: write 1 to 64 letters, digits, `-`, `_` or `.`");
    }
    Ok(())
}

/// What is written down of a channel that changes: nothing secret.
pub fn connects(owner: Owner, name: &str, channel: Option<&Channel>) -> Act {
    Act {
        owner,
        act: if channel.is_some() { "channel.connect" } else { "channel.disconnect" },
        subject: name.to_owned(),
        before: Json::Null,
        after: channel.map_or(Json::Null, |own| json!({ "to": own.to.to_string() })),
    }
}

/// What is written down as somebody says that a notice was seen.
pub fn acknowledges(tenant: &Tenant, notice: Uuid) -> Act {
    Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "notice.acknowledge",
        subject: notice.to_string(),
        before: Json::Null,
        after: json!("acknowledged"),
    }
}

/// What is written down as what was given up is tried again: of one notice, or of all.
pub fn replays(tenant: &Tenant, notice: Option<Uuid>) -> Act {
    Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "delivery.replay",
        subject: notice.map_or_else(|| "*".to_owned(), |id| id.to_string()),
        before: Json::Null,
        after: json!("waits"),
    }
}

impl Named {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let owner = self.whose.owner();
        let act = connects(owner.clone(), &self.name, None);
        let done = async {
            if !store.remove_channel(&owner, &self.name).await? {
                bail!("there is no channel `{}`", self.name);
            }
            Ok(())
        };
        carry_out(store, &random(), self.author.clone(), act, done).await
    }
}

impl Channels {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        for ChannelRow { name, body, .. } in store.channels(&self.whose.owner()).await? {
            let channel = serde_json::from_str::<Channel>(&body);
            let to = channel.map_or_else(|error| error.to_string(), |own| own.to.to_string());
            println!("{name}  {to}");
        }
        Ok(())
    }
}

impl Undelivered {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let rows = store.deliveries(&self.tenant, None, true, 1_000).await?;
        for DeliveryRow { notice, channel, attempts, error, .. } in &rows {
            let error = line(error.as_deref().unwrap_or_default(), TITLE);
            if self.json {
                let row = json!({
                    "notice": notice, "channel": channel, "attempts": attempts, "error": error,
                });
                println!("{row}");
            } else {
                println!("{notice}  {channel}  {attempts} tries  {error}");
            }
        }
        Ok(())
    }
}

impl Replay {
    async fn run(&self, store: &impl Stores) -> Result<()> {
        let act = replays(&self.tenant, self.id);
        let done = async {
            let now = store.now().await?;
            store.replay(&self.tenant, self.id, None, now).await
        };
        let count = carry_out(store, &random(), self.author.clone(), act, done).await?;
        println!("{count} are tried again");
        Ok(())
    }
}
