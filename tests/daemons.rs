//! The daemons as a service manager sees them: the sockets that it hands over, and what it is told.
//!
//! The test is the service manager: it opens sockets, starts the real programs with them, and listens at `NOTIFY_SOCKET`.
//! What has to be waited for is a datagram there, an answer, or a line of the log.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

mod daemons {
    mod activation;
    mod ending;
    mod environment;
    mod launcher;
    mod manager;
    mod readiness;
    mod reload;
    mod status;
    mod terminal;
    mod tokens;
    mod watchdog;
}
