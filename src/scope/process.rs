//! A process as `/proc` shows it.

/// What stands in `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug)]
pub(super) struct Stat {
    text: String,
    /// Where the state stands, which is field 3.
    state: usize,
}

impl Stat {
    /// Of the process `pid`; `None` where there is none.
    pub(super) fn of(pid: impl std::fmt::Display) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, so count from its end.
        let state = text.rfind(')')? + 2;
        Some(Self { text, state })
    }

    /// The field of this number, as the manual counts them, 4 at least.
    pub(super) fn field(&self, number: usize) -> Option<u64> {
        self.text.get(self.state..)?.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
    }

    fn is_in(&self, states: &[u8]) -> bool {
        self.text.as_bytes().get(self.state).is_some_and(|state| states.contains(state))
    }

    /// Whether it has ended, though its parent has not asked how.
    pub(super) fn is_zombie(&self) -> bool {
        self.is_in(b"ZX")
    }

    /// How many bytes its environment takes; `None` where it has none, as when it is about to execute another program.
    pub(super) fn environment_size(&self) -> Option<usize> {
        let (start, end) = (self.field(50)?, self.field(51)?);
        usize::try_from(end.saturating_sub(start)).ok().filter(|_| end != 0)
    }

    /// Whether it can have no environment: it has ended, or is a thread of the kernel.
    pub(super) fn is_bare(&self) -> bool {
        /// `PF_KTHREAD`.
        const KERNEL_THREAD: u64 = 0x0020_0000;
        self.is_zombie() || self.field(9).is_none_or(|flags| flags & KERNEL_THREAD != 0)
    }

    /// Whether somebody has stopped it or traces it.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_in(b"Tt")
    }
}

/// Whether a process lives and nobody has stopped it or traces it.
pub(super) fn runs(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| !stat.is_zombie() && !stat.is_stopped())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_this_process() {
        let stat = Stat::of(std::process::id()).unwrap();
        assert!(!stat.is_zombie() && !stat.is_stopped());
        assert_eq!(stat.field(4), Some(u64::from(std::os::unix::process::parent_id())));
        assert_eq!((stat.field(3), stat.field(1000)), (None, None));
        let environment = std::fs::read("/proc/self/environ").unwrap();
        assert_eq!((stat.environment_size(), stat.is_bare()), (Some(environment.len()), false));
        // One of the kernel's, where it is shown.
        assert!(Stat::of(2).is_none_or(|stat| stat.is_bare()));
        assert!(Stat::of(u32::MAX).is_none());
        assert!(runs(std::process::id()) && !runs(u32::MAX));
    }

    #[test]
    fn of_one_that_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while Stat::of(child.id()).is_some_and(|stat| !stat.is_zombie()) {
            std::thread::yield_now();
        }
        assert!(Stat::of(child.id()).unwrap().is_zombie() && !runs(child.id()));
        child.wait().unwrap();
    }
}
