//! `tollgate token`: who may ask the service.

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tollgate_host::engine::Random;
use tollgate_host::store::{AccessStore, Owner, StoreError, Tenant, TokenRow};

use crate::access::{Role, Token};
use crate::acts::{Act, carry_out};
use crate::period::{Length, instant};
use crate::stores::{AnyStore, Clocks, StorePlace, StoreUrl, Stores};
use crate::surroundings::{random, wall_clock};

/// What can be done with tokens.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes a token and shows it, this once
    Create(Create),
    /// Lists tokens, never their secrets
    List(List),
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
        match StoreUrl::open(Some(&verb.place().place.store), Clocks::Own(wall_clock())).await? {
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
            Self::Revoke(own) => &own.place,
        }
    }

    async fn on<S: Stores>(&self, store: &S) -> Result<()> {
        match self {
            Self::Create(own) => own.run(store).await,
            Self::List(own) => own.run(store).await,
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
        if self.place.json {
            println!("{}", json!({ "id": token.id(), "token": token.reveal() }));
        } else {
            println!("{}", token.reveal());
        }
        Ok(())
    }
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
    })
}

impl Revoke {
    async fn run<S: Stores>(&self, store: &S) -> Result<()> {
        let unknown = || {
            anyhow!("there is no token `{}` that counts: look at `tollgate token list`", self.id)
        };
        let row = store.token(&self.id).await?.ok_or_else(unknown)?;
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
            done.then_some(()).ok_or_else(unknown)
        };
        carry_out(store, &random(), self.author.clone(), act, revoked).await
    }
}
