//! An HTTP client that sends exactly what it is told.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::rig::within;

pub struct Http(BufStream<TcpStream>);

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// All values of a header that may be there more than once.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value).collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `error` of a refusal.
    pub fn error(&self) -> String {
        assert_eq!(self.header("content-type"), Some("text/json"), "{self:?}");
        let value: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(value["success"], false);
        value["error"].as_str().unwrap().to_owned()
    }
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    pub async fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = within(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufStream::new(stream)))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(async {
            self.0.write_all(bytes.as_ref()).await?;
            self.0.flush().await
        })
        .await
    }

    /// Closes the sending side.
    pub async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Reply {
        self.send(post(path, body)).await;
        self.reply().await
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        self.reply().await
    }

    /// Reads the next answer.
    pub async fn reply(&mut self) -> Reply {
        self.try_reply(false).await.unwrap().expect("an answer")
    }

    /// Reads the next answer, which has no body if it is one to HEAD; `None` at the end of the stream.
    pub async fn try_reply(&mut self, is_to_head: bool) -> io::Result<Option<Reply>> {
        within(async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if self.0.read_line(&mut head).await? == 0 {
                    return if head.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                }
            }
            let mut lines = head.trim_end().split("\r\n");
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let headers = lines.map(|line| line.split_once(": ").unwrap_or((line, "")));
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let mut reply = Reply { status, headers, body: Vec::new() };
            if !is_to_head && status >= 200 {
                let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
                reply.body.resize(length, 0);
                self.0.read_exact(&mut reply.body).await?;
            }
            Ok(Some(reply))
        })
        .await
    }

    /// Whether the gateway has ended the connection in good order; waits until something comes.
    pub async fn is_ended(&mut self) -> bool {
        within(self.0.fill_buf()).await.is_ok_and(<[u8]>::is_empty)
    }
}

/// A POST of JSON.
pub fn post(path: &str, body: &str) -> String {
    request("POST", path, &[("Content-Type", "text/json")], body)
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    request
}
