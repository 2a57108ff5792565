//! shmooze: process-backed web applications, native to systemd.
pub mod broker;
pub mod cli;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod gateway;
pub mod launcher;
pub mod module;
pub mod protocol;
pub mod record;
pub mod scope;
pub mod service;
pub mod settings;
