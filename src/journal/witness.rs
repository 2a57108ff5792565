//! What happens to one module, or to a program of the application.

use std::sync::Arc;

use crate::protocol::Uid;

/// `MESSAGE_ID` of each event, explained in `units/shmooze.catalog`.
mod id {
    pub(super) const LAUNCHED: &str = "7591b57baf634914b2c8dc4eb9e66920";
    pub(super) const PLAYING: &str = "44610539ce5449e2a34a13401ae5015e";
    pub(super) const SUSPENDED: &str = "6823fa311c134ad59f070ddcc10616dc";
    pub(super) const RESTARTING: &str = "5d1c0b7e3f0c4f5a9c6be1f4a27d8e30";
    pub(super) const GIVEN_UP: &str = "c84f2b6a91d34e0fb7a05e3c6d19f872";
    pub(super) const ENDED: &str = "dc2de04f547c4ea387e6928003957c15";
    pub(super) const PROGRAM_LAUNCHED: &str = "9a0d8f2e1c6b4d0f8a35e27b64c1d793";
    pub(super) const PROGRAM_ENDED: &str = "0b6e5c1f94d84a7ea2c93d68f70e1b25";
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
            SHMOOZE_EVENT = $event,
            $($fields)*
            $($message)+
        )
    };
}

/// As `tell`, of a module, which has a type.
macro_rules! tell_of_module {
    ($level:ident, $witness:expr, $event:literal, $id:expr, { $($fields:tt)* }, $($message:tt)+) => {
        tell!($level, $witness, $event, $id, { SHMOOZE_TYPE = %$witness.type_name, $($fields)* }, $($message)+)
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
        tell_of_module!(info, self, "launched", id::LAUNCHED, { SHMOOZE_PID = pid, SHMOOZE_SCOPE = scope, },
            "module {module}: {type_name} is launched as process {pid}");
    }

    /// It obeyed a `play`.
    pub fn playing(&self) {
        tell_of_module!(info, self, "playing", id::PLAYING, {}, "module {}: plays", self.uid.short());
    }

    /// It obeyed a `suspend`.
    pub fn suspended(&self) {
        tell_of_module!(info, self, "suspended", id::SUSPENDED, {}, "module {}: is suspended", self.uid.short());
    }

    /// No process of it is left; `well` where nothing went wrong.
    pub fn ended(&self, fields: EndFields<'_>, how: &str, well: bool) {
        let EndFields { cause, reached, exit_code, exit_status } = fields;
        let module = self.uid.short();
        if well {
            tell_of_module!(info, self, "ended", id::ENDED, { SHMOOZE_CAUSE = cause, SHMOOZE_REACHED = reached, EXIT_CODE = exit_code, EXIT_STATUS = exit_status, },
                "module {module}: {how}");
        } else {
            tell_of_module!(warn, self, "ended", id::ENDED, { SHMOOZE_CAUSE = cause, SHMOOZE_REACHED = reached, EXIT_CODE = exit_code, EXIT_STATUS = exit_status, },
                "module {module}: {how}");
        }
    }

    /// It is started again in `delay` ms, for the time numbered `restarts`.
    pub fn restarting(&self, delay: u64, restarts: u32) {
        let module = self.uid.short();
        tell_of_module!(info, self, "restarting", id::RESTARTING, { SHMOOZE_RESTARTS = restarts, SHMOOZE_DELAY = delay, },
            "module {module}: is started again in {delay} ms (restart {restarts})");
    }

    /// It is not started again, though it failed and modules of its type are.
    pub fn given_up(&self, restarts: u32, why: &str) {
        let module = self.uid.short();
        tell_of_module!(warn, self, "given_up", id::GIVEN_UP, { SHMOOZE_RESTARTS = restarts, },
            "module {module}: is given up: {why}");
    }

    /// Somebody else was refused, or something that it did.
    pub fn refused(&self, what: &str) {
        tell_of_module!(warn, self, "refused", id::REFUSED, {}, "module {}: refused {what}", self.uid.short());
    }
}

/// Tells of an application's own service, which is no module: it has no type and no place in a list.
#[derive(Debug, Clone)]
pub struct ProgramWitness {
    service: Arc<str>,
    uid: Uid,
}

impl ProgramWitness {
    /// Of the program of this service, for the one time that it runs as `uid`.
    #[must_use]
    pub fn new(service: impl Into<Arc<str>>, uid: Uid) -> Self {
        Self { service: service.into(), uid }
    }

    /// It is about to be executed, in the scope of this name where it has one.
    pub fn launched(&self, pid: u32, scope: Option<&str>) {
        tell!(info, self, "launched", id::PROGRAM_LAUNCHED, { SHMOOZE_PID = pid, SHMOOZE_SCOPE = scope, },
            "{}: launched as process {pid}", self.service);
    }

    /// It has ended, which it should not.
    pub fn ended(&self, exit: impl std::fmt::Display) {
        tell!(warn, self, "ended", id::PROGRAM_ENDED, {}, "{}: ended: {exit}; it is started again", self.service);
    }

    /// It could not be started.
    pub fn not_started(&self, error: impl std::fmt::Display) {
        tracing::error!(SHMOOZE_SERVICE = %self.service, "{}: {error}", self.service);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Kept;
    use super::*;

    #[test]
    fn a_program_of_the_application_is_no_module() {
        let told = Kept::during(|| {
            let witness = ProgramWitness::new("volume", Uid::new());
            witness.launched(7, Some("x.scope"));
            witness.ended("exit status 1");
            witness.not_started("x could not be started: no");
        });
        let messages: Vec<&str> = told.iter().map(|fields| fields["message"].as_str()).collect();
        let expected = [
            "volume: launched as process 7",
            "volume: ended: exit status 1; it is started again",
            "volume: x could not be started: no",
        ];
        assert_eq!(messages, expected);
        assert!(told.iter().all(|fields| fields["SHMOOZE_SERVICE"] == "volume" && !fields.contains_key("SHMOOZE_TYPE")));
        assert_eq!(
            (&*told[0]["SHMOOZE_EVENT"], &*told[0]["SHMOOZE_PID"], &*told[0]["SHMOOZE_SCOPE"]),
            ("launched", "7", "x.scope")
        );
        let catalog = include_str!("../../units/shmooze.catalog");
        assert!(told[..2].iter().all(|fields| catalog.contains(&format!("-- {}\n", fields["MESSAGE_ID"]))));
    }
}
