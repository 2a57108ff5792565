//! Whether a socket is the module's, from what could be found out about it. Pure.

use super::process::Holds;

/// The root of all control groups, in which no manager of the system leaves a process. Linux before 5.15 says it of every
/// socket as soon as somebody uses version 1 of the controllers `net_cls` or `net_prio`.
const ROOT_CGROUP: u64 = 1;

/// What is to be done with whoever connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the module.
    Module,
    /// It is not.
    Stranger,
    /// What is known does not tell yet: look through all processes.
    Search,
    /// Nobody can tell.
    Unknown,
}

/// By the control group in which the socket was made; `None` where the kernel does not tell. `is_below` says whether a
/// group lies within the scope.
pub(super) fn by_cgroup(told: Option<u64>, scope: u64, is_below: impl FnOnce(u64) -> bool) -> Option<Judgement> {
    match told {
        None | Some(ROOT_CGROUP) => None,
        Some(cgroup) if same_cgroup(cgroup, scope) || is_below(cgroup) => Some(Judgement::Module),
        Some(_) => Some(Judgement::Stranger),
    }
}

/// Whether the group that a kernel told is the one whose directory has this inode number.
pub(super) const fn same_cgroup(told: u64, inode: u64) -> bool {
    // A kernel of 32 bits shows the lower half as inode number; what a later group with the same lower half would take is
    // to make four thousand million of them.
    told == inode || (cfg!(target_pointer_width = "32") && told & 0xffff_ffff == inode)
}

/// Where there is no scope, or the kernel does not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Whether a process that was looked at has the socket open. Only what belongs to the module was.
    pub(super) held: Holds,
    /// Whether the socket's user is one that the module's main process acts as, where that is known.
    pub(super) same_user: Option<bool>,
    /// Whether all processes of the module were looked at, not only its main process and what descends from that.
    pub(super) searched: bool,
}

/// By process and user.
pub(super) const fn by_process(facts: Facts) -> Judgement {
    match (facts.held, facts.same_user) {
        // Even as another user: `sudo` and its like are modules' descendants too.
        (Holds::Yes, _) => Judgement::Module,
        (_, Some(false)) => Judgement::Stranger,
        (Holds::Hidden, Some(true)) => Judgement::Module,
        (Holds::Hidden, None) => Judgement::Unknown,
        (Holds::No, _) if facts.searched => Judgement::Stranger,
        (Holds::No, _) => Judgement::Search,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_says_all() {
        let nothing_below = |_| false;
        assert_eq!(by_cgroup(Some(4711), 4711, nothing_below), Some(Judgement::Module));
        assert_eq!(by_cgroup(Some(4712), 4711, nothing_below), Some(Judgement::Stranger));
        assert_eq!(by_cgroup(Some(4712), 4711, |cgroup| cgroup == 4712), Some(Judgement::Module));
    }

    #[test]
    fn a_kernel_that_tells_no_cgroup_says_nothing() {
        assert_eq!(by_cgroup(None, 4711, |_| panic!("nothing to look for")), None);
        assert_eq!(by_cgroup(Some(ROOT_CGROUP), 4711, |_| panic!("nothing to look for")), None);
    }

    #[test]
    fn processes_and_users() {
        let judge = |held, same_user, searched| by_process(Facts { held, same_user, searched });
        for same_user in [None, Some(true), Some(false)] {
            for searched in [false, true] {
                assert_eq!(judge(Holds::Yes, same_user, searched), Judgement::Module);
            }
        }
        for held in [Holds::No, Holds::Hidden] {
            for searched in [false, true] {
                assert_eq!(judge(held, Some(false), searched), Judgement::Stranger, "another user");
            }
        }
        for same_user in [None, Some(true)] {
            assert_eq!(judge(Holds::No, same_user, false), Judgement::Search, "it may be a daemon of the module's");
            assert_eq!(judge(Holds::No, same_user, true), Judgement::Stranger, "another process of the user");
        }
        for searched in [false, true] {
            assert_eq!(judge(Holds::Hidden, Some(true), searched), Judgement::Module, "the user alone decides");
            assert_eq!(judge(Holds::Hidden, None, searched), Judgement::Unknown);
        }
    }
}
