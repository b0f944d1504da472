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

use lettre::message::Mailbox;
use serde_json::Value as Json;

pub use destination::Destination;
pub use email::Mail;
use guard::Refused;
pub use guard::{Reach, system_lookup};
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

    /// Of two: as long as one may end well, both are tried again.
    fn and(self, other: Self) -> Self {
        let words = format!("{self}; {other}");
        match (self, other) {
            (Self::Final(_), Self::Final(_)) => Self::Final(words),
            _ => Self::later(words),
        }
    }
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
    /// None, or too many.
    #[error("a notice goes to 1 to {} mailboxes: name as many", email::MAILBOXES_MAX)]
    Mailboxes,
    /// Nobody takes mail.
    #[error("no SMTP server is set: have the operator set one, or choose another `kind`")]
    NoServer,
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
}

/// A destination that was read.
enum Way<'a> {
    Webhook(hyper::Uri, Option<Secret>),
    Slack(hyper::Uri),
    Email(&'a Mail, Vec<Mailbox>),
    Log,
}

impl Outgoing {
    /// Without an SMTP server no mail can be sent.
    #[must_use]
    pub fn new(web: Web, mail: Option<Mail>) -> Self {
        Self { web, mail }
    }

    /// Refuses destinations at the time they are set. What a host's name stands for is looked at
    /// whenever something is sent.
    pub fn check(&self, to: &Destination) -> Result<(), CheckError> {
        self.way(to).map(drop)
    }

    /// Tries once to deliver a message; `now` is in ms since 1970.
    pub async fn send(&self, to: &Destination, message: &Message, now: i64) -> Result<(), Failure> {
        // It stands in headers, and a `.` would have one signature fit two messages.
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let unnamed = || {
            let id = line::line(&message.id, 64);
            Failure::Final(format!("`{id}` names no notice: use letters, digits, `-` and `_`"))
        };
        if message.id.is_empty() || !message.id.bytes().all(named) {
            return Err(unnamed());
        }
        match self.way(to)? {
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
            Way::Email(mail, mailboxes) => mail.send(&mailboxes, message, now).await,
            Way::Log => {
                let Message { id, title, severity, text, .. } = message;
                tracing::info!(id, severity, title, text, "notice");
                Ok(())
            }
        }
    }

    fn way(&self, to: &Destination) -> Result<Way<'_>, CheckError> {
        Ok(match to {
            Destination::Webhook { url, secret } => {
                let secret = secret.as_ref().map(|secret| secret.reveal().parse()).transpose()?;
                Way::Webhook(self.web.read(url.reveal())?, secret)
            }
            Destination::Slack { url } => Way::Slack(self.web.read(url.reveal())?),
            Destination::Email { to } => {
                let mail = self.mail.as_ref().ok_or(CheckError::NoServer)?;
                Way::Email(mail, email::mailboxes(to)?)
            }
            Destination::Log {} => Way::Log,
        })
    }
}
