//! Accepting connections, as many as there may be, and letting them go at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::watch::LINGER;
use super::{Gateway, connection};

/// The first pause after a connection could not be accepted, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Connections over the limit that are told so at once; those beyond are closed without a word.
const MAX_REFUSALS: usize = 64;

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 22\r\nRetry-After: 1\r\nConnection: close\r\n\r\nToo many connections.\n";

/// A connection of a client, over TCP or a Unix socket.
pub type Stream = Either<TcpStream, UnixStream>;

/// Where connections come from: a listener, or several of them.
pub trait Accept: Send {
    /// The next connection. May be dropped and asked again.
    fn accept(&mut self) -> impl Future<Output = io::Result<Stream>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&mut self) -> io::Result<Stream> {
        Self::accept(self).await.map(|(stream, _)| Stream::Left(stream))
    }
}

impl Accept for UnixListener {
    async fn accept(&mut self) -> io::Result<Stream> {
        Self::accept(self).await.map(|(stream, _)| Stream::Right(stream))
    }
}

impl Gateway {
    /// Serves the connections that `source` accepts. After `shutdown` no more are accepted, requests under way are
    /// answered, idle connections closed, and the future ends; what is not done within `drain_timeout` is dropped.
    /// Dropping the future drops all connections at once. Once it was polled for the first time, clients are served.
    pub async fn serve(self, mut source: impl Accept, shutdown: CancellationToken) {
        let taken = Arc::new(AtomicUsize::new(0));
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
        let mut connections = JoinSet::new();
        let mut pause = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = source.accept() => accepted,
            };
            let stream = match accepted.and_then(without_delay) {
                Ok(stream) => stream,
                Err(error) if is_of_one_connection(&error) => continue,
                Err(error) => {
                    if pause == BACK_OFF.0 {
                        tracing::warn!("Connections cannot be accepted: {error}. Trying again.");
                    }
                    // Connections that end meanwhile give back what is short.
                    let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                    continue;
                }
            };
            pause = BACK_OFF.0;
            if taken.load(Relaxed) < self.shared().configuration.max_connections.max(1) {
                let place = Place::take(&taken);
                let served = connection::serve(self.clone(), stream, shutdown.clone());
                connections.spawn(async move {
                    let _place = place;
                    served.await;
                });
            } else if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                connections.spawn(async move {
                    let _permit = permit;
                    let _ = tokio::time::timeout(LINGER, refuse(stream)).await;
                });
            }
        }
        drop(source);
        // Which would go on without end.
        self.shared().routes.end_events();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain_timeout(), all).await.is_err() {
            tracing::warn!("{} connections of clients were dropped with a request under way.", connections.len());
        }
    }
}

/// One of the connections, or of the browsers that follow events, that there may be; free again when dropped. How many that are may change meanwhile.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    pub(super) fn take(taken: &Arc<AtomicUsize>) -> Self {
        taken.fetch_add(1, Relaxed);
        Self(Arc::clone(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Small answers are not held back for more.
fn without_delay(stream: Stream) -> io::Result<Stream> {
    if let Stream::Left(tcp) = &stream {
        tcp.set_nodelay(true)?;
    }
    Ok(stream)
}

/// Whether an error of `accept` concerns only the connection that would have been accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | InvalidInput | NotConnected)
}

/// Says that there is no room and listens until the client has heard it.
async fn refuse(mut stream: Stream) -> io::Result<()> {
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    let mut discarded = [0; 1024];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::gateway::Configuration;

    /// Fails as often as told, then has nothing more to give. Notes when it was asked.
    struct Failing(Vec<i32>, Arc<Mutex<Vec<Instant>>>);

    impl Accept for Failing {
        async fn accept(&mut self) -> io::Result<Stream> {
            let turn = {
                let mut asked = self.1.lock().unwrap();
                asked.push(Instant::now());
                asked.len() - 1
            };
            match self.0.get(turn) {
                Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
                None => std::future::pending().await,
            }
        }
    }

    async fn pauses(errors: &[nix::errno::Errno]) -> Vec<u128> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let source = Failing(errors.iter().map(|errno| *errno as i32).collect(), Arc::clone(&asked));
        let shutdown = CancellationToken::new();
        let served = Gateway::new(Configuration::default()).serve(source, shutdown.clone());
        let count = errors.len() + 1;
        tokio::join!(served, async {
            while asked.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            shutdown.cancel();
        });
        let asked = asked.lock().unwrap();
        asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn without_descriptors_it_waits_longer_and_longer() {
        use nix::errno::Errno::{EMFILE, ENFILE};
        assert_eq!(
            pauses(&[EMFILE, EMFILE, ENFILE, EMFILE, EMFILE, EMFILE, EMFILE, EMFILE, EMFILE]).await,
            [10, 20, 40, 80, 160, 320, 640, 1000, 1000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_went_away_is_no_reason_to_wait() {
        use nix::errno::Errno::{ECONNABORTED, EINTR};
        assert_eq!(pauses(&[ECONNABORTED, EINTR]).await, [0, 0]);
    }

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
