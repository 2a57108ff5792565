//! The connection to a manager: made when it is needed, made again when it is lost, and never waited for without end.
//!
//! ```text
//!   call ──▶ connected? ──no──▶ connect, AddMatch, Subscribe ──▶ ask ──▶ answered: done
//!    ▲                                                            │
//!    └───────────── a short pause, until PATIENCE is over ◀───────┴─ not delivered, or lost and safe to repeat
//! ```
//!
//! A restart of the bus, `daemon-reload` and `daemon-reexec` thus cost the callers a short wait and nothing else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use zbus::fdo::Error as Standard;
use zbus::proxy::CacheProperties;
use zbus::{Connection, DBusError as _, MessageStream, OwnedVariant, connection::Builder};

use super::super::ScopeError;
use super::jobs::{Ears, RULES, read};
use super::manager::{ManagerProxy, PropertiesProxy};

/// How long one call may take. The manager answers in milliseconds; it is busy for longest at a `daemon-reload`.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a call is repeated where the manager cannot be reached.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The pause before the first repetition; doubled each time, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How many calls may be under way at once: the system bus refuses more than 128 of one connection (`max_replies_per_connection`,
/// dbus-daemon(1)), as when thousands of modules end at the same time.
const MOST_CALLS: usize = 64;

/// The object of a manager itself.
const MANAGER: &str = "/org/freedesktop/systemd1";

/// Which manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// That of the system, which takes orders from root.
    System,
    /// That of this process's user, which needs no privilege.
    User,
}

/// Why a call had no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The manager said no.
    Refused {
        /// Name of the D-Bus error.
        name: String,
        /// Its sentence.
        sentence: String,
    },
    /// The manager never saw it.
    NotDelivered(String),
    /// Nobody knows whether the manager did it.
    NoAnswer(String),
}

impl Trouble {
    /// Whether the manager knows no such unit.
    pub(super) fn is_no_such_unit(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.systemd1.NoSuchUnit")
    }

    /// Whether there is a unit of that name already.
    pub(super) fn is_unit_exists(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.systemd1.UnitExists")
    }

    /// The sentence of a refused property.
    pub(super) fn refused_property(&self) -> Option<&str> {
        match self {
            Self::Refused { name, sentence } if name == "org.freedesktop.DBus.Error.PropertyReadOnly" => Some(sentence),
            _ => None,
        }
    }
}

impl From<Trouble> for ScopeError {
    fn from(trouble: Trouble) -> Self {
        Self::System(match trouble {
            Trouble::Refused { sentence, .. } => format!("systemd refused: {}", sentence.trim_end_matches('.')),
            Trouble::NotDelivered(reason) => format!("systemd cannot be reached: {reason}"),
            Trouble::NoAnswer(reason) => format!("systemd does not answer: {reason}"),
        })
    }
}

impl From<zbus::Error> for Trouble {
    fn from(error: zbus::Error) -> Self {
        let sentence = error.to_string();
        match error {
            zbus::Error::MethodError(name, detail, _) => {
                Self::Refused { name: name.to_string(), sentence: detail.unwrap_or(sentence) }
            }
            zbus::Error::FDO(error) => match *error {
                // Said by the bus, before the manager has its name there; the message went nowhere.
                Standard::ServiceUnknown(_)
                | Standard::NameHasNoOwner(_)
                | Standard::LimitsExceeded(_)
                | Standard::SpawnExecFailed(_)
                | Standard::SpawnForkFailed(_)
                | Standard::SpawnChildExited(_)
                | Standard::SpawnChildSignaled(_)
                | Standard::SpawnFailed(_)
                | Standard::SpawnFailedToSetup(_)
                | Standard::SpawnServiceNotFound(_) => Self::NotDelivered(sentence),
                // Said by the bus when the manager's own connection went, by a `daemon-reexec` or a crash.
                Standard::NoReply(_) | Standard::Disconnected(_) | Standard::Timeout(_) | Standard::TimedOut(_) => {
                    Self::NoAnswer(sentence)
                }
                Standard::ZBus(error) => error.into(),
                error => Self::Refused {
                    name: error.name().to_string(),
                    sentence: error.description().map_or(sentence, str::to_owned),
                },
            },
            zbus::Error::Connection(..) | zbus::Error::Handshake(_) | zbus::Error::Address(_) => Self::NotDelivered(sentence),
            _ => Self::NoAnswer(sentence),
        }
    }
}

/// Whether a call may be made again where nobody knows whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is doing it once.
    Always,
    /// Only where the manager never saw it.
    IfNotDelivered,
}

/// One manager.
#[derive(Debug)]
pub(super) struct Bus {
    which: Which,
    live: Mutex<Option<Live>>,
    /// Calls that may wait for their answers at once.
    calls: Semaphore,
    pub(super) ears: Arc<Ears>,
}

#[derive(Debug)]
struct Live {
    connection: Connection,
    manager: ManagerProxy<'static>,
    /// Ends with this connection: it holds the connection open.
    _reader: AbortOnDropHandle<()>,
}

impl Bus {
    pub(super) fn new(which: Which) -> Self {
        Self { which, live: Mutex::default(), calls: Semaphore::new(MOST_CALLS), ears: Arc::default() }
    }

