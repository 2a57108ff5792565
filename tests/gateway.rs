//! The gateway and the client over real sockets, against services that the tests play themselves.
//!
//! Nothing here sleeps: what has to be waited for is an event (a line, an answer, the end of a stream), and time-outs are
//! short and looked at from one side only.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod gateway {
    mod access_log;
    mod client;
    mod configure;
    mod connections;
    mod delivery;
    mod events;
    mod files;
    mod forwarded;
    mod golden;
    mod guard;
    mod http;
    mod monitoring;
    mod openapi;
    mod posting;
    mod rig;
    mod service;
}
