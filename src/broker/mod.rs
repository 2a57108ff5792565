//! The broker: one service that owns a queue or a pool and speaks to its clients.
//!
//! ```text
//!   client ──Request──▶ Broker ──reads────────────▶ Board (published snapshot)
//!                         │  ╲──tell──────────────▶ module::Handle
//!                         │                              ▲   │ events
//!                         └──changes──▶ Driver ──orders──┘   │
//!                                         ▲   └─publishes─▶ Board
//!                                         └──────────────────┘
//! ```
//!
//! **Invariants.** The driver task is the only one that touches the engine, and it never waits for a client, a module or a
//! disk. Reads are served from the board and wait for nobody. A change that was begun is carried out though its client goes
//! away.

mod board;
mod changes;
mod driver;
mod events;
mod extension;
mod history;
mod limits;
mod metrics;
#[cfg(test)]
mod model_tests;
mod report;
mod restart;
#[cfg(test)]
mod restart_tests;
mod status;
#[cfg(test)]
mod tests;
mod types;
mod watch;

pub use board::{Board, Item, Snapshot};
pub use history::{History, KEPT};

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::engine::{Engine, Place, Pool, Queue};
use crate::handover::{Keeper, Legacy};
use crate::launcher::Launcher;
use crate::module::Handle;
use crate::protocol::{Command, ProtocolError, Raw, Request, Response, Target, Uid, Verb, Wanted, raw, write_request};
use crate::record::{Namespace, Record, Row};
use crate::service::{Handler, Notifier, Reply};
use crate::settings::{Lists, Service};
use crate::store::{List, Store};
use driver::{Driver, Message};

/// Changes that may wait for the driver; a client beyond that waits for room.
const MESSAGE_CAPACITY: usize = 256;

/// How long to wait before a launcher that did not answer is asked again.
const LIST_PAUSE: Duration = Duration::from_secs(1);

/// Which kind of list a broker owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordered list, the top one plays.
    Queue,
    /// All play.
    Pool,
}

impl Kind {
    /// The word for it, in the settings and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Pool => "pool",
        }
    }

    /// An engine of this kind, without modules.
    #[must_use]
    pub fn engine(self) -> Engine {
        match self {
            Self::Queue => Engine::Queue(Queue::new()),
            Self::Pool => Engine::Pool(Pool::new()),
        }
    }

    /// Whether a service of this kind has the command.
    const fn has(self, verb: Verb) -> bool {
        match self {
            Self::Queue => verb.is_of_queues(),
            Self::Pool => verb.is_of_pools(),
        }
    }
}

/// What a broker is made of.
pub struct Configuration {
    /// Name of the service.
    pub name: String,
    /// Queue or pool.
    pub kind: Kind,
    /// The module types.
    pub types: Arc<Lists>,
    /// Longest line taken from a module, in bytes.
    pub max_line_bytes: usize,
    /// Whom the service's state is told.
    pub notifier: Notifier,
    /// Where the list is kept for the time after a reboot.
    pub store: Store,
    /// What was there at the start, to be launched again.
    pub stored: List,
}

impl Configuration {
    /// The configuration of a service of the settings; `None` where it is neither queue nor pool.
    #[must_use]
    pub fn of(name: &str, service: &Service, max_line_bytes: usize) -> Option<Self> {
        let (kind, types) = match service {
            Service::Queue(types) => (Kind::Queue, types.clone()),
            Service::Pool(types) => (Kind::Pool, types.clone()),
            Service::App(_) => return None,
        };
        let notifier = Notifier::silent();
        let (store, stored) = (Store::off(), List::default());
        Some(Self { name: name.to_owned(), kind, types: Arc::new(types), max_line_bytes, notifier, store, stored })
    }
}

/// One service. Clones are the same broker.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    kind: Kind,
    types: RwLock<Arc<Lists>>,
    board: Arc<Board>,
    driver: mpsc::Sender<Message>,
    record: Record,
}

impl Broker {
    /// Starts a broker; its driver task lives until [`Broker::drain`].
    #[must_use]
    pub fn start(configuration: Configuration, launcher: Arc<dyn Launcher>, record: Record) -> Self {
        Self::begin(configuration, launcher, record, (Keeper::off(), None))
    }

    /// Starts a broker where a process before has left it; what it does is kept by `keeper` for the next.
    #[must_use]
    pub fn resume(
        configuration: Configuration,
        launcher: Arc<dyn Launcher>,
        record: Record,
        keeper: Keeper,
        legacy: Legacy,
    ) -> Self {
        let name = configuration.name.clone();
        let broker = Self::begin(configuration, Arc::clone(&launcher), record, (keeper, Some(legacy)));
        let driver = broker.shared.driver.clone();
        tokio::spawn(async move {
            loop {
                match launcher.list(&name).await {
                    Ok(listed) => {
                        // Where the driver has ended, all has.
                        let _ = driver.send(Message::Listed(listed.into_iter().map(|listed| listed.uid).collect())).await;
                        return;
                    }
                    Err(error) => {
                        tracing::warn!("the launcher does not tell which modules there are: {error}");
                        tokio::time::sleep(LIST_PAUSE).await;
                    }
                }
            }
        });
        broker
    }

