//! Who is let in to a module's two streams, and what is said of those who are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;

use crate::journal::Witness;
use crate::peer::{Guard, Stranger, Unsure, Verdict};
use crate::protocol::Uid;
use crate::scope::Launched;

/// How many refusals of one module are told one by one.
const TOLD: usize = 4;

/// The door of one module, while it is awaited.
#[derive(Debug)]
pub(super) struct Door {
    witness: Witness,
    guard: Guard,
    refused: AtomicUsize,
}

/// What the first glance at a connection tells.
#[derive(Debug)]
pub(super) enum Glance {
    /// It is the module's.
    Module(TcpStream),
    /// It is not, and is closed.
    Stranger,
    /// It takes a [search](Door::search) to know.
    Unsure((TcpStream, Unsure)),
}

impl Door {
    /// A door for the module that was just launched.
    pub(super) fn new(uid: Uid, witness: Witness, launched: &Launched) -> Self {
        Self { witness, guard: Guard::new(uid, launched), refused: AtomicUsize::new(0) }
    }

    /// Looks at whoever has connected; `stream` is what the port is for.
    pub(super) fn glance(&self, accepted: TcpStream, stream: &'static str) -> Glance {
        let verdict = match (accepted.peer_addr(), accepted.local_addr()) {
            (Ok(peer), Ok(local)) => self.guard.glance(peer, local),
            // It has gone again.
            _ => Verdict::Stranger(Stranger::GONE),
        };
        match verdict {
            Verdict::Module => Glance::Module(accepted),
            Verdict::Stranger(stranger) => {
                self.refuse(accepted, stranger, stream);
                Glance::Stranger
            }
            Verdict::Unsure(unsure) => Glance::Unsure((accepted, unsure)),
        }
    }

    /// Finds out about one of whom a glance told nothing; `None` where it is a stranger, whose connection is closed.
    pub(super) async fn search(
        self: Arc<Self>,
        (accepted, unsure): (TcpStream, Unsure),
        stream: &'static str,
    ) -> Option<TcpStream> {
        match self.guard.search(unsure).await {
            Verdict::Module => Some(accepted),
            Verdict::Stranger(stranger) => {
                self.refuse(accepted, stranger, stream);
                None
            }
            // A search is the last that there is to do.
            Verdict::Unsure(_) => None,
        }
    }

    fn refuse(&self, accepted: TcpStream, stranger: Stranger, stream: &'static str) {
        // A flood of them must fill no log, nor keep anybody busy with finding out who they are.
        if self.refused.fetch_add(1, Ordering::Relaxed) >= TOLD {
            return;
        }
        let witness = self.witness.clone();
        tokio::task::spawn_blocking(move || {
            let who = stranger.describe();
            witness.refused(&format!("a connection to its {stream} stream by {who}: not one of its processes"));
            // Not before: whoever is told to go may be gone when it is looked for.
            drop(accepted);
        });
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let untold = self.refused.load(Ordering::Relaxed).saturating_sub(TOLD);
        if untold > 0 {
            self.witness.refused(&format!("{untold} more connections to its streams"));
        }
    }
}
