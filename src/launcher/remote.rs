//! The broker's side of the socket: a [`Launcher`] that asks the program `shmooze-launcher`.
//!
//! ```text
//!   Remote ──Asked{ask, answer}──▶ Link (one task) ◀── Unix socket ──▶ shmooze-launcher
//!                                    │ questions without an answer, states of living modules
//!                                    ╰─ connection lost: connects anew, asks again what may be asked twice,
//!                                       has a launch of unknown end stopped, watches what lives
//! ```
//!
//! **Invariants.** Each question is answered, at the latest after [`PATIENCE`]. A launch that is answered with an error
//! leaves no module. A state never goes back, however often the launcher is started anew.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{self, Answer, Ask, Message, Question, scope_error};
use super::{Launch, LaunchError, Launcher, TypeName};
use crate::protocol::{DEFAULT_MAX_LINE_BYTES, LineBuffer, Uid};
use crate::scope::{BoxFuture, End, Exit, Launched, Listed, Reached, ScopeError, State};

/// How long a question may wait for its answer, a launcher that is being started anew included.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait before connecting again, doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Questions that may wait for the link; one beyond that waits for room.
const QUESTIONS: usize = 256;
/// How much is read at once, in bytes.
const READ_BYTES: usize = 8 * 1024;

/// Asks a launcher at the other end of a Unix socket. Clones share one connection.
#[derive(Debug, Clone)]
pub struct Remote {
    asked: mpsc::Sender<Asked>,
}

/// A question and whom to answer.
#[derive(Debug)]
struct Asked {
    ask: Ask,
    answer: oneshot::Sender<Result<Answered, LaunchError>>,
}

#[derive(Debug)]
enum Answered {
    Answer(Answer),
    Launched(Launched),
    Watched(watch::Receiver<State>),
}

impl Remote {
    /// Asks at the socket `path`; connects when there is something to ask. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let (asked, questions) = mpsc::channel(QUESTIONS);
        tokio::spawn(Link::new(path).hold(questions));
        Self { asked }
    }

    /// Has the launcher read its settings again, so that it launches by the same as whoever asks.
    ///
    /// # Errors
    /// [`LaunchError::Settings`] where it cannot use them.
    pub async fn reload(&self) -> Result<(), LaunchError> {
        self.ask(Ask::Reload).await.map(|_| ())
    }

    async fn ask(&self, ask: Ask) -> Result<Answered, LaunchError> {
        let gone = || LaunchError::Scope(ScopeError::System("the link to the launcher has ended".to_owned()));
        let (answer, answered) = oneshot::channel();
        self.asked.send(Asked { ask, answer }).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    fn done(&self, ask: Ask) -> BoxFuture<'_, Result<(), ScopeError>> {
        Box::pin(async move { self.ask(ask).await.map(|_| ()).map_err(scope_error) })
    }
}

/// An answer of another kind than that of the question.
fn nonsense() -> ScopeError {
    ScopeError::System("the launcher answers something else than it was asked".to_owned())
}

impl Launcher for Remote {
    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Launched, LaunchError>> {
        Box::pin(async move {
            match self.ask(Ask::Launch(launch)).await? {
                Answered::Launched(launched) => Ok(launched),
                _ => Err(nonsense().into()),
            }
        })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.done(Ask::Stop(uid))
    }

    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.done(Ask::Kill(uid, signal))
    }

    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.done(Ask::Freeze(uid))
    }

    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.done(Ask::Thaw(uid))
    }

    fn set_limits(&self, uid: Uid, module_type: TypeName) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(async move { self.ask(Ask::SetLimits(uid, module_type)).await.map(|_| ()) })
    }

    fn watch(&self, uid: Uid) -> BoxFuture<'_, Result<watch::Receiver<State>, ScopeError>> {
        Box::pin(async move {
            match self.ask(Ask::Watch(uid)).await.map_err(scope_error)? {
                Answered::Watched(state) => Ok(state),
                _ => Err(nonsense()),
            }
        })
    }

    fn job(&self) -> BoxFuture<'_, Result<Option<String>, ScopeError>> {
        Box::pin(async move {
            match self.ask(Ask::Job).await.map_err(scope_error)? {
                Answered::Answer(Answer::Job(job)) => Ok(job),
                _ => Err(nonsense()),
            }
        })
    }

    fn list(&self, service: &str) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        let ask = Ask::List(service.to_owned());
        Box::pin(async move {
            match self.ask(ask).await.map_err(scope_error)? {
                Answered::Answer(Answer::List(list)) => Ok(list),
                _ => Err(nonsense()),
            }
        })
    }
}

