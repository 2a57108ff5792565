//! One process of the broker: the real thing in a runtime of its own, which knows no time but what it is given.
//!
//! The runtime runs only while the world lets it. To kill the process is to drop it with all its tasks, wherever they are:
//! one whose runtime looks at its sockets after every single step (`fine`) can be killed between any two steps.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::super::{Broker, Configuration, Kind};
use crate::handover::Stored;
use crate::handover::testing::Manager;
use crate::launcher::Launcher;
use crate::record::Record;
use crate::service::{Limits, Listeners, Room, serve};
use crate::settings::Settings;

pub(super) struct Process {
    runtime: Runtime,
    fine: bool,
    pub(super) broker: Broker,
    drained: Option<tokio::task::JoinHandle<()>>,
}

/// What every process of a world begins with.
pub(super) struct Start<'a> {
    pub(super) kind: Kind,
    pub(super) settings: &'a Settings,
    pub(super) launcher: Arc<dyn Launcher>,
    /// Where clients connect.
    pub(super) listener: &'a TcpListener,
    /// Who keeps what the next one needs, where anybody does, and what it has kept.
    pub(super) manager: Option<(&'a Manager, &'a Stored)>,
}

impl Process {
    pub(super) fn start(start: Start<'_>, fine: bool) -> Self {
        let Start { kind, settings, launcher, listener, manager } = start;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .event_interval(if fine { 1 } else { 61 })
            .build()
            .unwrap();
        let broker = runtime.block_on(async {
            let name = kind.name();
            let configuration = Configuration::of(name, &settings.services[name], settings.max_line_bytes).unwrap();
            let broker = match manager {
                None => Broker::start(configuration, launcher, Record::off()),
                Some((manager, stored)) => {
                    let (keeper, legacy) = manager.start(stored, kind.engine()).await;
                    assert!(keeper.is_on());
                    Broker::resume(configuration, launcher, Record::off(), keeper, legacy)
                }
            };
            let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
            let handler = Arc::new(broker.clone());
            tokio::spawn(serve(Listeners::of(listener), handler, Room::new(Limits::default()), CancellationToken::new()));
            broker
        });
        Self { runtime, fine, broker, drained: None }
    }

    /// Does all that can be done without time passing.
    ///
    /// A runtime whose main task only yields never sleeps, so its clock stands still. It yields more often than the longest chain of
    /// tasks that wake each other by way of a socket has links.
    pub(super) fn settle(&mut self) {
        self.steps(if self.fine { 160 } else { 8 });
    }

    /// Lets the runtime look at its sockets so many times.
    pub(super) fn steps(&mut self, steps: usize) {
        self.runtime.block_on(async {
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
        });
    }

    pub(super) fn pass(&mut self, time: u64) {
        self.runtime.block_on(tokio::time::advance(Duration::from_millis(time)));
    }

    pub(super) fn drain(&mut self) {
        let broker = self.broker.clone();
        self.drained = Some(self.runtime.spawn(async move { broker.drain().await }));
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.as_ref().is_some_and(tokio::task::JoinHandle::is_finished)
    }
}
