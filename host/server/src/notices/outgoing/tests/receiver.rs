//! A receiver that does with each connection what its script says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What is answered.
#[derive(Clone)]
pub enum Answer {
    /// The bytes, and then the end.
    Bytes(String),
    /// The bytes, and then others as long as somebody takes them.
    Endless(String, &'static str),
    /// The bytes, and then silence.
    Silence(String),
}

/// What was asked.
pub struct Asked {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
}

pub fn status(line: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"))
}

impl Receiver {
    /// Answers one connection after the other, the last answer for ever.
    pub async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Self { address, asked: Arc::default(), connections: Arc::default() };
        let own = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let time = {
                    let mut connections = own.connections.lock().unwrap();
                    *connections += 1;
                    *connections - 1
                };
                let answer = answers[time.min(answers.len() - 1)].clone();
                let own = own.clone();
                tokio::spawn(async move { own.serve(stream, answer).await });
            }
        });
        receiver
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) {
        if let Some(asked) = read(&mut stream).await {
            self.asked.lock().unwrap().push(asked);
        }
        // Whoever asked may be gone: then there is nothing left to do.
        let _ = match answer {
            Answer::Bytes(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                stream.shutdown().await
            }
            Answer::Endless(bytes, others) => {
                let mut written = stream.write_all(bytes.as_bytes()).await;
                while written.is_ok() {
                    written = stream.write_all(others.as_bytes()).await;
                    tokio::task::yield_now().await;
                }
                written
            }
            Answer::Silence(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                stream.read_u8().await.map(drop)
            }
        };
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut read = Vec::new();
    let head = loop {
        read.push(stream.read_u8().await.ok()?);
        if read.ends_with(b"\r\n\r\n") {
            break String::from_utf8(read).unwrap();
        }
    };
    let (line, fields) = head.split_once("\r\n").unwrap();
    let fields = fields.lines().filter_map(|field| field.split_once(": "));
    let headers: HeaderMap = fields
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse::<HeaderValue>().unwrap())
        })
        .collect();
    let length = headers["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Asked { line: line.to_owned(), headers, body: String::from_utf8(body).unwrap() })
}
