//! The application's own services under `shmooze-run`: each is kept running until the family ends.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::journal::ProgramWitness;
use crate::launcher::Local;
use crate::protocol::Uid;
use crate::scope::{Scopes, State};

/// How long after its end a service is started again; doubled with each end that follows soon, up to [`LONGEST_DELAY`].
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest such delay.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Keeps the service `name` running until `shutdown`, then stops it.
pub(super) async fn keep(name: String, launcher: Local, scopes: Arc<dyn Scopes>, shutdown: CancellationToken) {
    let mut delay = FIRST_DELAY;
    while !shutdown.is_cancelled() {
        let uid = Uid::new();
        let witness = ProgramWitness::new(name.as_str(), uid);
        let begun = tokio::time::Instant::now();
        match launcher.launch_app(&name, uid).await {
            Err(error) => witness.not_started(error),
            Ok(mut launched) => {
                tokio::select! {
                    _ = launched.state.wait_for(|state| *state != State::Running) => {}
                    () = shutdown.cancelled() => {}
                }
                // Whatever its main process left behind ends with it.
                if let Err(error) = scopes.stop(uid).await {
                    tracing::error!("{name} could not be stopped: {error}");
                }
                let _ = launched.state.wait_for(State::is_gone).await;
                if let Some(exit) = launched.state.borrow().exit().filter(|_| !shutdown.is_cancelled()) {
                    witness.ended(exit);
                }
            }
        }
        if begun.elapsed() > LONGEST_DELAY {
            delay = FIRST_DELAY;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => delay = (delay * 2).min(LONGEST_DELAY),
            () = shutdown.cancelled() => {}
        }
    }
}
