//! One client's connection.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::room::{LITTLE, Place, SMALL_LINE};
use super::{Handler, Reply};
use crate::protocol::{Incoming, LineBuffer, ProtocolError, Request};

/// How long room for a long line is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a long line may take while room is short.
const SLOWEST: Duration = Duration::from_secs(10);

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
    socket: S,
    handler: Arc<H>,
    place: &Place,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let room = place.room();
    let mut lines = LineBuffer::new(room.max_line_bytes);
    let mut answers = Answers::new(socket, room);
    let mut held = room.lines.hold();
    let mut late = Instant::now();
    let mut appetite = LITTLE;
    let mut is_ending = pin!(shutdown.cancelled());
    loop {
        let begun = lines.rest().0.len();
        if begun <= SMALL_LINE {
            held.give_back();
        } else {
            if held.is_nothing() {
                late = Instant::now() + SLOWEST;
            }
            // What its buffer grows to.
            let needed = (begun + appetite).next_power_of_two();
            if !held.try_grow(needed) {
                let grown = timeout(PATIENCE, held.grow(needed));
                let grown = tokio::select! {
                    biased;
                    () = is_ending.as_mut() => return Ok(()),
                    grown = grown => grown,
                };
                if grown.is_err() {
                    held.give_back();
                    lines.skip();
                    answers.put_line(ProtocolError::NoRoomForLine(room.lines.total).into()).await?;
                }
            }
        }
        let readable = poll_fn(|cx| match answers.socket.poll_readable(cx) {
            Poll::Ready(readable) => Poll::Ready(Some(readable)),
            Poll::Pending => is_ending.as_mut().poll(cx).map(|()| None),
        });
        let readable = if held.is_nothing() { Ok(readable.await) } else { timeout_at(late, readable).await };
        match readable {
            Ok(Some(readable)) => readable?,
            Ok(None) => return Ok(()),
            Err(_) => {
                late = Instant::now() + SLOWEST;
                if room.lines.is_short() {
                    lines.skip();
                    let slow = ProtocolError::LineTooSlow { longest: SMALL_LINE, seconds: SLOWEST.as_secs() };
                    answers.put_line(slow.into()).await?;
                }
                continue;
            }
        }
        let received = answers.socket.read_buf(lines.space(appetite)).await?;
        while let Some(line) = lines.next_line() {
            match line {
                Ok(line) => answer(&*handler, &line, &shutdown, &mut answers).await,
                Err(too_long) => answers.put(ProtocolError::LineTooLong(too_long.limit).into()).await,
            }
            answers.end_line().await?;
        }
        answers.flush().await?;
        if received == 0 {
            return answers.close().await;
        }
        appetite = if received >= appetite { room.portion() } else { LITTLE };
    }
}

/// Answers one line, without a newline. A list is carried out to its end though nobody is there to be answered any more.
async fn answer<S: Socket, H: Handler>(handler: &H, line: &[u8], shutdown: &CancellationToken, answers: &mut Answers<'_, S>) {
    let mut rewritten = String::new();
    match Incoming::read(line, &mut rewritten) {
        Ok(Incoming::One(request)) => respond(handler, request, shutdown, answers).await,
        Ok(Incoming::Many(requests)) => {
            answers.text("[");
            for (at, request) in requests.into_iter().enumerate() {
                if at > 0 {
                    answers.text(", ");
                }
                respond(handler, request, shutdown, answers).await;
            }
            answers.text("]");
        }
        Err(error) => answers.put(error.into()).await,
    }
}

/// Answers one request.
async fn respond<'a, S: Socket, H: Handler>(
    handler: &'a H,
    request: Result<Request<'a>, ProtocolError>,
    shutdown: &CancellationToken,
    answers: &mut Answers<'_, S>,
) {
    match request.map(|request| handler.call(request)) {
        Ok(Reply::Now(response)) => answers.put(response).await,
        Ok(Reply::Text(text)) => answers.put_text(&text).await,
        Ok(Reply::Later(response)) => answers.put(response.await).await,
        Ok(Reply::News(response)) => {
            let response = shutdown.run_until_cancelled(response).await;
            answers.put(response.unwrap_or_else(|| ProtocolError::ShuttingDown.into())).await;
        }
        Err(error) => answers.put(error.into()).await,
    }
}
