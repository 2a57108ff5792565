//! Accepting clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Handler, Listeners, Room, Stream, connection};
use crate::protocol::{ProtocolError, Response};
use crate::settings::Bounds;

/// After a failed accept (no descriptors left, say) the next is tried this much later, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries to accept.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long clients may take to read their last answers once a service ends.
pub const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Clients over the limit that are listened to until they have heard it; those beyond are told and closed at once.
const MAX_REFUSALS: usize = 64;
/// How long such a client is listened to.
const LINGER: Duration = Duration::from_secs(1);

/// What one service allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
    /// Most connections at once; a further one is told so and closed.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let max_connections = Bounds::default().max_connections;
        Self { max_line_bytes: crate::protocol::DEFAULT_MAX_LINE_BYTES, max_connections }
    }
}

/// Serves until `shutdown` and then until every client has its answers, but for those that do not read them within
/// [`LAST_ANSWERS`]. Once this was polled for the first time, clients are served.
pub async fn serve<H: Handler>(listeners: Listeners, handler: Arc<H>, room: Arc<Room>, shutdown: CancellationToken) {
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut conversations = JoinSet::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = conversations.join_next() => continue,
            accepted = listeners.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!("a client could not be accepted, and waits: {error}");
                }
                // Clients that go meanwhile give back what is short.
                let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        match room.enter() {
            Ok(place) => {
                let (handler, shutdown) = (Arc::clone(&handler), shutdown.clone());
                conversations.spawn(async move {
                    let ended = match stream {
                        Stream::Left(tcp) => match tcp.set_nodelay(true) {
                            Ok(()) => connection::converse(tcp, handler, &place, shutdown).await,
                            Err(error) => Err(error),
                        },
                        Stream::Right(unix) => connection::converse(unix, handler, &place, shutdown).await,
                    };
                    if let Err(error) = ended {
                        tracing::debug!("a client's connection broke: {error}");
                    }
                });
            }
            Err(most) => {
                tell(&stream, &ProtocolError::TooManyConnections(most).into());
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    conversations.spawn(async move {
                        let _permit = permit;
                        let _ = tokio::time::timeout(LINGER, listen(stream)).await;
                    });
                }
            }
        }
    }
    drop(listeners);
    let all = async { while conversations.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_ANSWERS, all).await.is_err() {
        tracing::warn!("{} clients had not read their last answers when the service ended", conversations.len());
    }
}

/// Writes a line to a client that was never written to: it fits into the socket, or is lost.
fn tell(stream: &Stream, response: &Response) {
    let mut line = Vec::new();
    response.write(&mut line);
    line.push(b'\n');
    let _ = match stream {
        Stream::Left(tcp) => rustix::io::write(tcp, &line),
        Stream::Right(unix) => rustix::io::write(unix, &line),
    };
}

/// Closes our side and throws away what comes until the other is closed: a client that was still sending would have what it was told
/// torn from its hands by a reset otherwise.
async fn listen(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut discarded = [0; 1024];
    while stream.read(&mut discarded).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::protocol::Request;
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
        let serving = serve(Listeners::of(listener), Arc::new(Flood), Room::new(Limits::default()), shutdown.clone());
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
