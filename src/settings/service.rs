//! The services that the settings configure: queues, pools, and an application's own programs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Limit, Restart};

/// One entry of `services`.
#[derive(Debug, Clone, PartialEq)]
pub enum Service {
    /// A queue (protocol.md section 3); its `kind` is `queue`.
    Queue(Lists),
    /// A pool (protocol.md section 4); its `kind` is `pool`.
    Pool(Lists),
    /// A program of the application that serves a port of its own; its `kind` is `app`.
    App(App),
}

/// What a queue or pool is made of: its module types, by their names, its bounds, and what becomes of the list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lists {
    /// What `add` takes.
    pub modules: IndexMap<String, Arc<ModuleType>>,
    /// What `set_bg` takes; always empty for a pool.
    pub backgrounds: IndexMap<String, Arc<ModuleType>>,
    /// Whether the list is kept on disk and launched again after a reboot.
    pub restore: bool,
    /// How much of everything there may be.
    pub bounds: Bounds,
}

/// How much there may be of what clients of a queue or pool cause; what is more is refused with an error that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Clients that are connected at once.
    pub max_connections: usize,
    /// Modules in the list of a queue, those that start for it included; a pool has `max_modules`.
    pub max_length: usize,
    /// Modules that start, live or end at once.
    pub max_modules: usize,
}

impl Default for Bounds {
    /// As many modules as the units' descriptor store keeps (`FileDescriptorStoreMax=20000`: two streams each, and the log).
    fn default() -> Self {
        Self { max_connections: 12_000, max_length: 9999, max_modules: 9999 }
    }
}

impl Lists {
    /// The types of modules, or those of backgrounds.
    #[must_use]
    pub const fn of(&self, backgrounds: bool) -> &IndexMap<String, Arc<ModuleType>> {
        if backgrounds { &self.backgrounds } else { &self.modules }
    }

    /// All types of both.
    pub fn all(&self) -> impl Iterator<Item = &ModuleType> {
        self.modules.values().chain(self.backgrounds.values()).map(AsRef::as_ref)
    }
}

/// An application's own service.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its program.
    pub process: Process,
}

/// One type of module: how it is started, and how long it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleType {
    /// Its program.
    pub process: Process,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// How its modules are started again; `None` where they are not. Always `None` for a queue's modules.
    pub restart: Option<Restart>,
    /// How many scopes are kept ready for modules of this type, so that they start sooner.
    pub spare_scopes: usize,
    /// What people call it.
    pub title: Option<String>,
    /// The arguments that its `init` takes, for whoever draws a form:
    /// `{NAME: {"title", "type", "default", "enum", "description"}}`, all of them optional. Of the types of JSON Schema.
    pub args: Map<String, Value>,
    /// The commands that it takes, without their `do_`, for whoever draws controls:
    /// `{NAME: {"title", "description", "args"}}`, all of them optional; `args` as above.
    pub commands: Map<String, Value>,
}

/// A program and what it runs in.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Program and arguments; at least the program, which is never empty.
    pub command: Vec<String>,
    /// Variables set for it besides those that every module finds.
    pub environment: IndexMap<String, String>,
    /// Where it runs; absolute, unless the settings hold a variable that is not set.
    pub working_directory: Option<PathBuf>,
    /// As whom it runs: a name, or a number in decimal digits.
    pub user: Option<String>,
    /// What it may use, by the names of systemd.
    pub limits: IndexMap<String, Limit>,
}

/// How long a module may take (protocol.md sections 5 and 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// To connect both its streams.
    pub connect: Duration,
    /// To answer a command.
    pub command: Duration,
    /// To end by itself after `rm`.
    pub exit: Duration,
    /// To end after SIGTERM.
    pub terminate: Duration,
}

impl Timeouts {
    /// The longest of them that settings may name.
    pub const LONGEST: Duration = Duration::from_millis(86_400_000);

    /// These, but none longer than [`Timeouts::LONGEST`].
    #[must_use]
    pub fn bounded(self) -> Self {
        let bounded = |time: Duration| time.min(Self::LONGEST);
        Self {
            connect: bounded(self.connect),
            command: bounded(self.command),
            exit: bounded(self.exit),
            terminate: bounded(self.terminate),
        }
    }
}

impl Default for Timeouts {
    /// Those of the original.
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(2000),
            command: Duration::from_millis(1000),
            exit: Duration::from_millis(3000),
            terminate: Duration::from_millis(5000),
        }
    }
}

impl Service {
    /// What `kind` says of it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Pool(_) => "pool",
            Self::App(_) => "app",
        }
    }

    /// What a queue or pool is made of.
    #[must_use]
    pub const fn lists(&self) -> Option<&Lists> {
        match self {
            Self::Queue(lists) | Self::Pool(lists) => Some(lists),
            Self::App(_) => None,
        }
    }

    /// The service as JSON, in the form in which it is read, with every default filled in.
    pub(super) fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("kind".into(), self.kind().into());
        if let Some(Lists { bounds, .. }) = self.lists() {
            map.insert("max_connections".into(), bounds.max_connections.into());
            if matches!(self, Self::Queue(_)) {
                map.insert("max_length".into(), bounds.max_length.into());
            }
            map.insert("max_modules".into(), bounds.max_modules.into());
        }
        let types = |types: &IndexMap<String, Arc<ModuleType>>| -> Value {
            types.iter().map(|(name, module_type)| (name.clone(), module_type.to_json())).collect::<Map<_, _>>().into()
        };
        match self {
            Self::Queue(lists) => {
                map.insert("modules".into(), types(&lists.modules));
                map.insert("backgrounds".into(), types(&lists.backgrounds));
                map.insert("restore".into(), lists.restore.into());
            }
            Self::Pool(lists) => {
                map.insert("modules".into(), types(&lists.modules));
                map.insert("restore".into(), lists.restore.into());
            }
            Self::App(app) => app.process.write_json(&mut map),
        }
        map.into()
    }
}

impl ModuleType {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        if let Some(title) = &self.title {
            map.insert("title".into(), title.as_str().into());
        }
        self.process.write_json(&mut map);
        let milliseconds = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let timeouts = [
            ("connect", self.timeouts.connect),
            ("command", self.timeouts.command),
            ("exit", self.timeouts.exit),
            ("terminate", self.timeouts.terminate),
        ];
        let timeouts: Map<_, _> = timeouts.into_iter().map(|(name, time)| (name.to_owned(), milliseconds(time))).collect();
        map.insert("timeouts".into(), timeouts.into());
        if let Some(restart) = self.restart {
            map.insert("restart".into(), restart.to_json());
        }
        map.insert("spare_scopes".into(), self.spare_scopes.into());
        map.insert("args".into(), self.args.clone().into());
        map.insert("commands".into(), self.commands.clone().into());
        map.into()
    }
}

impl Process {
    fn write_json(&self, map: &mut Map<String, Value>) {
        map.insert("process".into(), self.command.clone().into());
        let environment: Map<_, _> = self.environment.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        map.insert("environment".into(), environment.into());
        if let Some(directory) = &self.working_directory {
            map.insert("working_directory".into(), directory.to_string_lossy().into());
        }
        if let Some(user) = &self.user {
            map.insert("user".into(), user.as_str().into());
        }
        let limits: Map<_, _> = self.limits.iter().map(|(name, limit)| (name.clone(), limit.to_json())).collect();
        map.insert("limits".into(), limits.into());
    }
}
