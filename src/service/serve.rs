//! Accepting clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

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

/// Serves until `shutdown` and then until every client has its answers.
pub async fn serve<H: Handler>(listeners: Listeners, handler: Arc<H>, limits: Limits, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    for listener in listeners.tcp {
        tasks.spawn(accept(listener, Arc::clone(&handler), limits, Arc::clone(&permits), shutdown.clone(), tasks.clone()));
    }
    tasks.close();
    tasks.wait().await;
}

async fn accept<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: Limits,
    permits: Arc<Semaphore>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = async {
            // Never closed, so there is always a permit to be had.
            let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            Ok::<_, io::Error>((permit, socket))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((permit, socket)) => {
                pause = FIRST_PAUSE;
                let conversation = connection::converse(socket, Arc::clone(&handler), limits.max_line_bytes, shutdown.clone());
                tasks.spawn(async move {
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
                    () = shutdown.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
