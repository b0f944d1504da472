//! Mail over the operator's own SMTP server, which may stand anywhere.

use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::timeout;

use super::line::line;
use super::{CheckError, Failure, Message};

/// The longest subject, in characters.
const SUBJECT: usize = 200;

/// So much of what a server says is told, in characters.
const TOLD: usize = 200;

/// Why no mail can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMail {
    /// Not a server. The URL may hold a password, and is not repeated.
    #[error(
        "the url of the SMTP server cannot be read: write `smtps://NAME:PASSWORD@HOST`, or \
         `smtp://NAME:PASSWORD@HOST:587?tls=required`"
    )]
    Server,
    /// Not a sender.
    #[error("`{0}` cannot send mail: write `tollgate@example.com`")]
    From(String),
}

/// A server that takes mail.
pub struct Mail {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    total: Duration,
}

impl Mail {
    /// By the server's URL, the mailbox that mail is from, and how long the server is waited for.
    pub fn new(url: &str, from: &str, total: Duration) -> Result<Self, NoMail> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let server = server.map_err(|_| NoMail::Server)?.timeout(Some(total)).build();
        let from = from.parse().map_err(|_| NoMail::From(line(from, 80)))?;
        Ok(Self { server, from, total })
    }

    /// Sends to nobody but the one mailbox.
    pub async fn send(&self, to: &Mailbox, message: &Message, now: i64) -> Result<(), Failure> {
        let told = |words: &str| format!("no mail to `{}`: {}", to.email, line(words, TOLD));
        let mail = self.mail(to, message, now);
        let mail = mail.map_err(|error| Failure::Final(told(&error.to_string())))?;
        match timeout(self.total, self.server.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if is_final(&error) => Err(Failure::Final(told(&error.to_string()))),
            Ok(Err(error)) => Err(Failure::later(told(&error.to_string()))),
            Err(_) => {
                let words = format!("the SMTP server did not answer within {:?}", self.total);
                Err(Failure::later(told(&words)))
            }
        }
    }

    fn mail(
        &self,
        to: &Mailbox,
        message: &Message,
        now: i64,
    ) -> Result<lettre::Message, lettre::error::Error> {
        let Message { id, title, severity, text, .. } = message;
        // Else whom it is for is read out of a header again, among names that are anybody's.
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.email.clone()])?;
        // Nobody's absence answers to a program.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let automatic = HeaderValue::new(automatic, "auto-generated".to_owned());
        MessageBuilder::new()
            .envelope(envelope)
            .from(self.from.clone())
            .to(to.clone())
            .subject(line(title, SUBJECT))
            .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(now).unwrap_or(0)))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .raw_header(automatic)
            .header(ContentType::TEXT_PLAIN)
            .body(format!("{text}\n\nseverity: {severity}\nnotice: {id}\n"))
    }
}

/// Whether the mailbox is refused. That the server does not know this service, its operator can mend.
fn is_final(error: &smtp::Error) -> bool {
    let code = error.status().map(u16::from);
    error.is_permanent() && !matches!(code, Some(530 | 534 | 535 | 538))
}

/// Reads whom mail is for.
pub fn mailbox(to: &str) -> Result<Mailbox, CheckError> {
    to.parse().map_err(|_| CheckError::Mailbox(line(to, 80)))
}
