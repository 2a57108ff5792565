//! Finding every process of a scope where no cgroup holds them together.
//!
//! A process belongs to a scope when it is in the session that the scope began with, or when its environment carries the
//! scope's mark (`SHMOOZE_UID`), which descendants inherit through any number of forks, sessions and executions. One that
//! does both, leave the session and clear its environment, is not found: that is what is lost without systemd.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::process::Stat;
use crate::protocol::Uid;

/// The variable that marks every process of a module.
const MARK: &[u8] = b"SHMOOZE_UID=";

/// How often a process is looked at that executes another program just now, and so shows no environment for a moment: the last
/// process of a scope must not be missed then.
const LOOKS: usize = 50;
/// How long that moment may be.
const MOMENT: Duration = Duration::from_millis(1);

/// A process that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    pid: i32,
    session: i32,
    mark: Option<Uid>,
}

struct Question {
    uid: Uid,
    session: i32,
    answer: oneshot::Sender<Vec<i32>>,
}

/// Answers which processes of a scope live. Questions that arrive while the process table is being read are answered
/// together from the next reading, so that the end of a thousand modules costs a few readings and not a thousand.
#[derive(Debug, Clone)]
pub(crate) struct Sweeper {
    questions: mpsc::Sender<Question>,
}

impl Sweeper {
    pub(crate) fn new() -> Self {
        let (questions, mut asked) = mpsc::channel::<Question>(64);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while asked.recv_many(&mut batch, 1024).await > 0 {
                let table = tokio::task::spawn_blocking(read_table).await.unwrap_or_default();
                for Question { uid, session, answer } in batch.drain(..) {
                    let belongs = |found: &&Found| found.session == session || found.mark == Some(uid);
                    let _ = answer.send(table.iter().filter(belongs).map(|found| found.pid).collect());
                }
            }
        });
        Self { questions }
    }

    /// The living processes of the scope `uid`, whose main process began `session`.
    pub(crate) async fn members(&self, uid: Uid, session: i32) -> Vec<i32> {
        let (answer, answered) = oneshot::channel();
        let _ = self.questions.send(Question { uid, session, answer }).await;
        answered.await.unwrap_or_default()
    }
}

/// Every process that is not a zombie and could be somebody's module.
fn read_table() -> Vec<Found> {
    let own_session = session_of(i32::try_from(std::process::id()).unwrap_or_default());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let session = session_of(pid)?;
            let environment = environment_of(pid);
            let mark = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(MARK));
            let mark = mark.and_then(|uid| std::str::from_utf8(uid).ok()?.parse().ok());
            (mark.is_some() || Some(session) != own_session).then_some(Found { pid, session, mark })
        })
        .collect()
}

/// What a process was begun with. It may end at any moment while it is looked at; what cannot be read is not ours or not there.
fn environment_of(pid: i32) -> Vec<u8> {
    let mut looks_bare = false;
    for _ in 0..LOOKS {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { break };
        let Some(stat) = Stat::of(pid) else { return environment };
        // Where it executed another program meanwhile, this is nothing, or a part only. That there is nothing is believed only once it
        // was seen twice.
        let whole = stat.environment_size() == Some(environment.len());
        if stat.is_bare() || (whole && (looks_bare || !environment.is_empty())) {
            return environment;
        }
        looks_bare = whole;
        std::thread::sleep(MOMENT);
    }
    Vec::new()
}

/// The session of a living process; `None` for a zombie.
pub(crate) fn session_of(pid: i32) -> Option<i32> {
    let stat = Stat::of(pid).filter(|stat| !stat.is_zombie())?;
    i32::try_from(stat.field(6)?).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Between one program and the next a process shows no environment, and so no mark.
    #[tokio::test]
    async fn one_that_executes_again_and_again_is_never_missed() {
        let uid = Uid::new();
        let again = "exec sh -c \"$0\" \"$0\"";
        let mut child = Command::new("sh").args(["-c", again, again]).env("SHMOOZE_UID", uid.to_string()).spawn().unwrap();
        let (pid, sweeper) = (i32::try_from(child.id()).unwrap(), Sweeper::new());
        let mut found = Vec::new();
        for _ in 0..500 {
            found.push(sweeper.members(uid, -1).await);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, vec![vec![pid]; 500]);
        assert_eq!(sweeper.members(uid, -1).await, [0; 0]);
    }
}
