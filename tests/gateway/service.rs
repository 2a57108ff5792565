//! A service that the test plays.

use std::sync::{Arc, Mutex};

use shmooze::client::Endpoint;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};

use super::rig::within;

pub struct Service {
    listener: TcpListener,
}

impl Service {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind(("127.0.0.1", 0)).await.unwrap() }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.listener.local_addr().unwrap().port())
    }

    /// The next connection to the service.
    pub async fn accept(&self) -> Peer {
        within(async { Peer(BufStream::new(self.listener.accept().await.unwrap().0)) }).await
    }

    /// The next connection and the first line on it.
    pub async fn line(&self) -> (Peer, String) {
        let mut peer = self.accept().await;
        let line = peer.line().await.expect("a line");
        (peer, line)
    }

    /// Lets the service answer by itself from now on.
    pub fn answer(self, answer: impl Fn(&str) -> String + Clone + Send + 'static) -> Answering {
        let answering = Answering { endpoint: self.endpoint(), connections: Arc::default(), lines: Arc::default() };
        let (connections, lines) = (Arc::clone(&answering.connections), Arc::clone(&answering.lines));
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                *connections.lock().unwrap() += 1;
                let (lines, answer) = (Arc::clone(&lines), answer.clone());
                tokio::spawn(async move {
                    let mut peer = Peer(BufStream::new(stream));
                    while let Some(line) = peer.next().await {
                        lines.lock().unwrap().push(line.clone());
                        peer.send(&answer(&line)).await;
                    }
                });
            }
        });
        answering
    }
}

/// A service that answers by itself.
pub struct Answering {
    endpoint: Endpoint,
    connections: Arc<Mutex<usize>>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Answering {
    /// Answers every line with `answer`.
    pub async fn with(answer: &'static str) -> Self {
        Service::start().await.answer(|_| answer.to_owned())
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// The lines received so far; they are forgotten.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

/// One connection to the service.
pub struct Peer(BufStream<TcpStream>);

impl Peer {
    /// The next line without its newline; `None` at the end of the stream, however it ended.
    pub async fn line(&mut self) -> Option<String> {
        within(self.next()).await
    }

    async fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(read) if read > 0 => Some(line.strip_suffix('\n').expect("whole lines").to_owned()),
            _ => None,
        }
    }

    /// Sends a line. That the other side may be gone is no matter.
    pub async fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }
}
