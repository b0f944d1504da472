//! Receivers that answer badly, or are not what they seem.

use std::time::Instant;

use super::receiver::{Answer, Receiver, status};
use super::*;

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Receiver::start(vec![status("200 OK")]).await;
    for code in
        ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("http://{}/admin", inside.address);
        let redirect =
            format!("HTTP/1.1 {code}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::start(vec![Answer::Bytes(redirect)]).await;
        let words = words(&own(), &webhook(url(receiver.address))).await;
        assert!(
            words.starts_with("Final(") && words.contains("redirects are not followed"),
            "{words}"
        );
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_name_for_inside_is_refused_before_any_connection() {
    let inside = Receiver::start(vec![status("200 OK")]).await;
    let (lookup, asked) = lookup(&["127.0.0.1"]);
    let outgoing =
        Outgoing::new(Web::new(Reach::Internet, lookup, within(5_000)), None, Vec::new());
    let to = webhook(format!("https://a.example:{}/T0SECRET0", inside.address.port()));
    assert_eq!(outgoing.check(Whose::Platform, &to), Ok(()));
    let words = words(&outgoing, &to).await;
    assert!(
        words.starts_with("Final(") && words.contains("`a.example` is not at a public"),
        "{words}"
    );
    assert_eq!((asked.load(Ordering::Relaxed), inside.connections()), (1, 0));
}

#[tokio::test]
async fn a_name_that_moves_inside_is_looked_up_once_a_try() {
    // It would keep the connection, and take the next message over it.
    let open = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
    let receiver = Receiver::start(vec![Answer::Silence(open)]).await;
    let (lookup, asked) = lookup(&["127.0.0.1", "169.254.169.254"]);
    let outgoing =
        Outgoing::new(Web::new(Reach::OwnNetwork, lookup, within(5_000)), None, Vec::new());
    let to = webhook(format!("http://a.example:{}/", receiver.address.port()));
    // Had it been looked up again to connect, the second answer would have counted.
    outgoing.send(Whose::Platform, &to, &message(), NOW).await.unwrap();
    assert_eq!((asked.load(Ordering::Relaxed), receiver.connections()), (1, 1));
    assert!(words(&outgoing, &to).await.starts_with("Final("));
    assert_eq!((asked.load(Ordering::Relaxed), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn an_address_written_otherwise_is_connected_to_where_it_may_be() {
    let receiver = Receiver::start(vec![status("200 OK")]).await;
    for host in ["2130706433", "0x7f.1"] {
        let to = webhook(format!("http://{host}:{}/", receiver.address.port()));
        own().send(Whose::Platform, &to, &message(), NOW).await.unwrap();
    }
    assert_eq!(receiver.asked()[0].headers["host"], receiver.address.to_string().as_str());
}

#[tokio::test]
async fn a_status_says_whether_to_try_again() {
    for line in ["200 OK", "201 Created", "202 Accepted", "204 No Content"] {
        let receiver = Receiver::start(vec![status(line)]).await;
        let sent =
            own().send(Whose::Platform, &webhook(url(receiver.address)), &message(), NOW).await;
        assert_eq!(sent, Ok(()), "{line}");
    }
    for (line, begins) in [
        ("304 Not Modified", "Final("),
        ("410 Gone", "Final("),
        ("400 Bad Request", "Later"),
        ("401 Unauthorized", "Later"),
        ("404 Not Found", "Later"),
        ("408 Request Timeout", "Later"),
        ("425 Too Early", "Later"),
        ("429 Too Many Requests", "Later"),
        ("500 Internal Server Error", "Later"),
        ("503 Service Unavailable", "Later"),
        ("599 <unknown status code>", "Later"),
    ] {
        let receiver = Receiver::start(vec![status(line)]).await;
        let words = words(&own(), &webhook(url(receiver.address))).await;
        assert!(words.starts_with(begins), "{line}: {words}");
        assert!(words.contains(&format!("`127.0.0.1` answered `{line}`")), "{line}: {words}");
    }
}

#[tokio::test]
async fn what_failed_is_the_same_when_it_is_tried_again() {
    let receiver =
        Receiver::start(vec![status("500 Internal Server Error"), status("200 OK")]).await;
    let (outgoing, to) = (own(), webhook(url(receiver.address)));
    let first = outgoing.send(Whose::Platform, &to, &message(), NOW).await;
    assert!(matches!(first, Err(Failure::Later { after_seconds: None, .. })));
    outgoing.send(Whose::Platform, &to, &message(), NOW + 60_000).await.unwrap();
    let asked = receiver.asked();
    assert_eq!(asked[0].headers["webhook-id"], asked[1].headers["webhook-id"]);
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!(asked[1].headers["webhook-timestamp"], "1700000060");
}

#[tokio::test]
async fn a_receiver_says_when_to_come_again() {
    for (line, asked, after) in [
        ("503 Service Unavailable", "120", Some(120)),
        ("429 Too Many Requests", "Tue, 14 Nov 2023 22:14:20 GMT", Some(60)),
        ("429 Too Many Requests", "4294967296", Some(86_400)),
        ("503 Service Unavailable", "soon", None),
    ] {
        let answer =
            format!("HTTP/1.1 {line}\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::start(vec![Answer::Bytes(answer)]).await;
        let sent =
            own().send(Whose::Platform, &webhook(url(receiver.address)), &message(), NOW).await;
        let Err(Failure::Later { after_seconds, .. }) = sent else { panic!("{sent:?}") };
        assert_eq!(after_seconds, after, "{asked}");
    }
}

#[tokio::test]
async fn a_slow_receiver_is_not_waited_for() {
    let head = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9999\r\n\r\n";
    for answer in [
        Answer::Silence(String::new()),
        Answer::Silence("HTTP/1.1 500 Internal".into()),
        Answer::Silence(head.into()),
    ] {
        let receiver = Receiver::start(vec![answer]).await;
        let began = Instant::now();
        let words = words(&own_within(200), &webhook(url(receiver.address))).await;
        assert!(words.starts_with("Later") && words.contains("within 200ms"), "{words}");
        assert!((200..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn little_is_read_of_what_never_ends() {
    let endless = "HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = Answer::Endless(endless.into(), "8\r\nno \u{1b}[1m\n\r\n");
    let receiver = Receiver::start(vec![answer]).await;
    let words = words(&own(), &webhook(url(receiver.address))).await;
    assert!(words.contains("answered `500 Internal Server Error`: no [1m no [1m"), "{words}");
    assert!(words.len() < 300, "{words}");
    // Nor is a head that never ends.
    let answer = Answer::Endless("HTTP/1.1 200 OK\r\n".into(), "a: b\r\n");
    let receiver = Receiver::start(vec![answer]).await;
    let words = self::words(&own(), &webhook(url(receiver.address))).await;
    assert!(words.starts_with("Later") && words.contains("cannot be reached"), "{words}");
}

#[tokio::test]
async fn what_a_receiver_repeats_stays_hidden() {
    let told = "no /hooks/T0SECRET0\\/B0SECRET0?key=K0SECRET0 here\r\nx-forged: 1\0";
    let answer = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{told}", told.len());
    let receiver = Receiver::start(vec![Answer::Bytes(answer)]).await;
    let failure = own()
        .send(Whose::Platform, &webhook(url(receiver.address)), &message(), NOW)
        .await
        .unwrap_err();
    let words = r"`127.0.0.1` answered `403 Forbidden`: no /hooks/…\/…?key=… here x-forged: 1";
    assert_eq!(failure.to_string(), words);
}

#[tokio::test]
async fn where_nobody_is_nothing_is_lost() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let words_of = words(&own(), &webhook(url(address))).await;
    assert!(words_of.starts_with("Later") && words_of.contains("onnection refused"), "{words_of}");
    let nowhere: Lookup =
        Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    let outgoing =
        Outgoing::new(Web::new(Reach::Internet, nowhere, within(5_000)), None, Vec::new());
    let words_of = words(&outgoing, &webhook("https://a.example/T0SECRET0")).await;
    assert!(words_of.contains("`a.example` cannot be reached: no such name"), "{words_of}");
    let nowhere: Lookup = Arc::new(|_| Box::pin(async { Ok(Vec::new()) }));
    let outgoing =
        Outgoing::new(Web::new(Reach::Internet, nowhere, within(5_000)), None, Vec::new());
    assert!(words(&outgoing, &webhook("https://a.example/T0SECRET0")).await.starts_with("Later"));
}
