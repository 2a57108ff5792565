//! The house without systemd: a session of its own for each module.
//!
//! One task a scope waits for the main process and, once told to stop, sends the signals. While processes of an exited
//! main process linger it looks for them again and again; otherwise it sleeps until something happens.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::sweep::Sweeper;
use super::warm::Warm;
use super::{BoxFuture, End, Exit, Launched, Listed, Reached, ScopeError, Scopes, Spec, State};
use crate::protocol::Uid;
use crate::settings::ScopeLimit;

/// How often lingering processes are looked for, until none is left.
const LINGER: Duration = Duration::from_millis(50);

/// Scopes as sessions of processes. See the [module](super) for what it can and cannot promise.
#[derive(Debug, Clone)]
pub struct ProcessGroup {
    warm: Arc<Warm>,
    scopes: Arc<Mutex<HashMap<Uid, Scope>>>,
    sweeper: Sweeper,
}

#[derive(Debug, Clone)]
struct Scope {
    listed: Listed,
    state: watch::Receiver<State>,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// SIGTERM, later SIGKILL.
    Stop,
    /// This signal and nothing else.
    Signal(i32),
}

impl ProcessGroup {
    /// A house that launches by the program `shmooze-shim` at this path. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(shim: PathBuf) -> Self {
        Self { warm: Warm::new(shim), scopes: Arc::default(), sweeper: Sweeper::new() }
    }

    fn scope(&self, uid: Uid) -> Option<Scope> {
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned()
    }

    async fn request(&self, uid: Uid, request: Request) -> Result<(), ScopeError> {
        let scope = self.scope(uid).ok_or(ScopeError::NoSuchScope(uid))?;
        // The task ends only when the scope is gone.
        scope.requests.send(request).await.map_err(|_| ScopeError::NoSuchScope(uid))
    }
}

impl Scopes for ProcessGroup {
    fn launch(&self, spec: Spec) -> BoxFuture<'_, Result<Launched, ScopeError>> {
        Box::pin(async move {
            let mut held = self.warm.take().await.map_err(|error| ScopeError::System(error.to_string()))?;
            let pid = held.pid;
            spec.tell_launched(pid, None);
            if let Err(error) = held.release(&spec.program, None).await {
                let _ = held.give_up().wait().await;
                return Err(error);
            }
            let child = held.give_up();
            let (state_sender, state) = watch::channel(State::Running);
            let (requests, requested) = mpsc::channel(4);
            let listed = Listed { uid: spec.uid, service: spec.service, pid };
            let scope = Scope { listed, state: state.clone(), requests };
            self.scopes.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.uid, scope);
            let keeper = Keeper {
                uid: spec.uid,
                session: i32::try_from(pid).unwrap_or_default(),
                terminate: spec.terminate,
                sweeper: self.sweeper.clone(),
                state: state_sender,
                kill_at: None,
                reached: Reached::Exit,
            };
            let scopes = Arc::clone(&self.scopes);
            tokio::spawn(async move {
                let (uid, state, end) = keeper.keep(child, requested).await;
                scopes.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
                state.send_replace(State::Gone(end));
            });
            Ok(Launched { pid, cgroup: None, state })
        })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move {
            match self.request(uid, Request::Stop).await {
                Err(ScopeError::NoSuchScope(_)) => Ok(()),
                other => other,
            }
        })
    }

    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(self.request(uid, Request::Signal(signal)))
    }

    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.kill(uid, Signal::SIGSTOP as i32)
    }

    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.kill(uid, Signal::SIGCONT as i32)
    }

    fn set_limits(&self, _uid: Uid, _limits: Vec<ScopeLimit>) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async { Err(ScopeError::Unsupported("limits of a running module need systemd".into())) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        let list = scopes.values().map(|scope| scope.listed.clone()).collect();
        Box::pin(async move { Ok(list) })
    }

    fn watch(&self, uid: Uid) -> Option<watch::Receiver<State>> {
        self.scope(uid).map(|scope| scope.state)
    }
}

/// The task of one scope.
struct Keeper {
    uid: Uid,
    session: i32,
    terminate: Duration,
    sweeper: Sweeper,
    state: watch::Sender<State>,
    /// When SIGKILL follows; set by the first stop.
    kill_at: Option<Instant>,
    /// How far it had to go with a process that lived.
    reached: Reached,
}

impl Keeper {
    /// Returns when no process is left.
    async fn keep(mut self, mut child: Child, mut requested: mpsc::Receiver<Request>) -> (Uid, watch::Sender<State>, End) {
        let exit = loop {
            tokio::select! {
                status = child.wait() => break status.map_or(Exit::Unknown, Exit::from),
                Some(request) = requested.recv() => self.obey(request).await,
                () = until(self.kill_at) => self.kill_all().await,
            }
        };
        self.state.send_replace(State::Exited(exit));
        while !self.sweeper.members(self.uid, self.session).await.is_empty() {
            tokio::select! {
                Some(request) = requested.recv() => self.obey(request).await,
                () = until(self.kill_at) => self.kill_all().await,
                () = tokio::time::sleep(LINGER) => {}
            }
        }
        (self.uid, self.state, End { exit, reached: self.reached, exceeded: None })
    }

    async fn obey(&mut self, request: Request) {
        match request {
            Request::Stop if self.kill_at.is_some() => {}
            Request::Stop => {
                self.kill_at = Some(Instant::now() + self.terminate);
                if self.signal(Signal::SIGTERM as i32).await {
                    self.reached = Reached::Terminate;
                }
                // One that is stopped or frozen gets to see it.
                self.signal(Signal::SIGCONT as i32).await;
            }
            Request::Signal(signal) => {
                self.signal(signal).await;
            }
        }
    }

    /// Again and again until none is left, since one may fork while it is looked for.
    async fn kill_all(&mut self) {
        if self.signal(Signal::SIGKILL as i32).await {
            self.reached = Reached::Kill;
        }
        self.kill_at = Some(Instant::now() + LINGER);
    }

    /// Whether there was anybody to signal.
    async fn signal(&self, signal: i32) -> bool {
        let Ok(signal) = Signal::try_from(signal) else { return false };
        let mut reached = false;
        for pid in self.sweeper.members(self.uid, self.session).await {
            reached |= kill(Pid::from_raw(pid), signal).is_ok();
        }
        reached
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
