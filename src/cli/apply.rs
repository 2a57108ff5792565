//! `shmz apply`: has systemd go by the settings as they are now.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{CliError, Shell};
use crate::apply::{Plan, Situation, Systemctl, listening};
use crate::generator::{Generated, Input, Manager, Surroundings, Tree, generate};
use crate::settings::{Detail, FILE_VARIABLE, Fallback, Place, Settings};

/// Where the manager of the machine keeps what generators wrote; that of a user below `XDG_RUNTIME_DIR`.
const GENERATED: &str = "/run/systemd/generator";
const GENERATED_OF_USER: &str = "systemd/generator";

#[derive(Debug, Args)]
#[command(after_help = "\
What did not change goes on, and so do its modules: it is only told to read the settings again. A queue or pool that moves to
another port is restarted. Settings at fault change nothing, and the first step that fails is the last.")]
pub(super) struct Arguments {
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// In your own manager, with $XDG_CONFIG_HOME/shmooze/settings.json where that is there
    #[arg(long)]
    user: bool,
}

impl Arguments {
    pub(super) fn run(&self, shell: &Shell) -> Result<(), CliError> {
        let manager = if self.user { Manager::User } else { Manager::System };
        let systemctl = Systemctl::new(manager);
        // The manager's own: they tell the generator where the settings are, and what a variable in them means.
        let known = systemctl.variables().map_err(CliError::Step)?;
        let variables = |name: &str| known.get(name).cloned();
        let surroundings = Surroundings::look(manager, &variables, Path::new("/"));
        let (settings, place) = read(&surroundings, &variables, shell)?;
        // The gateway would not start with tokens at fault.
        settings.tokens_beside()?;
        let Generated { tree: wanted, problems } = generate(&settings, &surroundings);
        // With the environment of who asks, as `check` does: it has the folders in which programs are searched.
        let lacking = Settings::load(Some(&place.file))?.problems_of_machine();
        for problem in problems.into_iter().chain(lacking.iter().map(ToString::to_string)) {
            shell.print(&format!("{problem}\n"))?;
        }
        let loaded = Tree::read(&generated(manager, &variables)).map_err(|error| CliError::Step(format!("{error}.")))?;
        let last_good = match place.fallback(&manager.variables(&variables)) {
            Fallback::Good(settings) => Some(generate(&settings, &surroundings).tree),
            Fallback::None(_) => None,
        };
        let units = systemctl.units().map_err(CliError::Step)?;
        let situation =
            Situation { loaded: &loaded, last_good: last_good.as_ref(), wanted: &wanted, units: &units, listening: &listening() };
        let plan = Plan::of(&situation);
        self.carry_out(&plan, systemctl, manager, shell)?;
        if !self.dry_run {
            let kept = place.keep(&settings);
            kept.map_err(|error| CliError::Step(format!("{} cannot be written: {error}.", place.copy.display())))?;
        }
        Ok(())
    }

    fn carry_out(&self, plan: &Plan, systemctl: Systemctl, manager: Manager, shell: &Shell) -> Result<(), CliError> {
        for change in &plan.changes {
            shell.print(&format!("{change}\n"))?;
        }
        if plan.steps.is_empty() {
            return shell.print("Nothing is to be done.\n");
        }
        let prefix = if self.dry_run { "would do: " } else { "" };
        for step in &plan.steps {
            shell.print(&format!("{prefix}{}\n", step.shown(manager)))?;
            if !self.dry_run {
                systemctl.run(&step.words()).map_err(CliError::Step)?;
            }
        }
        Ok(())
    }
}

/// The settings that the manager goes by.
fn read(
    surroundings: &Surroundings,
    variables: &dyn Fn(&str) -> Option<String>,
    shell: &Shell,
) -> Result<(Box<Settings>, Place), CliError> {
    let (settings, place) = match Input::read(surroundings, variables, Detail::All) {
        Input::Good(settings, place) => (settings, place),
        Input::Broken { error, .. } => return Err(error.into()),
        Input::Missing => {
            let file = Place::of_system().file;
            return Err(CliError::Usage(format!("{}: cannot be read: No such file or directory.", file.display())));
        }
    };
    // Whoever names another file would wonder why it is not what happens.
    let named = shell.options.settings.clone();
    let named = named.or_else(|| std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from));
    if let Some(named) = named.filter(|named| std::path::absolute(named).ok().as_ref() != Some(&place.file)) {
        let (named, file) = (named.display(), place.file.display());
        return Err(CliError::Usage(format!("{named} is not the file that the manager goes by, which is {file}.")));
    }
    Ok((settings, place))
}

fn generated(manager: Manager, variables: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let runtime = || {
        let own = || format!("/run/user/{}", nix::unistd::geteuid());
        PathBuf::from(variables("XDG_RUNTIME_DIR").unwrap_or_else(own))
    };
    match manager {
        Manager::System => PathBuf::from(GENERATED),
        Manager::User => runtime().join(GENERATED_OF_USER),
    }
}
