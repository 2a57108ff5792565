//! shmooze: process-backed web applications, native to systemd.
pub mod engine;
pub mod protocol;
pub mod record;
pub mod settings;