    /// Asks the manager, as often as it takes and is safe.
    pub(super) async fn call<T, F>(&self, repeat: Repeat, ask: impl Fn(ManagerProxy<'static>) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = zbus::Result<T>>,
    {
        self.call_for(PATIENCE, repeat, ask).await
    }

    /// As [`Bus::call`], with as much `patience`.
    pub(super) async fn call_for<T, F>(
        &self,
        patience: Duration,
        repeat: Repeat,
        ask: impl Fn(ManagerProxy<'static>) -> F,
    ) -> Result<T, Trouble>
    where
        F: Future<Output = zbus::Result<T>>,
    {
        let give_up = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let trouble = match self.call_once(&ask).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            let repeated = match trouble {
                Trouble::Refused { .. } => false,
                Trouble::NotDelivered(_) => true,
                Trouble::NoAnswer(_) => repeat == Repeat::Always,
            };
            if !repeated || Instant::now() + pause > give_up {
                return Err(trouble);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks the manager once.
    pub(super) async fn call_once<T, F>(&self, ask: impl Fn(ManagerProxy<'static>) -> F) -> Result<T, Trouble>
    where
        F: Future<Output = zbus::Result<T>>,
    {
        // Never closed. Its turn comes soon: each that is before it has a deadline.
        let _turn = self.calls.acquire().await;
        let manager = self.manager().await?;
        match timeout(CALL_DEADLINE, ask(manager)).await {
            Ok(answer) => answer.map_err(Trouble::from),
            Err(_) => Err(Trouble::NoAnswer(format!("nothing heard for {} s", CALL_DEADLINE.as_secs()))),
        }
    }

    /// A property of the object at `path`.
    pub(super) async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedVariant, Trouble> {
        self.call(Repeat::Always, |manager| async move { properties(&manager, path).await?.get(interface, name).await }).await
    }

    /// The manager's version, asked for once.
    pub(super) async fn version(&self) -> Result<String, Trouble> {
        let version = self.call_once(|manager| async move {
            let properties = properties(&manager, manager.inner().path().as_str()).await?;
            properties.get("org.freedesktop.systemd1.Manager", "Version").await
        });
        Ok(version.await?.downcast_ref::<&str>().unwrap_or_default().to_owned())
    }

    /// How many tasks a scope may have whose `TasksMax` nobody has set.
    pub(super) async fn default_tasks(&self) -> Result<u64, Trouble> {
        let tasks = self.property(MANAGER, "org.freedesktop.systemd1.Manager", "DefaultTasksMax").await?;
        Ok(tasks.downcast_ref::<u64>().unwrap_or(u64::MAX))
    }

    async fn manager(&self) -> Result<ManagerProxy<'static>, Trouble> {
        let mut live = self.live.lock().await;
        if let Some(live) = live.as_ref().filter(|live| !live.connection.is_closed()) {
            if self.ears.take_unsubscribed()
                && let Err(trouble) = subscribe(&live.manager).await
            {
                self.ears.must_subscribe();
                return Err(trouble);
            }
            return Ok(live.manager.clone());
        }
        if live.take().is_some() {
            // Its reader may have been cut off before it could say so.
            self.ears.missed();
        }
        let new = timeout(CONNECT_DEADLINE, self.connect()).await;
        let new = new.map_err(|_| Trouble::NotDelivered("the bus does not answer".to_owned()))?;
        let new = new.map_err(|error| Trouble::NotDelivered(error.to_string()))?;
        self.ears.take_unsubscribed();
        subscribe(&new.manager).await?;
        let manager = new.manager.clone();
        *live = Some(new);
        Ok(manager)
    }

    async fn connect(&self) -> zbus::Result<Live> {
        let builder = match self.which {
            Which::System => Builder::system(),
            Which::User => session(),
        };
        let connection = builder.method_timeout(CALL_DEADLINE).build().await?;
        // Read from the first signal on.
        let reader = tokio::spawn(read(MessageStream::from(&connection), Arc::clone(&self.ears)));
        let reader = AbortOnDropHandle::new(reader);
        for rule in RULES {
            let bus = Some("org.freedesktop.DBus");
            connection.call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule).await?;
        }
        let manager = ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
        Ok(Live { connection, manager, _reader: reader })
    }
}

/// The properties of the object at `path`.
async fn properties(manager: &ManagerProxy<'_>, path: &str) -> zbus::Result<PropertiesProxy<'static>> {
    let path = zbus::ObjectPath::try_from(path.to_owned())?;
    PropertiesProxy::builder(manager.inner().connection()).path(path).cache_properties(CacheProperties::No).build().await
}

/// The user's bus, as `sd_bus_default_user` finds it, and where a login would have put it.
fn session() -> Builder<'static> {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("DBUS_SESSION_BUS_ADDRESS") || set("XDG_RUNTIME_DIR") {
        return Builder::session();
    }
    let address = format!("unix:path=/run/user/{}/bus", nix::unistd::geteuid());
    Builder::address(address.as_str())
}

/// Without it, a manager signals nothing but jobs, and these only to whom asked for them.
async fn subscribe(manager: &ManagerProxy<'_>) -> Result<(), Trouble> {
    match timeout(CALL_DEADLINE, manager.subscribe()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => match Trouble::from(error) {
            Trouble::Refused { name, .. } if name == "org.freedesktop.systemd1.AlreadySubscribed" => Ok(()),
            trouble @ Trouble::Refused { .. } => Err(trouble),
            // Whatever was asked for has not been asked for yet.
            Trouble::NotDelivered(reason) | Trouble::NoAnswer(reason) => Err(Trouble::NotDelivered(reason)),
        },
        Err(_) => Err(Trouble::NotDelivered(format!("nothing heard for {} s", CALL_DEADLINE.as_secs()))),
    }
}
