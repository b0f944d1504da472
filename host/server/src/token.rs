//! `tollgate token`: who may ask the service.

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tollgate_host::engine::Random;
use tollgate_host::store::{AccessStore, Owner, RotationRow, StoreError, Tenant, TokenRow};

use crate::access::{Role, Token};
use crate::acts::{Act, carry_out};
use crate::period::{Length, instant};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::random;

/// What can be done with tokens.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes a token and shows it, this once
    Create(Create),
    /// Lists tokens, never their secrets
    List(List),
    /// Gives a token a new secret and shows it, this once; the older one counts for a while yet
    Rotate(Rotate),
    /// Has a token count no longer: within a second on every host
    Revoke(Revoke),
}

/// Where they are kept.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    place: StorePlace,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    place: Place,
    /// What people call it
    #[arg(long)]
    name: String,
    /// What it may do: `admin`, `operator`, `tenant`, `ingest` or `read`
    #[arg(long)]
    role: Role,
    /// For which tenant; without it for any, which each request then names
    #[arg(long)]
    tenant: Option<Tenant>,
    /// How long it counts, `90d` for example; without it until it is revoked
    #[arg(long, value_name = "TIME")]
    ttl: Option<Length>,
    /// Who makes it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

#[derive(Args)]
pub struct Rotate {
    #[command(flatten)]
    place: Place,
    /// The token's 16 digits after `tg_`
    id: String,
    /// How long the older secret counts yet: until all who use it have the new one
    #[arg(long, value_name = "TIME", default_value = "1h")]
    overlap: Length,
    /// Who rotates it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// A tenant's; without it everybody's
    #[arg(long)]
    tenant: Option<Tenant>,
}

#[derive(Args)]
pub struct Revoke {
    #[command(flatten)]
    place: Place,
    /// The token's 16 digits after `tg_`
    id: String,
    /// Who revokes it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Runs the verb.
pub fn run(verb: &Verb) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let place = &verb.place().place;
        // Before the first start there may be a first token.
        let is_first = matches!(verb, Verb::Create(_));
        let store = if is_first { place.open().await? } else { place.open_there().await? };
        match store {
            AnyStore::Postgres(store) => verb.on(&store).await,
            AnyStore::Sqlite(store, _) => verb.on(&store).await,
        }
    })
}

impl Verb {
    fn place(&self) -> &Place {
        match self {
            Self::Create(own) => &own.place,
            Self::List(own) => &own.place,
            Self::Rotate(own) => &own.place,
            Self::Revoke(own) => &own.place,
        }
    }

    async fn on<S: Stores>(&self, store: &S) -> Result<()> {
        match self {
            Self::Create(own) => own.run(store).await,
            Self::List(own) => own.run(store).await,
            Self::Rotate(own) => own.run(store).await,
            Self::Revoke(own) => own.run(store).await,
        }
    }
}

/// A token that is to be made.
pub struct New {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// For whom; none: for any tenant.
    pub tenant: Option<Tenant>,
    /// How long it counts, in ms; none: until it is revoked.
    pub ttl_ms: Option<i64>,
}

impl New {
    /// Whose it will be.
    pub fn owner(&self) -> Owner {
        self.tenant.clone().map_or(Owner::Platform, Owner::Tenant)
    }
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The role is of the platform, and the tenant is not.
    #[error("a token with the role `{}` is of no tenant: leave the tenant out", .0.name())]
    Platforms(Role),
    /// The role is of a tenant, and none is named.
    #[error("a token with the role `tenant` is of one tenant: name it")]
    Tenants,
    /// A name that is none.
    #[error("a token's name is 1 to 128 bytes long: name who will use it")]
    Name,
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A new secret for a token.
pub struct Rotation {
    /// The token's.
    pub id: String,
    /// How long the older secret counts yet, in ms.
    pub overlap_ms: i64,
}

impl Rotation {
    /// Draws the new secret, which counts from now on as long as the older one was made for. Where the
    /// answer is lost it is done again: the secret that is in use counts for its time all the same.
    /// None: there is no such token (of this tenant, if one is given) that counts.
    pub async fn carry_out<S: Stores>(
        &self,
        store: &S,
        random: &Random,
        tenant: Option<&Tenant>,
    ) -> Result<Option<Token>, StoreError> {
        let Some(row) = store.token(&self.id).await? else {
            return Ok(None);
        };
        let at = store.now().await?;
        let began = row.older.map_or(row.created_at, |older| older.rotated_at);
        let ttl_ms = row.expires_at.map(|until| until.saturating_sub(began));
        let token = Token::redraw(&self.id, random);
        let rotation = RotationRow {
            digest: token.digest(),
            at,
            expires_at: ttl_ms.map(|ttl_ms| at.saturating_add(ttl_ms)),
            older_until: at.saturating_add(self.overlap_ms),
        };
        Ok(store.rotate_token(tenant, &self.id, &rotation).await?.then_some(token))
    }

