//! The launcher's side of the socket: what runs with privilege for somebody who has none.
//!
//! ```text
//!   connection ──▶ who is it? ──no──▶ closed, and said in the log
//!                     │ root, this process's user, or one that is named
//!                     ▼
//!   questions ──▶ a task each ──▶ Local ──▶ Scopes
//!   answers   ◀──────┴──── states of what was launched or watched
//! ```
//!
//! **Invariants.** A module whose launch nobody is there to hear of is stopped. A caller that does not read its answers
//! stalls itself and nobody else.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wire::{self, Answer, Ask, LONGEST_QUESTION, Message, Question};
use super::{Launch, LaunchError, Launcher as _, Local};
use crate::protocol::{LineBuffer, Uid};
use crate::scope::{BoxFuture, End, Exit, Reached, State, service_of_process};

/// Questions of one caller in hand at once; further ones are read later.
const IN_HAND: usize = 256;
/// Answers and states that may wait for a caller to read them.
const UNREAD: usize = 1024;
/// How long after a failed accept the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How much is read at once, in bytes.
const READ_BYTES: usize = 4096;

/// Reads the settings again and launches by them from now on; or says in one sentence why it cannot, and leaves all as it
/// was.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Answers the users with these ids on `listener` until `shutdown`, and then until each question that was begun is
/// answered. Scopes end with the unit of the caller that asked for them.
pub async fn serve(listener: UnixListener, local: Local, users: Arc<[u32]>, reload: Reload, shutdown: CancellationToken) {
    let callers = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((socket, _)) => {
                if let Some(local) = admit(&socket, &local, &users) {
                    callers.spawn(converse(socket, local, Arc::clone(&reload), shutdown.clone()));
                }
            }
            Err(error) => {
                // No descriptors left, say: it waits in the backlog meanwhile.
                tracing::warn!("a broker could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    callers.close();
    callers.wait().await;
}

/// What answers this caller; `None` for one that is refused.
fn admit(socket: &UnixStream, local: &Local, users: &[u32]) -> Option<Local> {
    let caller = match socket.peer_cred() {
        Ok(caller) => caller,
        Err(error) => {
            tracing::warn!("a caller is refused, since nobody knows who it is: {error}");
            return None;
        }
    };
    let pid = caller.pid().and_then(|pid| u32::try_from(pid).ok());
    if !users.contains(&caller.uid()) {
        let pid = pid.map_or_else(String::new, |pid| format!(", process {pid},"));
        tracing::warn!("user {}{pid} is refused: it is no user that modules are launched for", caller.uid());
        return None;
    }
    Some(local.clone().part_of(pid.and_then(service_of_process)))
}

/// One caller, from its first question to its last answer.
async fn converse(socket: UnixStream, local: Local, reload: Reload, shutdown: CancellationToken) {
    let (reading, mut writing) = socket.into_split();
    let (messages, mut unread) = mpsc::channel(UNREAD);
    let caller = Caller { local, reload, messages };
    let mut reading = pin!(caller.take_questions(reading, &shutdown));
    let (mut lines, mut launched) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            // What is answered already is written before the connection ends.
            biased;
            Some(message) = unread.recv() => {
                let mut next = Some(message);
                while let Some(message) = next {
                    wire::write(&message, &mut lines);
                    launched.extend(message.launched());
                    next = unread.try_recv().ok();
                }
                if writing.write_all(&lines).await.is_err() {
                    for uid in launched {
                        stop_unheard(&caller.local, uid).await;
                    }
                    return;
                }
                lines.clear();
                launched.clear();
            }
            () = &mut reading => return,
        }
    }
}

/// Stops a module of whose launch nobody has heard.
async fn stop_unheard(local: &Local, uid: Uid) {
    if let Err(error) = local.stop(uid).await {
        tracing::error!("module {} that nobody waits for could not be stopped: {error}", uid.short());
    }
}

#[derive(Clone)]
struct Caller {
    local: Local,
    reload: Reload,
    messages: mpsc::Sender<Message>,
}