    fn begin(configuration: Configuration, launcher: Arc<dyn Launcher>, record: Record, kept: (Keeper, Option<Legacy>)) -> Self {
        let (driver, messages) = mpsc::channel(MESSAGE_CAPACITY);
        let board = Arc::new(Board::default());
        let shared = Shared {
            name: configuration.name.as_str().into(),
            kind: configuration.kind,
            types: RwLock::new(Arc::clone(&configuration.types)),
            board: Arc::clone(&board),
            driver,
            record: record.clone(),
        };
        tokio::spawn(Driver::new(configuration, launcher, record, board, kept).drive(messages));
        Self { shared: Arc::new(shared) }
    }

    /// What is published.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// Takes other module types, within other bounds, from now on; modules that live are left as they are.
    pub async fn set_types(&self, types: Arc<Lists>) {
        *self.shared.types.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&types);
        // Where the driver has ended there is nothing more to configure.
        let _ = self.shared.driver.send(Message::SetTypes(types)).await;
    }

    /// Answers once the driver has its turn; not at all where it is stuck.
    pub async fn ping(&self) {
        // One that has ended answers nobody anything any more.
        let _ = self.shared.ask(|reply| Message::Ping { reply }).await;
    }

    /// Takes nothing new and ends every module in order; returns when no process of any is left.
    pub async fn drain(&self) {
        let (done, is_done) = oneshot::channel();
        if self.shared.driver.send(Message::Drain { done }).await.is_ok() {
            let _ = is_done.await;
        }
    }
}

impl Shared {
    fn types(&self) -> Arc<Lists> {
        Arc::clone(&self.types.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers what can be answered at once; the rest is what it takes to answer it.
    fn read(&self, command: Command<'_>) -> Result<Answer, ProtocolError> {
        let now = |response| Answer::Now(Reply::Now(response));
        Ok(match command {
            Command::ModulesAvailable => now(Response::of(&self.types().modules.keys().collect::<Vec<_>>())),
            Command::BackgroundsAvailable => now(Response::of(&self.types().backgrounds.keys().collect::<Vec<_>>())),
            Command::Types => now(types::describe(&self.types())),
            Command::History(limit) => now(Response::of(&self.board.history().last(limit.unwrap_or(KEPT)))),
            Command::Status => Answer::Now(Reply::Later(Box::pin(self.report()))),
            Command::Watch { revision, timeout } => Answer::Now(Reply::News(Box::pin(self.watch(revision, timeout)))),
            Command::Metrics => now(metrics::describe(&self.name, self.kind, &self.types(), &self.board)),
            Command::List(wanted) if wanted.is_empty() => Answer::Now(Reply::Text(self.board.snapshot().plain())),
            Command::List(wanted) => now(self.board.snapshot().response(&wanted)),
            Command::Background(wanted) => now(self.background(&wanted)),
            Command::Ask { target, parameters } => {
                let module = self.find(target, ProtocolError::NotInQueue)?;
                let mut out = Vec::new();
                module.parameters().write(parameters.iter().map(AsRef::as_ref), &mut out);
                now(Response::result(into_raw(out)))
            }
            Command::Tell { target, cmd, args } => {
                let missing = if self.kind == Kind::Pool { ProtocolError::NotInPool } else { ProtocolError::NotInQueue };
                Answer::Later(Work::Tell { module: self.find(target, missing)?, cmd, args })
            }
            Command::Add { type_name, args } => {
                let place = Place::List;
                Answer::Later(Work::Add { type_name: self.type_name(type_name, place)?, args, place })
            }
            Command::SetBackground { type_name, args } => {
                let place = Place::Background;
                Answer::Later(Work::Add { type_name: self.type_name(type_name, place)?, args, place })
            }
            Command::Remove(uids) => Answer::Later(Work::Remove(uids)),
            Command::Move(uids) => Answer::Later(Work::Move(uids)),
        })
    }

    fn report(&self) -> impl Future<Output = Response> + Send + 'static {
        let (name, kind, snapshot) = (Arc::clone(&self.name), self.kind, self.board.snapshot());
        let ending = self.board.ending();
        let reading = move || report::report(&name, kind, &snapshot, &ending);
        async {
            let read = tokio::task::spawn_blocking(reading).await;
            read.unwrap_or_else(|error| ProtocolError::Said(error.to_string()).into())
        }
    }

    fn watch(&self, revision: Option<u64>, patience: u64) -> impl Future<Output = Response> + Send + 'static {
        let (name, kind, board) = (Arc::clone(&self.name), self.kind, Arc::clone(&self.board));
        async move { watch::watch(&board, &name, kind, revision, patience).await }
    }

