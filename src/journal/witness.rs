//! What happens to one module.

use std::sync::Arc;

use crate::protocol::Uid;

/// `MESSAGE_ID` of each event, explained in `units/shmooze.catalog`.
mod id {
    pub(super) const LAUNCHED: &str = "7591b57baf634914b2c8dc4eb9e66920";
    pub(super) const PLAYING: &str = "44610539ce5449e2a34a13401ae5015e";
    pub(super) const SUSPENDED: &str = "6823fa311c134ad59f070ddcc10616dc";
    pub(super) const ENDED: &str = "dc2de04f547c4ea387e6928003957c15";
    pub(super) const REFUSED: &str = "62dfac8467524bf297533806e33ba026";
}

/// Tells of one module.
#[derive(Debug, Clone)]
pub struct Witness {
    service: Arc<str>,
    uid: Uid,
    type_name: Arc<str>,
}

/// How a module ended, as fields.
#[derive(Debug, Clone, Copy)]
pub struct EndFields<'a> {
    /// `SHMOOZE_CAUSE`: why it had to end.
    pub cause: &'a str,
    /// `SHMOOZE_REACHED`: how far its ending had to go.
    pub reached: &'a str,
    /// `EXIT_CODE`: `exited`, `killed` or empty, as systemd has it (`systemd.exec(5)`).
    pub exit_code: &'a str,
    /// `EXIT_STATUS`: the status or the name of the signal.
    pub exit_status: &'a str,
}

macro_rules! tell {
    ($level:ident, $witness:expr, $event:literal, $id:expr, { $($fields:tt)* }, $($message:tt)+) => {
        tracing::$level!(
            MESSAGE_ID = $id,
            SHMOOZE_SERVICE = %$witness.service,
            SHMOOZE_UID = %$witness.uid,
            SHMOOZE_TYPE = %$witness.type_name,
            SHMOOZE_EVENT = $event,
            $($fields)*
            $($message)+
        )
    };
}

impl Witness {
    /// Of this module.
    #[must_use]
    pub fn new(service: impl Into<Arc<str>>, uid: Uid, type_name: impl Into<Arc<str>>) -> Self {
        Self { service: service.into(), uid, type_name: type_name.into() }
    }

    /// Its program is about to be executed, in the scope of this name where it has one. Told by whoever holds it, so that it
    /// stands before what the program says itself.
    pub fn launched(&self, pid: u32, scope: Option<&str>) {
        let (module, type_name) = (self.uid.short(), &self.type_name);
        tell!(info, self, "launched", id::LAUNCHED, { SHMOOZE_PID = pid, SHMOOZE_SCOPE = scope, },
            "module {module}: {type_name} is launched as process {pid}");
    }

    /// It obeyed a `play`.
    pub fn playing(&self) {
        tell!(info, self, "playing", id::PLAYING, {}, "module {}: plays", self.uid.short());
    }

    /// It obeyed a `suspend`.
    pub fn suspended(&self) {
        tell!(info, self, "suspended", id::SUSPENDED, {}, "module {}: is suspended", self.uid.short());
    }

    /// No process of it is left; `well` where nothing went wrong.
    pub fn ended(&self, fields: EndFields<'_>, how: &str, well: bool) {
        let EndFields { cause, reached, exit_code, exit_status } = fields;
        let module = self.uid.short();
        if well {
            tell!(info, self, "ended", id::ENDED, { SHMOOZE_CAUSE = cause, SHMOOZE_REACHED = reached, EXIT_CODE = exit_code, EXIT_STATUS = exit_status, },
                "module {module}: {how}");
        } else {
            tell!(warn, self, "ended", id::ENDED, { SHMOOZE_CAUSE = cause, SHMOOZE_REACHED = reached, EXIT_CODE = exit_code, EXIT_STATUS = exit_status, },
                "module {module}: {how}");
        }
    }

    /// Somebody else was refused, or something that it did.
    pub fn refused(&self, what: &str) {
        tell!(warn, self, "refused", id::REFUSED, {}, "module {}: refused {what}", self.uid.short());
    }
}
