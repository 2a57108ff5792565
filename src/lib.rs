//! shmooze: process-backed web applications, native to systemd.
//!
//! A **module** is a process in any language that a **queue** (the top one plays, the others are suspended) or a **pool**
//! (all play) starts, commands, watches and, without fail, ends. Clients speak JSON lines over TCP, or HTTP through the
//! **gateway**. `ARCHITECTURE.md` is the map of the rooms below.
//!
//! Programs of one's own are built on [`settings`], [`service`] (a JSON-line service with a table of commands),
//! [`client`] and [`module::guest`] (the module's side of its two streams).

pub mod access;
pub mod apply;
pub mod broker;
pub mod cli;
pub mod client;
pub mod daemon;
mod deadline;
pub mod engine;
pub mod gateway;
pub mod generator;
pub mod handover;
pub mod journal;
pub mod launcher;
mod loopback;
pub mod module;
mod peer;
pub mod protocol;
pub mod record;
pub mod scope;
pub mod service;
pub mod settings;
pub mod store;
mod unit_name;
