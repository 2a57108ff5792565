//! One connection to a service.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;

use super::stream::Stream;
use super::{ClientError, Endpoint};
use crate::protocol::LineBuffer;

/// How much room there is at least for each read, in bytes.
const READ_BYTES: usize = 8 * 1024;

/// A connection to a service: one request at a time, answered in order.
///
/// A request that is given up (its future dropped) or fails leaves the connection unusable, since an answer may still
/// be under way.
#[derive(Debug)]
pub struct Connection {
    endpoint: Arc<Endpoint>,
    stream: Stream,
    buffer: LineBuffer,
    limit: usize,
    /// A request is under way, or was given up.
    pending: bool,
}

/// How a request failed.
pub(super) enum Failure {
    /// The connection was of no use; not one byte of the request left, so that it may be sent on another.
    NothingSent(ClientError),
    /// Anything else.
    Failed(ClientError),
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NothingSent(error) | Failure::Failed(error) => error,
        }
    }
}

impl Connection {
    /// Connects to `endpoint`; answers may be up to `max_line_bytes` bytes long.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`]
    pub async fn open(endpoint: &Endpoint, max_line_bytes: usize) -> Result<Self, ClientError> {
        Self::open_shared(Arc::new(endpoint.clone()), max_line_bytes).await
    }

    pub(super) async fn open_shared(endpoint: Arc<Endpoint>, max_line_bytes: usize) -> Result<Self, ClientError> {
        match Stream::open(&endpoint).await {
            Ok(stream) => {
                let buffer = LineBuffer::new(max_line_bytes);
                Ok(Self { endpoint, stream, buffer, limit: max_line_bytes, pending: false })
            }
            Err(source) => Err(ClientError::Unreachable { endpoint: (*endpoint).clone(), source }),
        }
    }

    /// Whether a request may be sent: none is under way, nothing came unasked, and the peer has not closed.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.pending && !self.buffer.is_partial() && self.stream.is_quiet()
    }

    /// Sends `line` and reads the line that answers it; neither has its newline. There is no deadline: give up by
    /// dropping the future.
    ///
    /// # Errors
    /// Any [`ClientError`] but those about JSON, which is not looked at here. [`ClientError::Closed`] at once where the
    /// connection is not [usable](Connection::is_usable).
    pub async fn request_line(&mut self, line: &[u8]) -> Result<Bytes, ClientError> {
        Ok(self.exchange(line).await?)
    }

    pub(super) async fn exchange(&mut self, line: &[u8]) -> Result<Bytes, Failure> {
        if memchr::memchr(b'\n', line).is_some() {
            return Err(Failure::Failed(ClientError::NotOneLine { endpoint: (*self.endpoint).clone() }));
        }
        if !self.is_usable() {
            return Err(Failure::NothingSent(self.closed(None)));
        }
        self.pending = true;
        self.send(line).await?;
        let answer = self.receive().await.map_err(Failure::Failed)?;
        self.pending = false;
        Ok(answer)
    }

    async fn send(&mut self, line: &[u8]) -> Result<(), Failure> {
        let mut sent = 0;
        while sent <= line.len() {
            let rest = [IoSlice::new(&line[sent..]), IoSlice::new(b"\n")];
            match self.stream.write(&rest).await {
                Ok(0) => return Err(Failure::Failed(self.closed(Some(io::ErrorKind::WriteZero.into())))),
                Ok(written) => sent += written,
                Err(error) if sent == 0 => return Err(Failure::NothingSent(self.closed(Some(error)))),
                Err(error) => return Err(Failure::Failed(self.closed(Some(error)))),
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Bytes, ClientError> {
        loop {
            match self.stream.read(self.buffer.space(READ_BYTES)).await {
                Ok(0) => return Err(self.closed(None)),
                Ok(_) => {}
                Err(error) => return Err(self.closed(Some(error))),
            }
            match self.buffer.next_line() {
                Some(Ok(line)) => return Ok(line.freeze()),
                Some(Err(_)) => return Err(ClientError::TooLong { endpoint: (*self.endpoint).clone(), limit: self.limit }),
                None => {}
            }
        }
    }

    fn closed(&self, source: Option<io::Error>) -> ClientError {
        ClientError::Closed { endpoint: (*self.endpoint).clone(), source }
    }
}
