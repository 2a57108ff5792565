//! Where a module's two streams come in.

use std::io;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::door::{Door, Glance};
use crate::loopback;

/// How often another port is tried where the one found for IPv4 is taken on IPv6.
const TRIES: usize = 16;
/// How many connections to one port may be searched for at once; others wait until one of them is known.
const SEARCHES: usize = 64;

/// One loopback port on 127.0.0.1 and, where there is one, on ::1: the module is told `localhost`, and Node tries the
/// latter first (protocol.md section 5).
#[derive(Debug)]
struct Port {
    number: u16,
    v4: TcpListener,
    v6: Option<TcpListener>,
}

impl Port {
    async fn bind() -> io::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            match loopback::bind(0) {
                Ok((v4, v6)) => return Ok(Self { number: v4.local_addr()?.port(), v4, v6 }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next connection, whoever makes it.
    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(match &self.v6 {
            None => self.v4.accept().await?.0,
            Some(v6) => tokio::select! {
                accepted = self.v4.accept() => accepted?.0,
                accepted = v6.accept() => accepted?.0,
            },
        })
    }

    /// The module's own connection; others are turned away at the door.
    async fn admit(&self, door: &Arc<Door>, stream: &'static str) -> io::Result<TcpStream> {
        let mut searches = JoinSet::new();
        let admitted = loop {
            tokio::select! {
                accepted = self.accept(), if searches.len() < SEARCHES => match accepted {
                    Ok(accepted) => match door.glance(accepted, stream) {
                        Glance::Module(accepted) => break accepted,
                        Glance::Stranger => {}
                        // Whoever comes after it need not wait for what comes of it.
                        Glance::Unsure(unsure) => drop(searches.spawn(Arc::clone(door).search(unsure, stream))),
                    },
                    // It has gone again before it could be taken.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => return Err(error),
                },
                Some(found) = searches.join_next() => if let Ok(Some(found)) = found { break found },
            }
        };
        searches.detach_all();
        admitted.set_nodelay(true)?;
        Ok(admitted)
    }
}

/// The two ports of one module.
#[derive(Debug)]
pub(super) struct Ports {
    command: Port,
    update: Port,
}

/// The two streams of one module.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) command: TcpStream,
    pub(super) update: TcpStream,
}

impl Ports {
    pub(super) async fn bind() -> io::Result<Self> {
        Ok(Self { command: Port::bind().await?, update: Port::bind().await? })
    }

    pub(super) const fn command(&self) -> u16 {
        self.command.number
    }

    pub(super) const fn update(&self) -> u16 {
        self.update.number
    }

    /// Waits until the module, as the door knows it, has connected to both, in either order.
    pub(super) async fn accept(&self, door: &Arc<Door>) -> io::Result<Streams> {
        let (command, update) = tokio::try_join!(self.command.admit(door, "command"), self.update.admit(door, "update"))?;
        Ok(Streams { command, update })
    }
}
