//! Accepting clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Handler, Listeners, Stream, connection};

/// After a failed accept (no descriptors left, say) the next is tried this much later, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries to accept.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long clients may take to read their last answers once a service ends.
pub const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What one service allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
    /// Most connections at once; further ones wait to be accepted.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_line_bytes: crate::protocol::DEFAULT_MAX_LINE_BYTES, max_connections: 12_000 }
    }
}

/// Serves until `shutdown` and then until every client has its answers, but for those that do not read them within
/// [`LAST_ANSWERS`]. Once this was polled for the first time, clients are served.
pub async fn serve<H: Handler>(listeners: Listeners, handler: Arc<H>, limits: Limits, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let mut conversations = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = async {
            // Never closed, so there is always a permit to be had.
            let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((permit, listeners.accept().await?))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = conversations.join_next() => continue,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((permit, stream)) => {
                pause = FIRST_PAUSE;
                let (handler, limit, shutdown) = (Arc::clone(&handler), limits.max_line_bytes, shutdown.clone());
                conversations.spawn(async move {
                    let ended = match stream {
                        Stream::Left(tcp) => match tcp.set_nodelay(true) {
                            Ok(()) => connection::converse(tcp, handler, limit, shutdown).await,
                            Err(error) => Err(error),
                        },
                        Stream::Right(unix) => connection::converse(unix, handler, limit, shutdown).await,
                    };
                    if let Err(error) = ended {
                        tracing::debug!("a client's connection broke: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("a client could not be accepted: {error}");
                let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(listeners);
    let all = async { while conversations.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS, all).await.is_err() {
        tracing::warn!("{} clients had not read their last answers when the service ended", conversations.len());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::protocol::{Request, Response};
    use crate::service::Reply;

    /// Answers more than any socket holds.
    struct Flood;

    impl Handler for Flood {
        fn call<'a>(&'a self, _: Request<'a>) -> Reply<'a> {
            Reply::Now(Response::Failure("x".repeat(64 << 20)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_read_its_answer_keeps_nobody_from_ending() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"{\"cmd\": \"x\"}\n").await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve(Listeners::of(listener), Arc::new(Flood), Limits::default(), shutdown.clone());
        let end = async {
            // The first of its answer has come.
            client.readable().await.unwrap();
            shutdown.cancel();
            tokio::time::Instant::now()
        };
        let ((), ended) = tokio::join!(serving, end);
        assert_eq!(ended.elapsed().as_secs(), LAST_ANSWERS.as_secs());
    }
}
