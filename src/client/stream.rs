//! A stream of bytes to a service, over TCP or a Unix socket.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Endpoint;

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = match endpoint {
            Endpoint::Unix(path) => return UnixStream::connect(path).await.map(Self::Unix),
            Endpoint::Tcp { host, port } if host == "localhost" => {
                let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, *port).into(), (Ipv6Addr::LOCALHOST, *port).into()];
                // A service listens on one of the two as a rule; the error that counts is the first address's.
                match TcpStream::connect(addresses[0]).await {
                    Ok(stream) => stream,
                    Err(error) => TcpStream::connect(addresses[1]).await.map_err(|_| error)?,
                }
            }
            Endpoint::Tcp { host, port } => TcpStream::connect((host.as_str(), *port)).await?,
        };
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Reads what has come into `buffer`'s spare room; 0 at the end of the stream.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await,
            Self::Unix(stream) => stream.read_buf(buffer).await,
        }
    }

    /// Writes some of `slices`.
    pub(super) async fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices).await,
            Self::Unix(stream) => stream.write_vectored(slices).await,
        }
    }

    /// Whether the stream is open and silent: no byte waits to be read, nor the end of the stream. The runtime knows
    /// that from the last time that it looked for events, as a rule without a system call.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}
