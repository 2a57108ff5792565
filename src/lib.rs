//! shmooze: process-backed web applications, native to systemd.
pub mod client;
pub mod gateway;
pub mod protocol;
pub mod settings;