impl Caller {
    /// Until the caller is gone or says nonsense, or until `shutdown` and the end of what was begun.
    async fn take_questions(&self, reading: OwnedReadHalf, shutdown: &CancellationToken) {
        let in_hand = Arc::new(Semaphore::new(IN_HAND));
        tokio::select! {
            result = self.read(reading, &in_hand) => if let Err(error) = result {
                tracing::warn!("a broker's connection is closed: {error}");
            },
            () = shutdown.cancelled() => {
                let all = u32::try_from(IN_HAND).unwrap_or(u32::MAX);
                let _ = in_hand.acquire_many(all).await;
            }
        }
    }

    async fn read(&self, mut reading: OwnedReadHalf, in_hand: &Arc<Semaphore>) -> std::io::Result<()> {
        let mut buffer = LineBuffer::new(LONGEST_QUESTION);
        loop {
            while let Some(line) = buffer.next_line() {
                let line = line.map_err(std::io::Error::other)?;
                let question: Question = serde_json::from_slice(&line).map_err(std::io::Error::other)?;
                let permit = Arc::clone(in_hand).acquire_owned().await.map_err(std::io::Error::other)?;
                let caller = self.clone();
                // A task of its own: it is carried out though the caller goes away.
                tokio::spawn(async move {
                    caller.answer(question).await;
                    drop(permit);
                });
            }
            if reading.read_buf(buffer.space(READ_BYTES)).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn answer(self, Question { id, ask }: Question) {
        let local = &self.local;
        let done = |result: Result<(), crate::scope::ScopeError>| result.map(|()| Answer::Done).map_err(LaunchError::from);
        let result = match ask {
            Ask::Launch(launch) => return self.launch(id, launch).await,
            Ask::Watch(uid) => return self.watch(id, uid).await,
            Ask::Stop(uid) => done(local.stop(uid).await),
            Ask::Kill(uid, signal) => done(local.kill(uid, signal).await),
            Ask::Freeze(uid) => done(local.freeze(uid).await),
            Ask::Thaw(uid) => done(local.thaw(uid).await),
            Ask::SetLimits(uid, module_type) => local.set_limits(uid, module_type).await.map(|()| Answer::Done),
            Ask::Reload => (self.reload)().await.map(|()| Answer::Done).map_err(LaunchError::Settings),
            Ask::Job => local.job().await.map(Answer::Job).map_err(LaunchError::from),
            Ask::List(service) => local.list(&service).await.map(Answer::List).map_err(LaunchError::from),
        };
        self.say(Message::Answer { id, result }).await;
    }

    async fn launch(self, id: u64, launch: Launch) {
        let uid = launch.uid;
        let launched = match self.local.launch(launch).await {
            Ok(launched) => launched,
            Err(error) => {
                self.say(Message::Answer { id, result: Err(error) }).await;
                return;
            }
        };
        let answer = Answer::Launched { uid, pid: launched.pid, cgroup: launched.cgroup };
        if self.say(Message::Answer { id, result: Ok(answer) }).await {
            tokio::spawn(self.follow(uid, launched.state));
        } else {
            stop_unheard(&self.local, uid).await;
        }
    }

    async fn watch(self, id: u64, uid: Uid) {
        match self.local.watch(uid).await {
            Ok(state) => {
                self.say(Message::Answer { id, result: Ok(Answer::Done) }).await;
                tokio::spawn(self.follow(uid, state));
            }
            Err(error) => {
                self.say(Message::Answer { id, result: Err(error.into()) }).await;
            }
        }
    }

    /// Tells each state of a module, the present one first, until it or the caller is gone. How it ends is remembered for the
    /// next caller: whether this one has heard it, nobody knows.
    async fn follow(self, uid: Uid, mut states: watch::Receiver<State>) {
        loop {
            let mut state = *states.borrow_and_update();
            if !state.is_gone() && states.has_changed().is_err() {
                // It came to nothing.
                state = State::Gone(End { exit: state.exit().unwrap_or(Exit::Unknown), reached: Reached::Exit, exceeded: None });
            }
            if state.is_gone() {
                self.local.remember(uid, states.clone());
            }
            if !self.say(Message::State { uid, state }).await {
                break;
            }
            if state.is_gone() {
                return;
            }
            tokio::select! {
                _ = states.changed() => {}
                () = self.messages.closed() => break,
            }
        }
        self.local.remember(uid, states);
    }

    /// Whether the caller is there still.
    async fn say(&self, message: Message) -> bool {
        self.messages.send(message).await.is_ok()
    }
}
