//! Modules that were another process's: it has gone, and they have not.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::conversation::Conversation;
use super::ports::Streams;
use super::task::Task;
use super::{Birth, Cause, Ending, Event, Handle, Parameters, Process, Reached, Tell};
use crate::handover::{self, Change, Keeper, Report};
use crate::launcher::Launcher;
use crate::protocol::ProtocolError;
use crate::record::Record;
use crate::scope::{Exit, Launched, ScopeError};

/// How long to wait before a launcher that does not know an answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of a module of the process before.
#[derive(Debug)]
pub(crate) struct Adoption {
    /// What that one wrote down.
    pub(crate) module: handover::Module,
    /// What is shown as its parameters while it has announced none: the text of an object.
    pub(crate) last_parameters: Option<Arc<str>>,
    /// Its streams, where they were kept.
    pub(crate) streams: Option<handover::Streams>,
    /// Whether the engine waits for it to start.
    pub(crate) starting: bool,
    /// Name of the service.
    pub(crate) service: Arc<str>,
    /// Longest line taken from it, in bytes.
    pub(crate) max_line_bytes: usize,
}

/// Goes on with a module's life; see [`super::spawn`].
pub(crate) fn adopt(
    adoption: Adoption,
    launcher: Arc<dyn Launcher>,
    record: Record,
    keeper: Keeper,
    events: mpsc::Sender<Event>,
) -> Handle {
    let Adoption { mut module, last_parameters, streams, starting, service, max_line_bytes } = adoption;
    let birth = Birth::of(module.born.clone(), service, max_line_bytes);
    let parameters = match last_parameters {
        Some(last) if module.parameters.is_empty() => Parameters::of_before(&last),
        _ => Parameters::begin(birth.restarts.count(), std::mem::take(&mut module.parameters)),
    };
    let told = (module.told.0, handover::time(module.told.1));
    let (task, handle, tells) = Task::new(birth, parameters, told, launcher, record, keeper, events);
    if let Some(handover::Place { pid, cgroup }) = &module.place {
        let _ = task.process.set(Process { pid: *pid, cgroup: cgroup.clone(), launch: None });
    }
    if !starting {
        handle.note_listed();
    }
    tokio::spawn(task.live_on(module, streams, starting, tells));
    handle
}

impl Task {
    async fn live_on(
        mut self,
        module: handover::Module,
        streams: Option<handover::Streams>,
        starting: bool,
        told: mpsc::Receiver<Tell>,
    ) {
        let uid = self.birth.uid;
        // What the process before has given up may be another module's by now.
        let kept = module.kept.filter(|_| streams.is_some());
        let cause = self.converse(&module, streams, starting, told).await;
        kept.into_iter().for_each(|kept| self.keeper.give_up(kept.number));
        let ending = match self.watch(module.place.as_ref()).await {
            Some(launched) => self.end(launched, cause).await,
            None => {
                let exit = module.place.map(|_| Exit::Unknown);
                Ending { cause, reached: Reached::Exit, exit, exceeded: None }
            }
        };
        ending.tell(&self.witness);
        let _ = self.events.send(Event::Gone { uid, ending }).await;
    }

    /// Until the streams are closed, if they are not already; answers why.
    async fn converse(
        &mut self,
        module: &handover::Module,
        streams: Option<handover::Streams>,
        starting: bool,
        told: mpsc::Receiver<Tell>,
    ) -> Cause {
        let cause = module.ending.as_deref().and_then(Cause::from_name);
        let cause = match (cause, module.terminate) {
            (Some(cause), _) => Some(cause),
            (None, Some(drained)) => Some(if drained { Cause::Drained } else { Cause::Refused }),
            (None, None) => None,
        };
        let cause = match (cause, streams) {
            (None, Some(streams)) => {
                let (timeout, limit, notes) = (self.birth.timeouts.command, self.birth.max_line_bytes, self.notes());
                let conversation = of_tokio(&streams).and_then(|streams| {
                    Conversation::new(streams, timeout, limit, &self.parameters, &self.record, &self.events, notes)
                        .resume(limit, module)
                });
                match conversation {
                    Ok(conversation) => {
                        drop(streams);
                        return conversation.hold(self.birth.args.as_deref(), &mut self.directed, told).await;
                    }
                    Err(error) => {
                        streams.close();
                        tracing::warn!(uid = %self.birth.uid, "module {}: its streams are lost: {error}", self.birth.uid.short());
                        Cause::StreamLost
                    }
                }
            }
            (Some(cause), Some(streams)) => {
                streams.close();
                cause
            }
            (Some(cause), None) => cause,
            (None, None) if module.kept.is_some() => Cause::StreamLost,
            (None, None) => Cause::NotConnected,
        };
        let uid = self.birth.uid;
        let (report, event) = if starting {
            (Report::Started(false), Event::Started { uid, result: Err(ProtocolError::NotConnected) })
        } else {
            (Report::Ended, Event::Ended { uid, cause })
        };
        self.notes().write([Change::Ending(cause.name().to_owned()), Change::Report(report)]);
        let _ = self.events.send(event).await;
        cause
    }

    /// How far its processes have come; `None` where nobody knows any of them any more.
    async fn watch(&self, place: Option<&handover::Place>) -> Option<Launched> {
        let uid = self.birth.uid;
        loop {
            match self.launcher.watch(uid).await {
                Ok(state) => {
                    let (pid, cgroup) = place.map_or((0, None), |place| (place.pid, place.cgroup.clone()));
                    return Some(Launched { pid, cgroup, state });
                }
                Err(ScopeError::NoSuchScope(_)) => return None,
                Err(error) => {
                    tracing::warn!(%uid, "module {}: the launcher does not tell how it is: {error}", uid.short());
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The same, for the runtime.
fn of_tokio(streams: &handover::Streams) -> std::io::Result<Streams> {
    let of_tokio = |stream: &std::net::TcpStream| {
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream.try_clone()?)
    };
    Ok(Streams { command: of_tokio(&streams.command)?, update: of_tokio(&streams.update)? })
}