/// A question without an answer.
struct Open {
    ask: Ask,
    /// `None` where the link itself asks.
    answer: Option<oneshot::Sender<Result<Answered, LaunchError>>>,
    /// Whether the launcher may have heard of it.
    sent: bool,
    /// When whoever asks has waited long enough.
    give_up: Instant,
}

impl Open {
    fn answer(self, result: Result<Answered, LaunchError>) {
        if let Some(answer) = self.answer {
            // Who asked may have gone away.
            let _ = answer.send(result);
        }
    }
}

/// The task that owns the connection.
struct Link {
    path: PathBuf,
    next_id: u64,
    /// By their numbers, in the order in which they were asked.
    open: BTreeMap<u64, Open>,
    /// Of modules that are not gone.
    states: HashMap<Uid, watch::Sender<State>>,
    /// Lines for the launcher.
    unsent: Vec<u8>,
    connected: bool,
    pause: Duration,
    /// Whether it was said in the log that the launcher does not answer.
    complained: bool,
}

impl Link {
    fn new(path: PathBuf) -> Self {
        let (open, states) = (BTreeMap::new(), HashMap::new());
        Self { path, next_id: 0, open, states, unsent: Vec::new(), connected: false, pause: FIRST_PAUSE, complained: false }
    }

    /// Until nobody can ask for anything any more.
    async fn hold(mut self, mut questions: mpsc::Receiver<Asked>) {
        loop {
            // Without a question and without a module there is nothing to connect for.
            while self.open.is_empty() && self.states.is_empty() {
                match questions.recv().await {
                    Some(asked) => self.take(asked),
                    None => return,
                }
            }
            let error = match timeout(PATIENCE, UnixStream::connect(&self.path)).await {
                Ok(Ok(socket)) => {
                    self.connected = true;
                    self.ask_again();
                    match self.converse(socket, &mut questions).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            self.lost(&error);
            let pause = sleep_until(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    asked = questions.recv() => match asked {
                        Some(asked) => self.take(asked),
                        None => return,
                    },
                }
            }
            self.give_up_expired();
        }
    }

    /// Until the connection breaks, or until nobody can ask any more.
    async fn converse(&mut self, mut socket: UnixStream, questions: &mut mpsc::Receiver<Asked>) -> io::Result<()> {
        let (mut reading, mut writing) = socket.split();
        // What a launcher says is not longer than a list of all modules.
        let mut buffer = LineBuffer::new(DEFAULT_MAX_LINE_BYTES);
        loop {
            let give_up = self.open.values().map(|open| open.give_up).min();
            tokio::select! {
                read = reading.read_buf(buffer.space(READ_BYTES)) => {
                    if read? == 0 {
                        return Err(io::Error::other("it ended the connection"));
                    }
                    while let Some(line) = buffer.next_line() {
                        let line = line.map_err(io::Error::other)?;
                        self.hear(serde_json::from_slice(&line)?);
                    }
                    self.pause = FIRST_PAUSE;
                    if std::mem::take(&mut self.complained) {
                        tracing::info!("the launcher answers again");
                    }
                }
                written = writing.write(&self.unsent), if !self.unsent.is_empty() => {
                    self.unsent.drain(..written?);
                }
                asked = questions.recv() => match asked {
                    Some(asked) => self.take(asked),
                    None => return Ok(()),
                },
                () = sleep_until(give_up.unwrap_or_else(Instant::now)), if give_up.is_some() => self.give_up_expired(),
            }
        }
    }

    fn take(&mut self, Asked { ask, answer }: Asked) {
        self.ask(Open { ask, answer: Some(answer), sent: false, give_up: Instant::now() + PATIENCE });
    }

    /// A question of the link itself, whose answer is needed by nobody else.
    fn ask_oneself(&mut self, ask: Ask) {
        self.ask(Open { ask, answer: None, sent: false, give_up: Instant::now() + PATIENCE });
    }

    fn ask(&mut self, open: Open) {
        self.next_id += 1;
        // Whatever is open when a connection is made is asked then.
        if self.connected {
            wire::write(&Question { id: self.next_id, ask: open.ask.clone() }, &mut self.unsent);
        }
        self.open.insert(self.next_id, Open { sent: self.connected, ..open });
    }

    /// On a new connection: all that is open, and the states of all that lives.
    fn ask_again(&mut self) {
        self.unsent.clear();
        for open in std::mem::take(&mut self.open).into_values() {
            self.ask(open);
        }
        let uids: Vec<Uid> = self.states.keys().copied().collect();
        for uid in uids {
            self.ask_oneself(Ask::Watch(uid));
        }
    }

    /// The connection is lost, or could not be made.
    fn lost(&mut self, error: &io::Error) {
        self.connected = false;
        let path = self.path.display();
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!("the launcher at {path} does not answer: {error}");
        }
        let broken: Vec<u64> = self.open.iter().filter(|(_, open)| !open.ask.can_be_repeated()).map(|(id, _)| *id).collect();
        let error = ScopeError::System(format!("the launcher at {path} does not answer: {error}"));
        for id in broken {
            if let Some(open) = self.open.remove(&id) {
                self.give_up(open, error.clone());
            }
        }
        // What lives is asked for on the next connection anyway.
        self.open.retain(|_, open| open.answer.is_some() || matches!(open.ask, Ask::Stop(_)));
    }

