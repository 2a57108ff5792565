//! One client's connection.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::{Handler, Reply};
use crate::protocol::{Incoming, LineBuffer, ProtocolError, Request, Response};

/// Read at a time from a quiet client, in bytes.
const LITTLE: usize = 4 * 1024;
/// Read at a time from a busy client, in bytes.
const MUCH: usize = 64 * 1024;
/// Answers are written when they are this many bytes, or when there is nothing left to answer.
const WRITE_AT: usize = 64 * 1024;

/// A stream that says when it is worth reading, so that an idle one needs no buffer.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Socket for tokio::net::TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Socket for tokio::net::UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

/// Answers lines in order until the client closes its sending side or `shutdown`; what was received whole by then is
/// answered still.
pub(super) async fn converse<S: Socket, H: Handler>(
    mut socket: S,
    handler: Arc<H>,
    limit: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut lines = LineBuffer::new(limit);
    let mut out = Vec::new();
    let mut appetite = LITTLE;
    let mut is_ending = pin!(shutdown.cancelled());
    loop {
        let readable = poll_fn(|cx| match socket.poll_readable(cx) {
            Poll::Ready(readable) => Poll::Ready(Some(readable)),
            Poll::Pending => is_ending.as_mut().poll(cx).map(|()| None),
        });
        match readable.await {
            Some(readable) => readable?,
            None => return Ok(()),
        }
        let received = socket.read_buf(lines.space(appetite)).await?;
        while let Some(line) = lines.next_line() {
            match line {
                Ok(line) => answer(&*handler, &line, &shutdown, &mut out).await,
                Err(too_long) => Response::from(ProtocolError::LineTooLong(too_long.limit)).write(&mut out),
            }
            out.push(b'\n');
            if out.len() >= WRITE_AT {
                socket.write_all(&out).await?;
                out.clear();
            }
        }
        if !out.is_empty() {
            socket.write_all(&out).await?;
            out.clear();
            // An idle client owns no large buffer.
            out.shrink_to(LITTLE);
        }
        if received == 0 {
            return socket.shutdown().await;
        }
        appetite = if received >= appetite { MUCH } else { LITTLE };
    }
}

/// Appends the answer to one line, without a newline.
async fn answer<H: Handler>(handler: &H, line: &[u8], shutdown: &CancellationToken, out: &mut Vec<u8>) {
    let mut rewritten = String::new();
    match Incoming::read(line, &mut rewritten) {
        Ok(Incoming::One(request)) => respond(handler, request, shutdown, out).await,
        Ok(Incoming::Many(requests)) => {
            out.push(b'[');
            for (at, request) in requests.into_iter().enumerate() {
                if at > 0 {
                    out.extend_from_slice(b", ");
                }
                respond(handler, request, shutdown, out).await;
            }
            out.push(b']');
        }
        Err(error) => Response::from(error).write(out),
    }
}

/// Appends the answer to one request.
async fn respond<'a, H: Handler>(
    handler: &'a H,
    request: Result<Request<'a>, ProtocolError>,
    shutdown: &CancellationToken,
    out: &mut Vec<u8>,
) {
    match request.map(|request| handler.call(request)) {
        Ok(Reply::Now(response)) => response.write(out),
        Ok(Reply::Text(text)) => out.extend_from_slice(text.as_bytes()),
        Ok(Reply::Later(response)) => response.await.write(out),
        Ok(Reply::News(response)) => match shutdown.run_until_cancelled(response).await {
            Some(response) => response.write(out),
            None => Response::from(ProtocolError::ShuttingDown).write(out),
        },
        Err(error) => Response::from(error).write(out),
    }
}