    /// What is written down of it.
    pub fn act(&self, row: &TokenRow) -> Act {
        Act {
            owner: row.owner(),
            act: "token.rotate",
            subject: self.id.clone(),
            before: json!({ "name": row.name, "role": row.role, "expires_at": row.expires_at }),
            after: json!({ "overlap_ms": self.overlap_ms }),
        }
    }
}

/// Makes a token.
pub async fn create<S: Stores>(
    store: &S,
    random: &Random,
    new: &New,
    author: &str,
) -> Result<Token, NotMade> {
    let New { name, role, tenant, ttl_ms } = new;
    match tenant {
        Some(_) if role.is_platforms() => return Err(NotMade::Platforms(*role)),
        None if *role == Role::Tenant => return Err(NotMade::Tenants),
        _ => {}
    }
    if !(1..=128).contains(&name.len()) || name.contains('\0') {
        return Err(NotMade::Name);
    }
    let at = store.now().await?;
    loop {
        let token = Token::draw(random);
        let row = TokenRow {
            id: token.id().to_owned(),
            digest: token.digest(),
            tenant: tenant.clone(),
            role: role.name().to_owned(),
            name: name.clone(),
            created_at: at,
            created_by: author.to_owned(),
            expires_at: ttl_ms.map(|ttl_ms| at.saturating_add(ttl_ms)),
            revoked_at: None,
            older: None,
        };
        if store.put_token(&row).await? {
            return Ok(token);
        }
    }
}

impl Create {
    async fn run<S: Stores>(&self, store: &S) -> Result<()> {
        let new = New {
            name: self.name.clone(),
            role: self.role,
            tenant: self.tenant.clone(),
            ttl_ms: self.ttl.map(|Length(ms)| ms),
        };
        let act = Act {
            owner: new.owner(),
            act: "token.create",
            subject: new.name.clone(),
            before: Json::Null,
            after: json!({ "role": new.role, "ttl_ms": new.ttl_ms }),
        };
        let (random, who) = (random(), self.author.clone());
        let made = create(store, &random, &new, &self.author);
        let token = carry_out(store, &random, who, act, made).await?;
        self.place.show(&token);
        Ok(())
    }
}

impl Place {
    fn show(&self, token: &Token) {
        if self.json {
            println!("{}", json!({ "id": token.id(), "token": token.reveal() }));
        } else {
            println!("{}", token.reveal());
        }
    }
}

impl Rotate {
    async fn run<S: Stores>(&self, store: &S) -> Result<()> {
        let Length(overlap_ms) = self.overlap;
        let rotation = Rotation { id: self.id.clone(), overlap_ms };
        let row = store.token(&self.id).await?.ok_or_else(|| unknown(&self.id))?;
        let (random, who) = (random(), self.author.clone());
        let made = async {
            let token = rotation.carry_out(store, &random, None).await?;
            token.ok_or_else(|| unknown(&self.id))
        };
        let token = carry_out(store, &random, who, rotation.act(&row), made).await?;
        self.place.show(&token);
        Ok(())
    }
}

fn unknown(id: &str) -> anyhow::Error {
    anyhow!("there is no token `{id}` that counts: look at `tollgate token list`")
}

impl List {
    async fn run<S: AccessStore>(&self, store: &S) -> Result<()> {
        let rows = store.tokens(self.tenant.as_ref()).await?;
        if self.place.json {
            let rows: Vec<_> = rows.iter().map(as_json).collect();
            println!("{}", serde_json::to_string_pretty(&rows)?);
            return Ok(());
        }
        for row in &rows {
            let tenant = row.tenant.as_ref().map_or("any tenant", Tenant::as_str);
            let state = match (row.revoked_at, row.expires_at) {
                (Some(at), _) => format!("revoked {}", instant(at)),
                (None, Some(at)) => format!("until {}", instant(at)),
                (None, None) => "until it is revoked".to_owned(),
            };
            println!("{}  {:8}  {tenant}  {state}  {}", row.id, row.role, row.name);
        }
        Ok(())
    }
}

fn as_json(row: &TokenRow) -> serde_json::Value {
    json!({
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "tenant": row.tenant,
        "created_at": instant(row.created_at),
        "created_by": row.created_by,
        "expires_at": row.expires_at.map(instant),
        "revoked_at": row.revoked_at.map(instant),
        "rotated_at": row.older.map(|older| instant(older.rotated_at)),
        "older_until": row.older.map(|older| instant(older.until)),
    })
}

impl Revoke {
    async fn run<S: Stores>(&self, store: &S) -> Result<()> {
        let row = store.token(&self.id).await?.ok_or_else(|| unknown(&self.id))?;
        let act = Act {
            owner: row.owner(),
            act: "token.revoke",
            subject: self.id.clone(),
            before: json!({ "name": row.name, "role": row.role }),
            after: Json::Null,
        };
        let revoked = async {
            let at = store.now().await?;
            let done = store.revoke_token(None, &self.id, at).await?;
            done.then_some(()).ok_or_else(|| unknown(&self.id))
        };
        carry_out(store, &random(), self.author.clone(), act, revoked).await
    }
}
