//! Accepting clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Socket;
use super::{Handler, Listeners, connection};

/// After a failed accept (no descriptors left, say) the next is tried this much later, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two tries to accept.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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

/// Where clients come from.
trait Source: Send + 'static {
    type Socket: Socket;
    fn next(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Source for TcpListener {
    type Socket = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        let (socket, _) = self.accept().await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }
}

impl Source for UnixListener {
    type Socket = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves until `shutdown` and then until every client has its answers.
pub async fn serve<H: Handler>(listeners: Listeners, handler: Arc<H>, limits: Limits, shutdown: CancellationToken) {
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let server = Server { handler, limits, permits, shutdown, tasks: TaskTracker::new() };
    for listener in listeners.tcp {
        server.tasks.spawn(server.clone().accept(listener));
    }
    for listener in listeners.unix {
        server.tasks.spawn(server.clone().accept(listener));
    }
    server.tasks.close();
    server.tasks.wait().await;
}

struct Server<H> {
    handler: Arc<H>,
    limits: Limits,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

// Derived, it would ask for a handler that can be cloned.
impl<H> Clone for Server<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            limits: self.limits,
            permits: Arc::clone(&self.permits),
            shutdown: self.shutdown.clone(),
            tasks: self.tasks.clone(),
        }
    }
}

impl<H: Handler> Server<H> {
    async fn accept<S: Source>(self, source: S) {
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = async {
                // Never closed, so there is always a permit to be had.
                let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(io::Error::other)?;
                Ok::<_, io::Error>((permit, source.next().await?))
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = self.shutdown.cancelled() => return,
            };
            match accepted {
                Ok((permit, socket)) => {
                    pause = FIRST_PAUSE;
                    let handler = Arc::clone(&self.handler);
                    let conversation = connection::converse(socket, handler, self.limits.max_line_bytes, self.shutdown.clone());
                    self.tasks.spawn(async move {
                        if let Err(error) = conversation.await {
                            tracing::debug!("a client's connection broke: {error}");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("a client could not be accepted: {error}");
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shutdown.cancelled() => return,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}
