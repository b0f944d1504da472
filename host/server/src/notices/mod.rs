//! Notices on their way to people: over which channels, when, and what becomes of them.

mod channel;
mod command;
mod message;
mod outbox;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tollgate_host::store::Owner;

pub use channel::Channel;
pub use command::{Verb, acknowledges, check_name, connects, replays, run};
pub use message::{Notice, trial};
pub use outbox::Outbox;
use outgoing::{Destination, Failure, Mail, Message, Reach, Secret, Times, Web, system_lookup};
pub use outgoing::{Outgoing, Whose, line};

/// How often the outbox looks for what is new or due.
pub const EVERY: Duration = Duration::from_secs(1);

/// What is being sent has ended after so long, at the latest.
pub const SENDING: Duration = Duration::from_secs(25);

/// How long a mail server is waited for.
const MAIL: Duration = Duration::from_secs(20);

impl From<&Owner> for Whose {
    fn from(owner: &Owner) -> Self {
        match owner {
            Owner::Platform => Self::Platform,
            Owner::Tenant(_) => Self::Tenant,
        }
    }
}

/// How notices leave.
#[derive(Args)]
pub struct Sending {
    /// The SMTP server that takes mail: `smtp://user:password@host:587?tls=required`, `smtps://…`
    #[arg(
        long,
        env = "TOLLGATE_SMTP",
        hide_env_values = true,
        value_name = "URL",
        requires = "mail_from"
    )]
    smtp: Option<String>,
    /// The mailbox that mail comes from
    #[arg(long, env = "TOLLGATE_MAIL_FROM", value_name = "MAILBOX")]
    mail_from: Option<String>,
    /// A domain that tenants may have mail sent to; may be repeated. Without it mail is the platform's alone
    #[arg(
        long = "mail-domain",
        env = "TOLLGATE_MAIL_DOMAINS",
        value_delimiter = ',',
        value_name = "DOMAIN"
    )]
    mail_domains: Vec<String>,
    /// Lets webhooks reach one's own network, also without TLS: where no tenant is a stranger
    #[arg(long, env = "TOLLGATE_OWN_NETWORK")]
    own_network: bool,
}

impl Sending {
    /// All channels that these settings allow.
    pub fn outgoing(&self) -> Result<Arc<Outgoing>> {
        let reach = if self.own_network { Reach::OwnNetwork } else { Reach::Internet };
        let web = Web::new(reach, system_lookup(), Times::default());
        let mail = self.smtp.as_ref().zip(self.mail_from.as_ref());
        let mail =
            mail.map(|(url, from)| Mail::new(url, from, MAIL)).transpose().context("`--smtp`")?;
        Ok(Arc::new(Outgoing::new(web, mail, self.mail_domains.clone())))
    }
}
