//! One message to one destination, which is as safe to name as it is to ask.

mod destination;
mod email;
mod guard;
mod line;
mod slack;
mod web;
mod webhook;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verify;

use lettre::Address;
use lettre::message::Mailbox;
use serde_json::Value as Json;

pub use destination::Destination;
pub use email::Mail;
use guard::Refused;
pub use guard::{Reach, system_lookup};
pub use line::line;
pub use web::{Times, Web};
use webhook::BadSecret;
pub use webhook::Secret;

/// What is sent: the same over all tries, so that receivers can tell a repetition.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Letters, digits, `-` and `_`.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// How bad it is.
    pub severity: String,
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Json,
}

/// Why a message was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Never to be tried again as it stands.
    #[error("{0}")]
    Final(String),
    /// To be tried again.
    #[error("{words}")]
    Later {
        /// What happened.
        words: String,
        /// Not before so long, if the receiver says so.
        after_seconds: Option<u64>,
    },
}

impl Failure {
    fn later(words: String) -> Self {
        Self::Later { words, after_seconds: None }
    }
}

/// Whose a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The operator's.
    Platform,
    /// A tenant's, who may do no more than the operator lets them.
    Tenant,
}

/// Why a destination cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The URL's.
    #[error(transparent)]
    Url(#[from] Refused),
    /// The secret's.
    #[error(transparent)]
    Secret(#[from] BadSecret),
    /// Not a mailbox.
    #[error("`{0}` is not a mailbox: write `name@example.com`")]
    Mailbox(String),
    /// Nobody takes mail.
    #[error("no SMTP server is set: have the operator set one, or choose another `kind`")]
    NoServer,
    /// Tenants' mail does not go there.
    #[error(
        "mail to `{0}` is not open to tenants: ask the operator to list the domain with \
         `--mail-domain`"
    )]
    Domain(String),
    /// A tenant's mailbox that a server may take for one of another domain.
    #[error("mail to `{0}` may end elsewhere: write a mailbox with one `@`, no `%` and no `!`")]
    Routed(String),
    /// Tenants do not write there.
    #[error("the log is the operator's: choose another `kind`")]
    Log,
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Self {
        match error {
            // An operator may set it again.
            CheckError::NoServer => Self::later(error.to_string()),
            _ => Self::Final(error.to_string()),
        }
    }
}

/// All channels; built once.
pub struct Outgoing {
    web: Web,
    mail: Option<Mail>,
    domains: Vec<String>,
}

/// A destination that was read.
enum Way<'a> {
    Webhook(hyper::Uri, Option<Secret>),
    Slack(hyper::Uri),
    Email(&'a Mail, Mailbox),
    Log,
}

impl Outgoing {
    /// Without an SMTP server no mail can be sent; tenants' goes only to these domains.
    #[must_use]
    pub fn new(web: Web, mail: Option<Mail>, domains: Vec<String>) -> Self {
        Self { web, mail, domains }
    }

    /// Refuses destinations at the time they are set. What a host's name stands for is looked at
    /// whenever something is sent.
    pub fn check(&self, of: Whose, to: &Destination) -> Result<(), CheckError> {
        self.way(of, to).map(drop)
    }

    /// Tries once to deliver a message; `now` is in ms since 1970.
    pub async fn send(
        &self,
        of: Whose,
        to: &Destination,
        message: &Message,
        now: i64,
    ) -> Result<(), Failure> {
        // It stands in headers, and a `.` would have one signature fit two messages.
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let unnamed = || {
            let id = line(&message.id, 64);
            Failure::Final(format!("`{id}` names no notice: use letters, digits, `-` and `_`"))
        };
        if message.id.is_empty() || !message.id.bytes().all(named) {
            return Err(unnamed());
        }
        match self.way(of, to)? {
            Way::Webhook(url, secret) => {
                let body = message.json.to_string();
                let headers = webhook::headers(secret.as_ref(), &message.id, now, &body);
                let headers = headers.map_err(|_| unnamed())?;
                self.web.post(&url, headers, body, now).await
            }
            Way::Slack(url) => {
                let body = slack::body(message).to_string();
                self.web.post(&url, hyper::HeaderMap::new(), body, now).await
            }
            Way::Email(mail, mailbox) => mail.send(&mailbox, message, now).await,
            Way::Log => {
                let Message { id, title, severity, text, .. } = message;
                tracing::info!(id, severity, title, text, "notice");
                Ok(())
            }
        }
    }

    fn way(&self, of: Whose, to: &Destination) -> Result<Way<'_>, CheckError> {
        Ok(match to {
            Destination::Webhook { url, secret } => {
                let secret = secret.as_ref().map(|secret| secret.reveal().parse()).transpose()?;
                Way::Webhook(self.web.read(url.reveal())?, secret)
            }
            Destination::Slack { url } => Way::Slack(self.web.read(url.reveal())?),
            Destination::Email { to } => {
                let mail = self.mail.as_ref().ok_or(CheckError::NoServer)?;
                let mailbox = email::mailbox(to)?;
                if of == Whose::Tenant {
                    self.check_open(&mailbox.email)?;
                }
                Way::Email(mail, mailbox)
            }
            Destination::Log {} => match of {
                Whose::Platform => Way::Log,
                Whose::Tenant => return Err(CheckError::Log),
            },
        })
    }

    fn check_open(&self, to: &Address) -> Result<(), CheckError> {
        let domain = to.domain();
        if !self.domains.iter().any(|open| open.eq_ignore_ascii_case(domain)) {
            return Err(CheckError::Domain(line(domain, 80)));
        }
        // Servers that know whom they serve may send on to a domain that stands before their own.
        if to.user().contains(['@', '%', '!']) {
            return Err(CheckError::Routed(line(to.as_ref(), 80)));
        }
        Ok(())
    }
}
