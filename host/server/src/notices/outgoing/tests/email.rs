//! Mail, to a server that does what its script says.

use std::sync::Mutex;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server was told: commands, and mail with all its lines.
type Told = Arc<Mutex<Vec<String>>>;

/// What a server says to a command other than yes.
type No = fn(&str) -> Option<&'static str>;

async fn server(no: No) -> (SocketAddr, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Told::default());
    let all = Arc::clone(&told);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(BufStream::new(stream), no, Arc::clone(&all)));
        }
    });
    (address, told)
}

async fn serve(mut stream: BufStream<TcpStream>, no: No, told: Told) -> std::io::Result<()> {
    let mut say = "220 mx.example".to_owned();
    loop {
        stream.write_all(format!("{say}\r\n").as_bytes()).await?;
        stream.flush().await?;
        let command = line_of(&mut stream).await?;
        told.lock().unwrap().push(command.clone());
        say = match no(&command) {
            Some("") => std::future::pending().await,
            Some(no) => no.to_owned(),
            None if command.starts_with("EHLO") => "250-mx.example\r\n250 AUTH PLAIN".to_owned(),
            None if command == "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                stream.flush().await?;
                let mut mail = String::new();
                loop {
                    match line_of(&mut stream).await?.as_str() {
                        "." => break,
                        line => mail.push_str(&format!("{line}\n")),
                    }
                }
                told.lock().unwrap().push(mail);
                "250 taken".to_owned()
            }
            None => "250 yes".to_owned(),
        };
    }
}