    fn type_name(&self, name: Option<std::borrow::Cow<'_, str>>, place: Place) -> Result<String, ProtocolError> {
        let types = self.types();
        let types = types.of(place == Place::Background);
        name.filter(|name| types.contains_key(name.as_ref())).map(Into::into).ok_or(ProtocolError::UnknownType)
    }

    fn find(&self, target: Target, missing: ProtocolError) -> Result<Arc<Handle>, ProtocolError> {
        match target {
            Target::Module(uid) => uid.and_then(|uid| self.board.find(uid)).ok_or(missing),
            Target::Background(uid) => {
                let background = self.board.snapshot().background().map(|item| Arc::clone(&item.module));
                let background = background.ok_or(ProtocolError::NoBackground)?;
                if uid == Some(background.uid()) { Ok(background) } else { Err(ProtocolError::NotTheBackground) }
            }
        }
    }

    fn background(&self, wanted: &Wanted<'_>) -> Response {
        match self.board.snapshot().background() {
            None => Response::DONE,
            Some(item) => {
                let mut out = Vec::new();
                item.write(wanted, &mut out);
                Response::result(into_raw(out))
            }
        }
    }

    async fn carry_out(&self, work: Work) -> Response {
        match work {
            Work::Tell { module, cmd, args } => {
                let response = module.tell(&cmd, args).await.into();
                self.board.log(module.uid(), || match &response {
                    Response::Success(_) => format!("do_{cmd}: done"),
                    Response::Failure(error) => format!("do_{cmd}: {error}"),
                });
                response
            }
            Work::Add { type_name, args, place } => {
                let added = self.ask(|reply| Message::Add { type_name, args, place, reply }).await;
                match added.and_then(|uid| {
                    raw(&serde_json::json!({ "uid": uid.to_string() })).map_err(|e| ProtocolError::Said(e.to_string()))
                }) {
                    Ok(result) => Response::result(result),
                    Err(error) => error.into(),
                }
            }
            Work::Remove(uids) => self.ask(|reply| Message::Remove { uids, reply }).await.map(|()| Response::DONE).into(),
            Work::Move(uids) => self.ask(|reply| Message::Move { uids, reply }).await.map(|()| Response::DONE).into(),
        }
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, ProtocolError>>) -> Message,
    ) -> Result<T, ProtocolError> {
        let (reply, replied) = oneshot::channel();
        self.driver.send(message(reply)).await.map_err(|_| ProtocolError::ShuttingDown)?;
        replied.await.unwrap_or(Err(ProtocolError::ShuttingDown))
    }

    fn record(&self, input: String, response: &Response) {
        let namespace = if self.kind == Kind::Queue { Namespace::ClientQueue } else { Namespace::ClientPool };
        self.record.write(Row { uid: None, namespace, input, output: response.to_text() });
    }
}

/// What it takes to answer a command.
enum Answer {
    Now(Reply<'static>),
    Later(Work),
}

/// What has to be done before a command can be answered.
enum Work {
    Tell { module: Arc<Handle>, cmd: String, args: Option<Raw> },
    Add { type_name: String, args: Option<Raw>, place: Place },
    Remove(Vec<Uid>),
    Move(Vec<Uid>),
}

impl Handler for Broker {
    fn call<'a>(&'a self, request: Request<'a>) -> Reply<'a> {
        let shared = &self.shared;
        let verb = request.cmd.as_deref().and_then(Verb::from_name).filter(|verb| shared.kind.has(*verb));
        let Some(verb) = verb else { return Reply::Now(ProtocolError::BadCommand.into()) };
        let answer = Command::parse(verb, &request).and_then(|command| shared.read(command));
        let input = (verb.is_recorded() && shared.record.is_on()).then(|| {
            let mut line = Vec::new();
            write_request(verb.name(), request.raw_args, &mut line);
            String::from_utf8(line).unwrap_or_default()
        });
        let work = match answer {
            Ok(Answer::Now(reply)) => return reply,
            Ok(Answer::Later(work)) => Ok(work),
            Err(error) => Err(error),
        };
        Reply::Later(Box::pin(async move {
            let response = match work {
                Ok(work) => shared.carry_out(work).await,
                Err(error) => error.into(),
            };
            if let Some(input) = input {
                shared.record(input, &response);
            }
            response
        }))
    }
}

/// JSON that was written piece by piece, as a value.
fn into_raw(json: Vec<u8>) -> Raw {
    String::from_utf8(json).ok().and_then(|text| RawValue::from_string(text).ok()).unwrap_or_else(crate::protocol::raw_null)
}
