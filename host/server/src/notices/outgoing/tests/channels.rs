//! What arrives.

use std::io;
use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::receiver::{Receiver, status};
use super::*;
use crate::notices::outgoing::verify::{NotVerified, verify};

#[tokio::test]
async fn a_webhook_is_from_who_shares_the_secret() {
    let receiver = Receiver::start(vec![status("204 No Content")]).await;
    let secret = Secret::new([7; 32]);
    let shared = Some(secret.reveal().into());
    let to = Destination::Webhook { url: url(receiver.address).into(), secret: shared };
    own().send(Whose::Platform, &to, &message(), NOW).await.unwrap();

    let asked = receiver.asked().remove(0);
    assert_eq!(asked.line, "POST /hooks/T0SECRET0/B0SECRET0?key=K0SECRET0 HTTP/1.1");
    assert_eq!(asked.headers["host"], receiver.address.to_string().as_str());
    assert_eq!(asked.headers["content-type"], "application/json");
    assert_eq!(asked.headers["webhook-id"], "n_1");
    assert_eq!(asked.headers["webhook-timestamp"], "1700000000");
    assert_eq!(asked.body.parse::<Json>().unwrap(), message().json);

    let verified = |now| verify(&secret, &asked.headers, &asked.body, now);
    for now in [NOW, NOW + 300_000, NOW - 300_000] {
        assert_eq!(verified(now), Ok(()));
    }
    for replayed in [NOW + 301_000, NOW - 301_000, 0, i64::MIN] {
        assert_eq!(verified(replayed), Err(NotVerified::Time));
    }
    let forged = |name: &'static str, value: String| {
        let mut headers = asked.headers.clone();
        headers.insert(name, value.parse().unwrap());
        verify(&secret, &headers, &asked.body, NOW)
    };
    let signature = asked.headers["webhook-signature"].to_str().unwrap();
    for (name, value) in [
        ("webhook-id", "n_2".to_owned()),
        ("webhook-id", "n_1.1700000000".to_owned()),
        ("webhook-timestamp", "1700000001".to_owned()),
        ("webhook-signature", signature.replace("v1,", "v2,")),
        ("webhook-signature", signature.replace("v1,", "")),
        ("webhook-signature", signature[..11].to_owned()),
        ("webhook-signature", "v1,".to_owned()),
        ("webhook-signature", "v1,AAAA v1,".to_owned()),
    ] {
        assert_eq!(forged(name, value.clone()), Err(NotVerified::Signature), "{name}: {value}");
    }
    let body = asked.body.replace("12.50", "0.50");
    assert_eq!(verify(&secret, &asked.headers, &body, NOW), Err(NotVerified::Signature));
    let other = Secret::new([8; 32]);
    let of_other = verify(&other, &asked.headers, &asked.body, NOW);
    assert_eq!(of_other, Err(NotVerified::Signature));
    // While a secret is changed for another, there are two signatures.
    assert_eq!(forged("webhook-signature", format!("v1,AAAA {signature}")), Ok(()));
}

#[tokio::test]
async fn without_a_secret_nothing_is_signed() {
    let receiver = Receiver::start(vec![status("200 OK")]).await;
    own().send(Whose::Platform, &webhook(url(receiver.address)), &message(), NOW).await.unwrap();
    let asked = receiver.asked().remove(0);
    assert_eq!(asked.headers["webhook-id"], "n_1");
    assert!(!asked.headers.contains_key("webhook-signature"));
}

#[tokio::test]
async fn slack_is_told_in_its_own_words() {
    let receiver = Receiver::start(vec![status("200 OK")]).await;
    let to = Destination::Slack { url: url(receiver.address).into() };
    own().send(Whose::Platform, &to, &message(), NOW).await.unwrap();
    let body: Json = receiver.asked().remove(0).body.parse().unwrap();
    assert_eq!(body["blocks"][0]["text"]["text"], "critical: `acme` is out of money");
    assert_eq!(body["blocks"][1]["text"]["text"], "Agents stand still: raise the budget.");
}

#[test]
fn what_cannot_be_sent_to_is_refused_when_it_is_set() {
    let web = Web::new(Reach::Internet, lookup(&["127.0.0.1"]).0, Times::default());
    let outgoing = Outgoing::new(web, None, Vec::new());
    let private = |host: &str| CheckError::Url(Refused::Private(host.to_owned()));
    for (to, error) in [
        (webhook("https://a.example/hook"), Ok(())),
        (webhook("https://127.0.0.1/hook"), Err(private("127.0.0.1"))),
        (webhook("https://2130706433/hook"), Err(private("127.0.0.1"))),
        (webhook("http://a.example/hook"), Err(CheckError::Url(Refused::Scheme))),
        (webhook("https://a:b@a.example/hook"), Err(CheckError::Url(Refused::Credentials))),
        (
            Destination::Slack { url: "hook".to_owned().into() },
            Err(CheckError::Url(Refused::Unreadable)),
        ),
        (Destination::Slack { url: "https://[::1]/".to_owned().into() }, Err(private("[::1]"))),
        (Destination::Email { to: "ana@example.com".into() }, Err(CheckError::NoServer)),
        (Destination::Log {}, Ok(())),
    ] {
        assert_eq!(outgoing.check(Whose::Platform, &to), error, "{to}");
    }
    let secret = Some("whsec_SECRET".to_owned().into());
    let to = Destination::Webhook { url: "https://a.example/".to_owned().into(), secret };
    let error = outgoing.check(Whose::Platform, &to).unwrap_err();
    assert_eq!(error, CheckError::Secret(BadSecret));
    assert!(!error.to_string().contains("SECRET"));
}

#[tokio::test]
async fn what_was_never_good_is_not_tried_again_but_a_server_can_be_set() {
    let to = webhook("https://169.254.169.254/latest/meta-data/");
    let words_of = words(&own(), &to).await;
    assert!(words_of.starts_with("Final(") && words_of.contains("169.254.169.254"), "{words_of}");
    let to = Destination::Email { to: "ana@example.com".into() };
    assert!(words(&own(), &to).await.starts_with("Later"));
}

#[tokio::test]
async fn an_id_is_one_word() {
    for id in ["", "n.1", "n 1", "n\r\nx: y", "ñ"] {
        let message = Message { id: id.into(), ..message() };
        let sent = own().send(Whose::Platform, &Destination::Log {}, &message, NOW).await;
        assert!(matches!(sent, Err(Failure::Final(_))), "{id}");
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_log_is_told_in_one_line() {
    let written = Written::default();
    let logs = tracing_subscriber::fmt().json().with_writer(written.clone()).finish();
    let logged = tracing::subscriber::set_default(logs);
    let message = Message { text: "one\ntwo".into(), ..message() };
    own().send(Whose::Platform, &Destination::Log {}, &message, NOW).await.unwrap();
    drop(logged);
    let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_eq!(written.lines().count(), 1);
    let fields = &written.parse::<Json>().unwrap()["fields"];
    let told = json!({
        "message": "notice",
        "id": "n_1",
        "severity": "critical",
        "title": "`acme` is out of money",
        "text": "one\ntwo",
    });
    assert_eq!(fields, &told);
}
