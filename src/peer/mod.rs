//! Who has connected to a module's streams: only the module itself may.
//!
//! Its two ports are open to everybody on this machine. Whoever comes is looked up before the first byte is read:
//!
//! ```text
//!   both addresses ─▶ sock_diag ─▶ user, inode, control group
//!                                        │
//!            a scope ────────────────────┤ the group is that of the scope or below it        ─▶ the module
//!                                        │ any other                                          ─▶ a stranger
//!            no scope ───────────────────┤ open in the main process or in what descends from it ─▶ the module
//!            (or no group told)          │ made by another user                               ─▶ a stranger
//!                                        │ this process is not let see who has it open        ─▶ the module
//!                                        └ open in a process that `scope` finds of the module ─▶ the module, else a stranger
//! ```
//!
//! The first three lines cost some ten microseconds each and wait for nothing ([`Guard::glance`]); only the last reads the
//! process table ([`Guard::search`]), for daemons that a module has left behind, and for strangers of the same user.
//!
//! A socket that nobody has open any more is a stranger's. Where the kernel cannot be asked, everybody is let in as if
//! there were no guard, with one warning.
//!
//! **What remains.** Where the processes of another user cannot be seen, any process of that user passes. So does, without a
//! scope, one of the module's own user that sets the module's mark in its environment. Both could as well take over
//! the module itself.

mod judge;
mod process;
mod sock_diag;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};

use self::judge::{Facts, Judgement};
use self::process::Holds;
use self::sock_diag::Socket;
use crate::protocol::Uid;
use crate::scope::Launched;
use crate::scope::sweep::Sweeper;

/// Control groups below a scope that are looked at before a socket counts as made in none of them.
const SUBGROUPS: usize = 1024;

/// Tells a module's own connections from others.
#[derive(Debug)]
pub(crate) struct Guard {
    uid: Uid,
    /// The main process, which began the session that all its descendants are in unless they leave it.
    main: i32,
    scope: Option<Scope>,
    /// Whom the main process acted as when it was launched: it may end before its daemon connects.
    users: Vec<u32>,
    sweeper: OnceLock<Sweeper>,
}

/// The control group of a scope.
#[derive(Debug)]
struct Scope {
    directory: PathBuf,
    inode: u64,
}

/// Who has connected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The module.
    Module,
    /// Somebody else.
    Stranger(Stranger),
    /// Only a [search](Guard::search) can tell.
    Unsure(Unsure),
}

/// Somebody else who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stranger(Option<Socket>);

/// Somebody who may be the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsure(Socket);

impl Guard {
    /// A guard of the module that was just launched.
    pub(crate) fn new(uid: Uid, launched: &Launched) -> Self {
        let main = i32::try_from(launched.pid).unwrap_or_default();
        let scope = launched.cgroup.as_deref().and_then(Scope::new);
        let users = if scope.is_none() { process::users(main) } else { Vec::new() };
        Self { uid, main, scope, users, sweeper: OnceLock::new() }
    }

    /// Who has connected from `peer` to `local`, as far as some microseconds can tell.
    pub(crate) fn glance(&self, peer: SocketAddr, local: SocketAddr) -> Verdict {
        let socket = match sock_diag::look_up(peer, local) {
            Ok(Some(socket)) => socket,
            Ok(None) => return Verdict::Stranger(Stranger::GONE),
            Err(error) => return unknown(&error),
        };
        let by_cgroup =
            self.scope.as_ref().and_then(|scope| judge::by_cgroup(socket.cgroup, scope.inode, |cgroup| scope.has_below(cgroup)));
        let judgement = by_cgroup.unwrap_or_else(|| {
            let held = held(process::descent(self.main), socket);
            judge::by_process(Facts { held, same_user: self.is_user(socket.user), searched: false })
        });
        verdict(judgement, socket)
    }

    /// Looks through all processes of this machine; takes milliseconds.
    pub(crate) async fn search(&self, Unsure(socket): Unsure) -> Verdict {
        let members = self.sweeper.get_or_init(Sweeper::new).members(self.uid, self.main).await;
        let held = held(members, socket);
        verdict(judge::by_process(Facts { held, same_user: self.is_user(socket.user), searched: true }), socket)
    }

    /// Whether the module acts as this user, where that is known.
    fn is_user(&self, user: u32) -> Option<bool> {
        if self.users.contains(&user) {
            return Some(true);
        }
        // It may have become another since.
        let now = process::users(self.main);
        if now.is_empty() && self.users.is_empty() { None } else { Some(now.contains(&user)) }
    }
}

/// Whether one of these processes has the socket open.
fn held(pids: impl IntoIterator<Item = i32>, socket: Socket) -> Holds {
    let held = process::any_holds(pids, socket.inode);
    // One that is not among them may have it: of another user's processes not even the module's mark can be read.
    let user = nix::unistd::geteuid();
    if user.is_root() || user.as_raw() == socket.user { held } else { held.max(Holds::Hidden) }
}

fn verdict(judgement: Judgement, socket: Socket) -> Verdict {
    match judgement {
        Judgement::Module => Verdict::Module,
        Judgement::Stranger => Verdict::Stranger(Stranger(Some(socket))),
        Judgement::Search => Verdict::Unsure(Unsure(socket)),
        Judgement::Unknown => unknown(&"/proc shows neither the module's processes nor their user"),
    }
}

/// Lets in whoever it is, and says so once.
fn unknown(reason: &dyn std::fmt::Display) -> Verdict {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            "whoever connects to the streams of a module first is taken for it, any process of this machine: {reason}"
        );
    });
    Verdict::Module
}

impl Scope {
    /// `None` where it cannot be seen from here.
    fn new(directory: &Path) -> Option<Self> {
        let inode = directory.metadata().ok()?.ino();
        Some(Self { directory: directory.to_owned(), inode })
    }

    /// Whether the group is one that the module has made within its own.
    fn has_below(&self, cgroup: u64) -> bool {
        let mut waiting = vec![self.directory.clone()];
        let mut left = SUBGROUPS;
        while let Some(directory) = waiting.pop() {
            let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
            for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                if entry.metadata().is_ok_and(|entry| judge::same_cgroup(cgroup, entry.ino())) {
                    return true;
                }
                if left == 0 {
                    return false;
                }
                left -= 1;
                waiting.push(entry.path());
            }
        }
        false
    }
}

impl Stranger {
    /// One that has gone before it could be looked at.
    pub(crate) const GONE: Self = Self(None);

    /// Finds out what else there is to say: `nobody (user 65534), process 123`. Reads the user database and, where
    /// the socket is open still, the process table: takes milliseconds.
    pub(crate) fn describe(self) -> String {
        let Some(socket) = self.0 else { return "somebody who had gone again".to_owned() };
        let name = nix::unistd::User::from_uid(socket.user.into()).ok().flatten().map(|user| user.name);
        let user = name.map_or_else(|| format!("user {}", socket.user), |name| format!("{name} (user {})", socket.user));
        match process::holder(socket.inode) {
            Some(pid) => format!("{user}, process {pid}"),
            None => user,
        }
    }
}