async fn line_of(stream: &mut BufStream<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn by(url: &str, total_ms: u64) -> Outgoing {
    let from = "Tollgate <tollgate@ops.example>";
    let mail = Mail::new(url, from, Duration::from_millis(total_ms)).unwrap();
    let web = Web::new(Reach::Internet, lookup(&["127.0.0.1"]).0, Times::default());
    Outgoing::new(web, Some(mail), Vec::new())
}

fn told(told: &Told) -> (Vec<String>, Vec<String>) {
    let told = std::mem::take(&mut *told.lock().unwrap());
    told.into_iter().partition(|told| !told.contains('\n'))
}

#[tokio::test]
async fn mail_says_who_it_is_from_and_which_notice_it_is() {
    let (address, all) = server(|_| None).await;
    let outgoing = by(&format!("smtp://{address}"), 5_000);
    let to = to("Ana <ana@example.com>");
    let message = Message { text: "Größer.\n.\nBis morgen".into(), ..message() };
    for now in [NOW, NOW + 60_000] {
        outgoing.send(Whose::Platform, &to, &message, now).await.unwrap();
    }
    let (commands, mails) = told(&all);
    assert!(commands.contains(&"MAIL FROM:<tollgate@ops.example>".to_owned()), "{commands:?}");
    assert!(commands.contains(&"RCPT TO:<ana@example.com>".to_owned()), "{commands:?}");
    for (mail, date) in mails.iter().zip(["22:13:20", "22:14:20"]) {
        for line in [
            "From: Tollgate <tollgate@ops.example>",
            "To: Ana <ana@example.com>",
            "Subject: `acme` is out of money",
            &format!("Date: Tue, 14 Nov 2023 {date} +0000"),
            "Message-ID: <n_1@ops.example>",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: quoted-printable",
            "Gr=C3=B6=C3=9Fer.",
            "..",
            "Bis morgen",
            "severity: critical",
            "notice: n_1",
        ] {
            assert!(mail.lines().any(|found| found == line), "`{line}` is not in\n{mail}");
        }
    }
    assert_eq!(mails.len(), 2);
}

#[tokio::test]
async fn a_title_adds_no_header() {
    let (address, all) = server(|_| None).await;
    let title = "x\r\nBcc: eve@evil.example\r\n\r\nbody\u{2028}\n.\r\nü".to_owned();
    let message = Message { title, severity: "a\r\nb".into(), ..message() };
    let outgoing = by(&format!("smtp://{address}"), 5_000);
    outgoing.send(Whose::Platform, &to("ana@example.com"), &message, NOW).await.unwrap();
    let (commands, mails) = told(&all);
    let recipients = commands.iter().filter(|command| command.starts_with("RCPT")).count();
    assert_eq!((recipients, mails.len()), (1, 1));
    let (head, _) = mails[0].split_once("\n\n").unwrap();
    assert!(head.lines().all(|line| !line.starts_with("Bcc") && line != "."), "{head}");
    assert!(head.contains("Subject: x Bcc: eve@evil.example body . =?utf-8?b?w7w=?="), "{head}");
}

#[tokio::test]
async fn a_name_adds_no_mailbox() {
    let (address, all) = server(|_| None).await;
    let outgoing = by(&format!("smtp://{address}"), 5_000);
    for (mailbox, recipient) in [
        (r#""eve@evil.example, Ana" <ana@example.com>"#, "ana@example.com"),
        (r#""Ana\" <eve@evil.example>, \"Bob" <ana@example.com>"#, "ana@example.com"),
        (r#""Ana <eve@evil.example>\\" <ana@example.com>"#, "ana@example.com"),
        ("\"Ana\t\u{1}; eve@evil.example\" <ana@example.com>", "ana@example.com"),
        (r#""\"eve@evil.example,ana\""@example.com"#, r#""eve@evil.example,ana"@example.com"#),
    ] {
        outgoing.send(Whose::Platform, &to(mailbox), &message(), NOW).await.unwrap();
        let (commands, mails) = told(&all);
        let recipients: Vec<_> =
            commands.iter().filter(|command| command.starts_with("RCPT")).collect();
        assert_eq!(recipients, [&format!("RCPT TO:<{recipient}>")], "{mailbox}");
        assert_eq!(mails.len(), 1);
    }
}

#[tokio::test]
async fn a_mailbox_that_is_no_more_is_not_tried_again() {
    let (address, all) =
        server(|command| command.starts_with("RCPT").then_some("550 5.1.1 no such user")).await;
    let words = words(&by(&format!("smtp://{address}"), 5_000), &to("bob@example.com")).await;
    assert!(
        words.starts_with("Final(") && words.contains("no mail to `bob@example.com`"),
        "{words}"
    );
    assert!(words.contains("550"), "{words}");
    assert!(told(&all).1.is_empty());
}

#[tokio::test]
async fn what_can_be_mended_is_tried_again() {
    let no: [(No, &str); 5] = [
        (|command| command.starts_with("RCPT").then_some("451 come again"), "451"),
        (|command| command.starts_with("DATA").then_some("452 full"), "452"),
        (|command| command.starts_with("EHLO").then_some("421 too busy"), "421"),
        (|command| command.starts_with("AUTH").then_some("535 5.7.8 who are you"), "535"),
        (|command| command.starts_with("MAIL").then_some("530 5.7.0 log in"), "530"),
    ];
    for (no, code) in no {
        let (address, _) = server(no).await;
        let outgoing = by(&format!("smtp://tollgate:P0SECRET0@{address}"), 5_000);
        let words = words(&outgoing, &to("ana@example.com")).await;
        assert!(words.starts_with("Later") && words.contains(code), "{words}");
    }
}

#[tokio::test]
async fn a_slow_server_is_not_waited_for() {
    let (address, _) = server(|command| command.starts_with("RCPT").then_some("")).await;
    let outgoing = by(&format!("smtp://{address}"), 200);
    let began = Instant::now();
    let words = words(&outgoing, &to("ana@example.com")).await;
    assert!(words.starts_with("Later"), "{words}");
    assert!((200..2_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[test]
fn servers_and_mailboxes_are_read_when_they_are_set() {
    let time = Duration::from_secs(1);
    for url in [
        "",
        "P0SECRET0@mx.example",
        "https://u:P0SECRET0@mx.example",
        "smtp://u:P0SECRET0@h?tls=no",
    ] {
        let error = Mail::new(url, "a@b.example", time).map(drop).unwrap_err();
        assert_eq!(error, NoMail::Server, "{url}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
    for url in ["smtps://u:p@mx.example", "smtp://mx.example:2525?tls=required", "smtp://localhost"]
    {
        assert!(Mail::new(url, "a@b.example", time).is_ok(), "{url}");
    }
    let nobody = Mail::new("smtp://localhost", "nobody", time).map(drop);
    assert_eq!(nobody, Err(NoMail::From("nobody".into())));

    let outgoing = by("smtp://localhost", 1_000);
    let check = |mailbox: &str| outgoing.check(Whose::Platform, &to(mailbox));
    for good in ["ana@example.com", "Bob <bob@example.com>"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["", "ana", "ana@", "@example.com", "a@b.example, c@d.example", "a b@example.com"] {
        assert_eq!(check(bad), Err(CheckError::Mailbox(bad.into())), "{bad}");
    }
    for forged in [
        "a@b.example\r\nBcc: eve@evil.example",
        "A\r\nBcc: e@e.example <a@b.example>",
        "a@b.example>\r\nDATA",
    ] {
        assert!(check(forged).is_err(), "{forged}");
    }
}
