//! The launcher inside the process that uses it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::User as SystemUser;
use tokio::sync::watch;

use super::memory::Memory;
use super::{Launch, LaunchError, Launcher, TypeName};
use crate::protocol::Uid;
use crate::scope::{BoxFuture, Launched, Listed, Program, ScopeError, Scopes, Spec, State, User};
use crate::settings::{self, Limit, ModuleType, OomPolicy, ProcessLimit, ScopeLimit, Service, Settings, Timeouts};

/// What a module finds in its environment where it is not given the launcher's own.
const BASE_ENVIRONMENT: [&str; 4] = ["LANG", "LC_ALL", "PATH", "TZ"];

/// What a service manager tells this process and nobody else (`systemd.exec(5)`). A house that gives a module a stream to the
/// journal names that in `JOURNAL_STREAM`.
const PRIVATE_ENVIRONMENT: [&str; 17] = [
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// The limit that the daemons raise for themselves.
const OPEN_FILES: &str = "LimitNOFILE";
/// What a program may open where nobody says otherwise: many that use select(2) can take no more (`systemd.exec(5)`).
const USUAL_OPEN_FILES: u64 = 1024;

/// Reads the settings and asks a house of scopes.
#[derive(Clone)]
pub struct Local {
    settings: Arc<RwLock<Arc<Settings>>>,
    scopes: Arc<dyn Scopes>,
    inherits: bool,
    part_of: Option<String>,
    memory: Arc<Memory>,
    default_user: Option<String>,
}

impl Local {
    /// A launcher whose modules begin with a clean environment.
    #[must_use]
    pub fn new(settings: Arc<Settings>, scopes: Arc<dyn Scopes>) -> Self {
        let settings = Arc::new(RwLock::new(settings));
        Self { settings, scopes, inherits: false, part_of: None, memory: Arc::default(), default_user: None }
    }

    /// Gives modules this process's environment too, as befits a program in the foreground.
    #[must_use]
    pub fn inheriting(self) -> Self {
        Self { inherits: true, ..self }
    }

    /// As whom programs run whose settings name no user; without one, as whoever this process is.
    #[must_use]
    pub fn default_user(self, name: Option<String>) -> Self {
        Self { default_user: name, ..self }
    }

    /// Launches by other settings from now on; what lives is left as it is.
    pub fn set_settings(&self, settings: Arc<Settings>) {
        let mut current = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        // Each broker that reads its settings again has this done again.
        let changed = *current != settings;
        *current = settings;
        drop(current);
        if changed {
            self.scopes.give_up_spares();
        }
    }

    /// Remembers a module of which nobody may have heard how it ends; [`Launcher::watch`] tells.
    pub(super) fn remember(&self, uid: Uid, state: watch::Receiver<State>) {
        self.memory.put(uid, state);
    }

    /// All modules of the house, those that an earlier process launched included; how each ends is remembered from now on.
    ///
    /// # Errors
    /// Where the house cannot tell.
    pub async fn find(&self) -> Result<Vec<Listed>, ScopeError> {
        let found = self.scopes.list().await?;
        for listed in &found {
            if let Some(state) = self.scopes.watch(listed.uid) {
                self.remember(listed.uid, state);
            }
        }
        Ok(found)
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends modules with this unit: that of the broker for whom they are launched.
    #[must_use]
    pub fn part_of(self, unit: Option<String>) -> Self {
        Self { part_of: unit, ..self }
    }

    /// Launches an application's own service, under a uid of its own.
    ///
    /// # Errors
    /// As [`Launcher::launch`].
    pub async fn launch_app(&self, service: &str, uid: Uid) -> Result<Launched, LaunchError> {
        let unknown = || LaunchError::UnknownType { service: service.to_owned(), type_name: "app".to_owned() };
        let settings = self.settings();
        let Some(Service::App(app)) = settings.services.get(service) else { return Err(unknown()) };
        let mut program = self.program(&app.process, service, service)?;
        program.environment.push(("SHMOOZE_UID".to_owned(), uid.to_string()));
        let terminate = Timeouts::default().terminate;
        let limits = scope_limits(&app.process);
        let part_of = self.part_of.clone();
        let spec = Spec {
            uid,
            service: service.to_owned(),
            // What it prints stands in the journal under that name.
            type_name: service.to_owned(),
            is_app: true,
            program,
            terminate,
            limits,
            part_of,
            spares: 0,
        };
        Ok(self.scopes.launch(spec).await?)
    }

    fn spec(&self, launch: Launch) -> Result<Spec, LaunchError> {
        let module_type = self.module_type(&launch.module_type)?;
        let TypeName { service, name, .. } = launch.module_type;
        let mut program = self.program(&module_type.process, &service, &name)?;
        program.command.extend(["localhost".to_owned(), launch.command_port.to_string(), launch.update_port.to_string()]);
        program.environment.push(("SHMOOZE_UID".to_owned(), launch.uid.to_string()));
        Ok(Spec {
            uid: launch.uid,
            service,
            type_name: name,
            is_app: false,
            program,
            terminate: module_type.timeouts.terminate,
            limits: scope_limits(&module_type.process),
            part_of: self.part_of.clone(),
            spares: module_type.spare_scopes,
        })
    }

    fn module_type(&self, of: &TypeName) -> Result<Arc<ModuleType>, LaunchError> {
        let settings = self.settings();
        let lists = settings.services.get(&of.service).and_then(Service::lists);
        let types = lists.map(|lists| lists.of(of.background));
        let found = types.and_then(|types| types.get(&of.name)).cloned();
        found.ok_or_else(|| LaunchError::UnknownType { service: of.service.clone(), type_name: of.name.clone() })
    }

    /// The program of a module type or of an application's service; `name` is what it is called in errors.
    fn program(&self, process: &settings::Process, service: &str, name: &str) -> Result<Program, LaunchError> {
        let wanted = process.user.as_ref().or(self.default_user.as_ref());
        let unknown = |_| LaunchError::UnknownUser { user: wanted.cloned().unwrap_or_default(), type_name: name.to_owned() };
        let user = wanted.map(|name| settings::find_user(name)).transpose().map_err(unknown)?;
        let mut environment: BTreeMap<String, String> =
            std::env::vars().filter(|(name, _)| self.inherits || BASE_ENVIRONMENT.contains(&name.as_str())).collect();
        // Descriptors and sockets of this process's own service manager are not the module's business.
        for private in PRIVATE_ENVIRONMENT {
            environment.remove(private);
        }
        let account = match &user {
            Some(user) => Some(user.clone()),
            None if self.inherits => None,
            None => SystemUser::from_uid(nix::unistd::geteuid()).ok().flatten(),
        };
        if let Some(account) = account {
            environment.insert("HOME".to_owned(), account.dir.to_string_lossy().into_owned());
            environment.insert("SHELL".to_owned(), account.shell.to_string_lossy().into_owned());
            environment.insert("USER".to_owned(), account.name.clone());
            environment.insert("LOGNAME".to_owned(), account.name);
        }
        let file = self.settings().file.to_string_lossy().into_owned();
        environment.insert(settings::FILE_VARIABLE.to_owned(), file);
        environment.insert("SHMOOZE_SERVICE".to_owned(), service.to_owned());
        environment.extend(process.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut program = Program {
            command: process.command.clone(),
            environment: environment.into_iter().collect(),
            working_directory: process.working_directory.clone(),
            user: user.map(|user| User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            ..Program::default()
        };
        if !process.limits.contains_key(OPEN_FILES)
            && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        {
            program.resource_limits.push((OPEN_FILES.to_owned(), hard.min(USUAL_OPEN_FILES), hard));
        }
        for (name, limit) in &process.limits {
            match *limit {
                Limit::Process(ProcessLimit::Resource { soft, hard, .. }) => {
                    program.resource_limits.push((name.clone(), soft, hard));
                }
                Limit::Process(ProcessLimit::Nice(nice)) => program.nice = Some(nice),
                Limit::Process(ProcessLimit::OomScoreAdjust(adjust)) => program.oom_score_adjust = Some(adjust),
                Limit::Process(ProcessLimit::Umask(mask)) => program.umask = Some(mask),
                // Properties of the scope, which is the house's business.
                Limit::Scope(_) => {}
            }
        }
        Ok(program)
    }
}

/// The limits that the house sets on the scope.
fn scope_limits(process: &settings::Process) -> Vec<ScopeLimit> {
    let scope = |limit: &Limit| if let Limit::Scope(limit) = limit { Some(*limit) } else { None };
    let mut limits: Vec<ScopeLimit> = process.limits.values().filter_map(scope).collect();
    let has = |is: fn(&ScopeLimit) -> bool| limits.iter().any(is);
    // All that a module has share the blame and the fate: without the one that the kernel chose the others are of no use, and
    // they may be what takes the memory.
    if has(|limit| matches!(limit, ScopeLimit::MemoryMax(_))) && !has(|limit| matches!(limit, ScopeLimit::OomPolicy(_))) {
        limits.push(ScopeLimit::OomPolicy(OomPolicy::Kill));
    }
    limits
}

impl Launcher for Local {
    fn launch(&self, launch: Launch) -> BoxFuture<'_, Result<Launched, LaunchError>> {
        Box::pin(async move { Ok(self.scopes.launch(self.spec(launch)?).await?) })
    }

    fn stop(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.scopes.stop(uid)
    }

    fn kill(&self, uid: Uid, signal: i32) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.scopes.kill(uid, signal)
    }

    fn freeze(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.scopes.freeze(uid)
    }

    fn thaw(&self, uid: Uid) -> BoxFuture<'_, Result<(), ScopeError>> {
        self.scopes.thaw(uid)
    }

    fn set_limits(&self, uid: Uid, module_type: TypeName) -> BoxFuture<'_, Result<(), LaunchError>> {
        Box::pin(async move {
            let mut limits = scope_limits(&self.module_type(&module_type)?.process);
            limits.retain(ScopeLimit::can_be_changed);
            Ok(self.scopes.set_limits(uid, limits).await?)
        })
    }

    fn watch(&self, uid: Uid) -> BoxFuture<'_, Result<watch::Receiver<State>, ScopeError>> {
        Box::pin(async move {
            if let Some(state) = self.scopes.watch(uid) {
                return Ok(state);
            }
            // A house may have to look round for what an earlier process launched.
            self.find().await?;
            self.scopes.watch(uid).or_else(|| self.memory.get(uid)).ok_or(ScopeError::NoSuchScope(uid))
        })
    }

    fn job(&self) -> BoxFuture<'_, Result<Option<String>, ScopeError>> {
        Box::pin(async move {
            match &self.part_of {
                Some(unit) => self.scopes.job(unit).await,
                None => Ok(None),
            }
        })
    }

    fn list(&self, service: &str) -> BoxFuture<'_, Result<Vec<Listed>, ScopeError>> {
        let service = service.to_owned();
        Box::pin(async move {
            let mut list = self.find().await?;
            list.retain(|listed| listed.service == service);
            Ok(list)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Call, Recording};

    #[test]
    fn spares_are_of_the_type_and_are_given_up_with_its_settings() {
        let settings = |spares: usize| {
            let text = format!(
                r#"{{"ports": {{"pool": 1}}, "services": {{"pool": {{"kind": "pool",
                    "modules": {{"clock": {{"process": ["clock"], "spare_scopes": {spares}}}}}}}}}}}"#
            );
            Arc::new(Settings::parse(&text, "/settings.json".as_ref()).unwrap())
        };
        let house = Recording::new();
        let launcher = Local::new(settings(3), Arc::new(house.clone()));
        let spec = || {
            let module_type = TypeName { service: "pool".to_owned(), background: false, name: "clock".to_owned() };
            launcher.spec(Launch { module_type, uid: Uid::new(), command_port: 1, update_port: 2 }).unwrap()
        };
        assert_eq!((spec().spares, house.calls()), (3, Vec::new()));
        launcher.set_settings(settings(2));
        assert_eq!((spec().spares, house.calls()), (2, vec![Call::GiveUpSpares]));
        // The same once more.
        launcher.set_settings(settings(2));
        assert_eq!(house.calls(), [Call::GiveUpSpares]);
    }

    #[test]
    fn what_is_limited_in_memory_dies_as_a_whole_unless_the_settings_say_otherwise() {
        let limits = |limits: &str| {
            let text = format!(
                r#"{{"ports": {{"pool": 1}}, "services": {{"pool": {{"kind": "pool",
                    "modules": {{"clock": {{"process": ["clock"], "limits": {limits}}}}}}}}}}}"#
            );
            let settings = Settings::parse(&text, "/settings.json".as_ref()).unwrap();
            scope_limits(&settings.services["pool"].lists().unwrap().modules["clock"].process)
        };
        let memory = ScopeLimit::MemoryMax(settings::Amount::Units(1 << 30));
        assert_eq!(limits(r#"{"MemoryMax": "1G"}"#), [memory, ScopeLimit::OomPolicy(OomPolicy::Kill)]);
        let stop = ScopeLimit::OomPolicy(OomPolicy::Stop);
        assert_eq!(limits(r#"{"OOMPolicy": "stop", "MemoryMax": "1G"}"#), [stop, memory]);
        assert_eq!(limits(r#"{"LimitCORE": 0}"#), []);
    }
}