    fn give_up_expired(&mut self) {
        let now = Instant::now();
        let expired: Vec<u64> = self.open.iter().filter(|(_, open)| open.give_up <= now).map(|(id, _)| *id).collect();
        for id in expired {
            if let Some(open) = self.open.remove(&id) {
                self.give_up(open, ScopeError::System(format!("the launcher at {} does not answer", self.path.display())));
            }
        }
    }

    fn give_up(&mut self, open: Open, error: ScopeError) {
        if let Ask::Launch(launch) = &open.ask
            && open.sent
        {
            // Whatever has come of it, nobody waits for it any more.
            self.ask_oneself(Ask::Stop(launch.uid));
        }
        open.answer(Err(error.into()));
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::State { uid, state } => self.advance(uid, state),
            Message::Answer { id, result } => {
                // One that was given up may be answered yet.
                let Some(open) = self.open.remove(&id) else { return };
                let result = match (&open.ask, result) {
                    (Ask::Launch(launch), Ok(Answer::Launched { pid, cgroup, .. })) => {
                        let state = self.follow(launch.uid);
                        Ok(Answered::Launched(Launched { pid, cgroup, state }))
                    }
                    (Ask::Watch(uid), Ok(_)) => Ok(Answered::Watched(self.follow(*uid))),
                    (Ask::Watch(uid), Err(error)) => {
                        // It has ended while nobody could say how.
                        let end = End { exit: Exit::Unknown, reached: Reached::Exit, exceeded: None };
                        if matches!(error, LaunchError::Scope(ScopeError::NoSuchScope(_))) {
                            self.advance(*uid, State::Gone(end));
                        }
                        Err(error)
                    }
                    (_, result) => result.map(Answered::Answer),
                };
                open.answer(result);
            }
        }
    }

    fn follow(&mut self, uid: Uid) -> watch::Receiver<State> {
        self.states.entry(uid).or_insert_with(|| watch::Sender::new(State::Running)).subscribe()
    }

    fn advance(&mut self, uid: Uid, state: State) {
        let Some(sender) = self.states.get(&uid) else { return };
        // A launcher that was started anew knows less than this one has heard.
        let goes_back = state == State::Running && *sender.borrow() != State::Running;
        if !goes_back {
            let exit = sender.borrow().exit();
            sender.send_replace(match (state, exit) {
                (State::Gone(end), Some(exit)) if end.exit == Exit::Unknown => State::Gone(End { exit, ..end }),
                (State::Exited(Exit::Unknown), Some(exit)) => State::Exited(exit),
                _ => state,
            });
        }
        if state.is_gone() {
            self.states.remove(&uid);
        }
    }
}
