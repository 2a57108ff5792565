//! One connection of a client, from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;

use super::socket::Socket;
use super::watch::Watch;
use super::{Configuration, Gateway, Stream, events};
use crate::access::Peer;

/// Requests under way at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;

/// How HTTP is spoken: version 1 or, where the client begins with it, version 2.
pub(super) type Protocol = auto::Builder<TokioExecutor>;

/// HTTP within the limits of `configuration`.
pub(super) fn protocol(configuration: &Configuration) -> Protocol {
    let mut protocol = Protocol::new(TokioExecutor::new());
    protocol
        .http1()
        // A client that closes its sending side still gets its answers.
        .half_close(true)
        .max_buf_size(configuration.max_header_bytes.max(8192))
        // The watch sees to it, and to more.
        .header_read_timeout(None);
    protocol
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(configuration.max_header_bytes).unwrap_or(u32::MAX));
    protocol
}

/// Who has connected; `None` where he is gone already.
fn peer(stream: &Stream) -> Option<Peer> {
    match stream {
        Stream::Left(tcp) => tcp.peer_addr().ok().map(|address| Peer::at(address.ip())),
        Stream::Right(_) => Some(Peer::Unix),
    }
}

/// Serves `stream` until either side has enough. After `shutdown`, requests under way are answered and no more are taken.
pub(super) async fn serve(gateway: Gateway, stream: Stream, shutdown: CancellationToken) {
    let shared = gateway.shared();
    let watch = Arc::new(Watch::new(shared.configuration.idle_timeout, shared.configuration.header_timeout));
    let peer = peer(&stream);
    let socket = TokioIo::new(Socket::new(stream, Arc::clone(&watch)));
    let service = service_fn(|mut request: Request<Incoming>| {
        let (gateway, watch) = (gateway.clone(), Arc::clone(&watch));
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        async move {
            let _in_request = watch.request(request.version());
            let answer = gateway.handle(request).await;
            if events::is_stream(&answer) {
                watch.stream();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(shared.protocol.serve_connection(socket, service));
    let mut shutdown = pin!(shutdown.cancelled());
    let mut is_ending = false;
    let mut timer = pin!(watch.timer());
    poll_fn(|cx| {
        if !is_ending && shutdown.as_mut().poll(cx).is_ready() {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(result) = connection.as_mut().poll(cx) {
            if let Err(error) = result {
                tracing::debug!("Connection of a client ended: {error}.");
            }
            return Poll::Ready(());
        }
        watch.poll_expired(timer.as_mut(), cx)
    })
    .await;
}
