//! Where notices go. As JSON it holds secrets, in words it holds none.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where a notice goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Destination {
    /// To a program over HTTP, as Standard Webhooks has it.
    Webhook {
        /// Who knows it may post to it: it is as good as a secret.
        url: Hidden,
        /// `whsec_…`, by which the receiver knows who sends; without it nothing is signed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Hidden>,
    },
    /// To an incoming webhook of Slack's, or of what understands the same.
    Slack {
        /// As Slack shows it.
        url: Hidden,
    },
    /// To a mailbox; a mailing list's reaches many.
    Email {
        /// `name@example.com`, or `Name <name@example.com>`.
        to: String,
    },
    // With braces, since of a unit serde would take unknown fields.
    /// To the log of this service, which is the operator's: not for tenants.
    Log {},
}

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// All of it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The host, if it is a URL: that much may be shown.
    fn host(&self) -> String {
        let url = Url::parse(&self.0).ok();
        url.as_ref().and_then(Url::host_str).unwrap_or("…").to_owned()
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { url, .. } => write!(f, "webhook at `{}`", url.host()),
            Self::Slack { url } => write!(f, "slack at `{}`", url.host()),
            Self::Email { to } => write!(f, "email to `{to}`"),
            Self::Log {} => f.write_str("log"),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Destination({self})")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn destinations_are_read_as_they_were_written() {
        for written in [
            json!({ "kind": "webhook", "url": "https://a.example/b", "secret": "whsec_AAAA" }),
            json!({ "kind": "webhook", "url": "https://a.example/b" }),
            json!({ "kind": "slack", "url": "https://hooks.slack.com/services/T0/B0/x" }),
            json!({ "kind": "email", "to": "ana@example.com" }),
            json!({ "kind": "log" }),
        ] {
            let read: Destination = from_value(written.clone()).unwrap();
            assert_eq!(to_value(&read).unwrap(), written);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for written in [
            json!({ "kind": "pager" }),
            json!({ "url": "https://a.example" }),
            json!({ "kind": "log", "level": "debug" }),
            json!({ "kind": "slack", "url": "https://a.example", "secret": "whsec_AAAA" }),
            json!({ "kind": "webhook", "url": "https://a.example", "secrets": [] }),
            json!({ "kind": "email" }),
            json!({ "kind": "email", "to": ["ana@example.com"] }),
            json!({ "kind": "email", "to": "ana@example.com", "cc": "bob@example.com" }),
        ] {
            assert!(from_value::<Destination>(written.clone()).is_err(), "{written}");
        }
    }

    #[test]
    fn words_hold_no_secret() {
        let url =
            || Hidden::from("https://ana:pw@hooks.slack.com/services/T0/B0/x?key=y".to_owned());
        let secret = Some("whsec_c2VjcmV0".to_owned().into());
        let webhook = Destination::Webhook { url: url(), secret };
        assert_eq!(format!("{webhook:?}"), "Destination(webhook at `hooks.slack.com`)");
        let slack = Destination::Slack { url: url() };
        assert_eq!(format!("{slack:#?}"), "Destination(slack at `hooks.slack.com`)");
        assert_eq!(format!("{:?}", url()), "Hidden(…)");
        let no_url = Destination::Slack { url: "T0/B0/x".to_owned().into() };
        assert_eq!(no_url.to_string(), "slack at `…`");
    }
}
