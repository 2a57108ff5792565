//! Where a module's two streams come in.

use std::io;

use tokio::net::{TcpListener, TcpStream};

use crate::loopback;

/// How often another port is tried where the one found for IPv4 is taken on IPv6.
const TRIES: usize = 16;

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
            match loopback::bind(0).await {
                Ok((v4, v6)) => return Ok(Self { number: v4.local_addr()?.port(), v4, v6 }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let stream = match &self.v6 {
            None => self.v4.accept().await?.0,
            Some(v6) => tokio::select! {
                accepted = self.v4.accept() => accepted?.0,
                accepted = v6.accept() => accepted?.0,
            },
        };
        stream.set_nodelay(true)?;
        Ok(stream)
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

    /// Waits until the module has connected to both, in either order.
    pub(super) async fn accept(&self) -> io::Result<Streams> {
        let (command, update) = tokio::try_join!(self.command.accept(), self.update.accept())?;
        Ok(Streams { command, update })
    }
}
