//! What a tenant's own channel may.

use super::receiver::{Receiver, status};
use super::*;

/// With mail to these domains, by a server that is not there.
fn open_to(domains: &[&str]) -> Outgoing {
    let web = Web::new(Reach::OwnNetwork, lookup(&["127.0.0.1"]).0, within(5_000));
    let mail = Mail::new("smtp://127.0.0.1:1", "tollgate@ops.example", Duration::from_secs(5));
    let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
    Outgoing::new(web, Some(mail.unwrap()), domains)
}

#[test]
fn tenants_mail_only_where_the_operator_lets_them() {
    let outgoing = open_to(&["example.com", "Ops.Example", "bücher.example"]);
    let check = |mailbox: &str| outgoing.check(Whose::Tenant, &to(mailbox));
    for open in [
        "ana@example.com",
        "ANA@EXAMPLE.COM",
        "ana@ops.example",
        "Ana <ana@example.com>",
        r#""ana@evil.example" <ana@example.com>"#,
        "ana@bücher.example",
    ] {
        assert_eq!(check(open), Ok(()), "{open}");
    }
    for (mailbox, domain) in [
        ("eve@evil.example", "evil.example"),
        ("eve@mail.example.com", "mail.example.com"),
        ("eve@notexample.com", "notexample.com"),
        ("eve@example.com.evil.example", "example.com.evil.example"),
        ("eve@com", "com"),
        (r#""ana@example.com" <eve@EVIL.example>"#, "EVIL.example"),
        (r#""\"ana@example.com\""@evil.example"#, "evil.example"),
        // As it is written: not what it would be mapped to.
        ("eve@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("eve@ex\u{ad}ample.com", "ex\u{ad}ample.com"),
        ("eve@127.0.0.1", "127.0.0.1"),
    ] {
        assert_eq!(check(mailbox), Err(CheckError::Domain(domain.into())), "{mailbox}");
        assert_eq!(outgoing.check(Whose::Platform, &to(mailbox)), Ok(()), "{mailbox}");
    }
    assert_eq!(
        open_to(&[]).check(Whose::Tenant, &to("ana@example.com")).unwrap_err().to_string(),
        "mail to `example.com` is not open to tenants: ask the operator to list the domain with \
         `--mail-domain`"
    );
}

#[test]
fn a_tenants_mailbox_names_one_domain() {
    let outgoing = open_to(&["example.com"]);
    for (mailbox, user) in [
        (r#""\"eve@evil.example\""@example.com"#, r#""eve@evil.example""#),
        ("eve%evil.example@example.com", "eve%evil.example"),
        ("Ana <evil.example!eve@example.com>", "evil.example!eve"),
    ] {
        let routed = CheckError::Routed(format!("{user}@example.com"));
        assert_eq!(outgoing.check(Whose::Tenant, &to(mailbox)), Err(routed), "{mailbox}");
        assert_eq!(outgoing.check(Whose::Platform, &to(mailbox)), Ok(()), "{mailbox}");
    }
    // Read without its quotes, it is no mailbox.
    let bare = outgoing.check(Whose::Tenant, &to(r#""eve@evil.example"@example.com"#));
    assert!(matches!(bare, Err(CheckError::Mailbox(_))), "{bare:?}");
}

#[test]
fn the_log_is_the_operators() {
    let outgoing = open_to(&["example.com"]);
    let log = Destination::Log {};
    assert_eq!(outgoing.check(Whose::Platform, &log), Ok(()));
    let error = outgoing.check(Whose::Tenant, &log).unwrap_err();
    assert_eq!(error, CheckError::Log);
    assert_eq!(error.to_string(), "the log is the operator's: choose another `kind`");
}

#[tokio::test]
async fn what_is_not_open_any_more_is_not_tried_again() {
    let outgoing = open_to(&["example.com"]);
    let send = async |of, to| outgoing.send(of, &to, &message(), NOW).await;
    for refused in [Destination::Log {}, to("eve@evil.example"), to("eve%evil.example@example.com")]
    {
        let words = outgoing.check(Whose::Tenant, &refused).unwrap_err().to_string();
        assert_eq!(send(Whose::Tenant, refused).await, Err(Failure::Final(words)));
    }
    // These were let through, to a server that is not there.
    for (of, mailbox) in [(Whose::Tenant, "ana@example.com"), (Whose::Platform, "eve@evil.example")]
    {
        let sent = send(of, to(mailbox)).await;
        assert!(matches!(sent, Err(Failure::Later { .. })), "{sent:?}");
    }
}

#[tokio::test]
async fn tenants_have_their_own_receivers() {
    let receiver = Receiver::start(vec![status("200 OK")]).await;
    let slack = Destination::Slack { url: url(receiver.address).into() };
    for to in [webhook(url(receiver.address)), slack] {
        own().send(Whose::Tenant, &to, &message(), NOW).await.unwrap();
    }
    assert_eq!(receiver.asked().len(), 2);
}
