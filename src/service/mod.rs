//! What every JSON-line service is: sockets that are accepted from, lines that are answered, an end that answers all.
//!
//! ```text
//!   activated(), else bind_loopback()
//!        │
//!        ▼
//!   serve() ─accept─▶ connection (one task each) ── Request ──▶ Handler        Notifier ──▶ the service manager
//!                          ▲                                       │
//!                          └── lines in order ◀────── Reply ───────┘
//! ```
//!
//! The brokers are built on it, and so may be a program of one's own: implement [`Handler`], or fill a [`Commands`] table.

mod activation;
mod answers;
mod commands;
mod connection;
mod datagrams;
mod listen;
mod notify;
mod room;
mod serve;

pub use activation::{Activation, activated, activated_with_stored};
pub use commands::Commands;
pub use listen::{Listeners, Stream, bind, bind_loopback};
pub use notify::{Heartbeat, Notifier, Notifiers};
pub use room::Room;
pub use serve::{LAST_ANSWERS, Limits, serve};

use std::sync::Arc;

use crate::protocol::{Request, Response};
use crate::scope::BoxFuture;

/// The answer to a request, or what it takes to get it.
pub enum Reply<'a> {
    /// Known at once.
    Now(Response),
    /// Known at once, as the JSON text of a response: what many ask for need be written only once.
    Text(Arc<str>),
    /// Known later. Requests of the same connection wait for it, those of others do not.
    Later(BoxFuture<'a, Response>),
    /// As [`Reply::Later`], but nothing is carried out: it waits for something to tell, and is given up when the service ends.
    News(BoxFuture<'a, Response>),
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Begins to answer one request.
    fn call<'a>(&'a self, request: Request<'a>) -> Reply<'a>;
}
