//! Which machines there are.

use std::fmt;

/// A Debian release, and with it a version of systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Suite {
    /// The release's name as the archive has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The major version of systemd that the release ships.
    pub fn systemd(self) -> u32 {
        match self {
            Self::Bookworm => 252,
            Self::Trixie => 257,
        }
    }
}

/// A make of machine and what is installed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// systemd-nspawn on the host's kernel.
    Container(Suite),
    /// A whole machine with a kernel of its own, emulated by qemu.
    Emulated(Suite),
}

impl Kind {
    /// A container of each release.
    pub const CONTAINERS: &'static [Self] = &[Self::Container(Suite::Bookworm), Self::Container(Suite::Trixie)];
    /// An emulated machine of each release.
    pub const EMULATED: &'static [Self] = &[Self::Emulated(Suite::Bookworm), Self::Emulated(Suite::Trixie)];
    /// All of them, for tests of what both makes must do alike.
    pub const ALL: &'static [Self] = &[
        Self::Container(Suite::Bookworm),
        Self::Container(Suite::Trixie),
        Self::Emulated(Suite::Bookworm),
        Self::Emulated(Suite::Trixie),
    ];

    /// The release.
    pub fn suite(self) -> Suite {
        match self {
            Self::Container(suite) | Self::Emulated(suite) => suite,
        }
    }

    /// The make, as `roots.sh` calls it.
    pub(crate) fn make(self) -> &'static str {
        match self {
            Self::Container(_) => "container",
            Self::Emulated(_) => "emulated",
        }
    }

    /// Whether it is a whole machine with a kernel of its own.
    pub fn is_emulated(self) -> bool {
        matches!(self, Self::Emulated(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.suite().name(), self.make())
    }
}
