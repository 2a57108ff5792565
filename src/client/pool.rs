//! Kept-alive connections to one service.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::Failure;
use super::{ClientError, Connection, Endpoint};

/// What a [`Pool`] may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests under way at once, each on a connection of its own; the next waits for one of them to end.
    pub busy: usize,
    /// Connections kept for later.
    pub idle: usize,
    /// How long a connection is kept while fewer would do. Looked at when another is put back, so that an idle pool
    /// wakes nobody up.
    pub idle_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { busy: 1024, idle: 128, idle_time: Duration::from_secs(60) }
    }
}

/// Kept-alive connections to one service, the one used last taken first, so that after a rush the others grow old and
/// are closed.
///
/// A connection that the service closed meanwhile (it was restarted, it dislikes idle clients) is found out before it
/// is used. Should it close in that very moment, the request is sent again on another connection, but only where not
/// one byte of it was taken: a request that may have been carried out is never repeated.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    max_line_bytes: usize,
    limits: Limits,
    busy: Semaphore,
    /// The one used last at the back.
    idle: Mutex<VecDeque<(Instant, Connection)>>,
}

impl Pool {
    /// A pool of connections to `endpoint`, taking answers of up to `max_line_bytes` bytes. Nothing is opened yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, max_line_bytes: usize, limits: Limits) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            max_line_bytes,
            limits,
            busy: Semaphore::new(limits.busy.clamp(1, Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
        }
    }

    /// Where the service is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// As [`Connection::request_line`], on a kept connection or a new one.
    ///
    /// # Errors
    /// As there.
    pub async fn request_line(&self, line: &[u8]) -> Result<Bytes, ClientError> {
        // Never closed, so there is always a permit in the end.
        let _permit = self.busy.acquire().await;
        while let Some(mut connection) = self.take() {
            match connection.exchange(line).await {
                Ok(answer) => {
                    self.put(connection);
                    return Ok(answer);
                }
                // It was closed, or spoke unasked, while it was kept.
                Err(Failure::NothingSent(_)) => {}
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
        let mut connection = Connection::open_shared(Arc::clone(&self.endpoint), self.max_line_bytes).await?;
        let answer = connection.exchange(line).await?;
        self.put(connection);
        Ok(answer)
    }

    /// How many connections are kept for later.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.lock().len()
    }

    fn take(&self) -> Option<Connection> {
        self.lock().pop_back().map(|(_, connection)| connection)
    }

    fn put(&self, connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let now = Instant::now();
        let old = {
            let mut idle = self.lock();
            idle.push_back((now, connection));
            let is_old = |(since, _): &(Instant, Connection)| now - *since > self.limits.idle_time;
            if idle.len() > self.limits.idle || idle.front().is_some_and(is_old) { idle.pop_front() } else { None }
        };
        drop(old);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
