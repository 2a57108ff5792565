//! shmooze: process-backed web applications, native to systemd.
pub mod protocol;
pub mod settings;
