//! shmooze: process-backed web applications, native to systemd.
pub mod client;
pub mod protocol;
