//! What a module uses, as the kernel counts it.

use std::path::Path;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::process::Stat;

/// What the processes of a module use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Memory that they hold, in bytes: what `MemoryMax` is about where the control group counts it, else what is resident.
    pub memory: u64,
    /// CPU time that they have had.
    pub cpu: Duration,
    /// Processes and threads.
    pub tasks: u64,
}

impl Usage {
    /// Of the control group at `directory` (cgroups(7), version 2); `None` where it is gone.
    #[must_use]
    pub fn of_cgroup(directory: &Path) -> Option<Self> {
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).ok();
        let number = |name| read(name)?.trim().parse::<u64>().ok();
        let statistics = read("cpu.stat")?;
        let cpu = statistics.lines().find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok())?;
        let of_processes = || {
            let pids = read("cgroup.procs").unwrap_or_default();
            pids.lines().filter_map(|pid| Self::of_process(pid.parse().ok()?)).fold(Self::default(), |sum, one| Self {
                memory: sum.memory + one.memory,
                tasks: sum.tasks + one.tasks,
                ..sum
            })
        };
        let (memory, tasks) = match (number("memory.current"), number("pids.current")) {
            (Some(memory), Some(tasks)) => (memory, tasks),
            // Where a controller is missing.
            (memory, tasks) => {
                let counted = of_processes();
                (memory.unwrap_or(counted.memory), tasks.unwrap_or(counted.tasks))
            }
        };
        Some(Self { memory, cpu: Duration::from_micros(cpu), tasks })
    }

    /// Of one process and its threads; `None` where it has ended.
    #[must_use]
    pub fn of_process(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        let field = |number| stat.field(number);
        let unit =
            |variable| sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
        let ticks = field(14)? + field(15)?;
        let cpu = Duration::from_millis(ticks * 1000 / unit(SysconfVar::CLK_TCK)?);
        Some(Self { memory: field(24)? * unit(SysconfVar::PAGE_SIZE)?, cpu, tasks: field(20)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let own = std::process::id();
        let before = Usage::of_process(own).unwrap();
        let spent = std::time::Instant::now();
        let mut sum = 0u64;
        // The clock of these figures ticks a hundred times a second.
        while Usage::of_process(own).unwrap().cpu <= before.cpu + Duration::from_millis(20) {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        assert!(spent.elapsed() >= Duration::from_millis(10), "{sum}");
        assert!(before.memory > 1 << 20 && before.tasks >= 1, "{before:?}");
        assert_eq!(Usage::of_process(u32::MAX), None);
    }

    #[test]
    fn of_a_group_with_and_without_controllers() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(Usage::of_cgroup(folder.path()), None);
        write("cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n");
        write("cgroup.procs", &format!("{}\n", std::process::id()));
        let counted = Usage::of_cgroup(folder.path()).unwrap();
        assert!(counted.memory > 1 << 20 && counted.tasks >= 1, "{counted:?}");
        write("memory.current", "4096\n");
        write("pids.current", "3\n");
        let expected = Usage { memory: 4096, cpu: Duration::from_micros(1500), tasks: 3 };
        assert_eq!(Usage::of_cgroup(folder.path()), Some(expected));
    }
}
