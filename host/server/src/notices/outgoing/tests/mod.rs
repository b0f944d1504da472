//! Messages sent for real, to receivers on this machine.

mod channels;
mod email;
mod receiver;
mod tenants;
mod tls;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::email::NoMail;
use super::guard::Lookup;
use super::*;

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000_000;

fn message() -> Message {
    Message {
        id: "n_1".into(),
        title: "`acme` is out of money".into(),
        severity: "critical".into(),
        text: "Agents stand still: raise the budget.".into(),
        json: json!({ "type": "budget.exceeded", "tenant": "acme", "used": "12.50" }),
    }
}

fn webhook(url: impl Into<String>) -> Destination {
    Destination::Webhook { url: url.into().into(), secret: None }
}

/// A lookup that says one thing after the other, the last one for ever, and how often it was asked.
fn lookup(answers: &'static [&'static str]) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |_| {
        let time = times.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        Box::pin(async move { Ok(vec![answers[time].parse().unwrap()]) })
    });
    (lookup, asked)
}

fn within(total_ms: u64) -> Times {
    let total = Duration::from_millis(total_ms);
    Times { connect: total, total }
}

/// To this machine, with time enough.
fn own() -> Outgoing {
    own_within(5_000)
}

fn own_within(total_ms: u64) -> Outgoing {
    let web = Web::new(Reach::OwnNetwork, lookup(&["127.0.0.1"]).0, within(total_ms));
    Outgoing::new(web, None, Vec::new())
}

fn url(of: SocketAddr) -> String {
    format!("http://{of}/hooks/T0SECRET0/B0SECRET0?key=K0SECRET0")
}

fn to(mailbox: &str) -> Destination {
    Destination::Email { to: mailbox.to_owned() }
}

async fn words(outgoing: &Outgoing, to: &Destination) -> String {
    let failure = outgoing.send(Whose::Platform, to, &message(), NOW).await.unwrap_err();
    for shown in [failure.to_string(), format!("{failure:?}")] {
        assert!(!shown.contains("SECRET"), "{shown}");
    }
    format!("{failure:?}")
}
