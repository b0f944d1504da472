//! Receivers are who they say they are.

use rcgen::CertifiedKey;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::receiver::{Receiver, status};
use super::*;

/// What `a.example` is taken for by whoever trusts its certificate, and by others.
#[tokio::test]
async fn only_who_is_vouched_for_is_told() {
    let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let receiver = Receiver::start(vec![status("200 OK")]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let within_tls = receiver.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                within_tls.serve(stream, status("200 OK")).await;
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let lookup = lookup(&["127.0.0.1"]).0;
    let trusting = Web::trusting(roots, Reach::OwnNetwork, lookup, within(5_000));
    let trusting = Outgoing::new(trusting, None, Vec::new());
    let to = |host: &str| webhook(format!("https://{host}:{port}/T0SECRET0"));

    for (outgoing, host, why) in [
        (&own(), "a.example", "UnknownIssuer"),
        (&trusting, "b.example", "not valid for name"),
        (&trusting, "127.0.0.1", "not valid for name"),
    ] {
        let words = words(outgoing, &to(host)).await;
        assert!(words.starts_with("Later") && words.contains(why), "{words}");
    }
    assert!(receiver.asked().is_empty());
    trusting.send(Whose::Platform, &to("a.example"), &message(), NOW).await.unwrap();
    assert_eq!(receiver.asked().len(), 1);
}
