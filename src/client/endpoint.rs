//! Where a service listens.

use std::fmt;
use std::path::PathBuf;

/// The address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port. The host `localhost` is 127.0.0.1 and then ::1, without asking a resolver (RFC 6761 section 6.3).
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// `port` on this machine.
    #[must_use]
    pub fn local(port: u16) -> Self {
        Self::Tcp { host: "localhost".to_owned(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        assert_eq!(Endpoint::local(80).to_string(), "localhost:80");
        assert_eq!(Endpoint::Tcp { host: "::1".into(), port: 80 }.to_string(), "[::1]:80");
        assert_eq!(Endpoint::Unix("/run/x".into()).to_string(), "/run/x");
    }
}
