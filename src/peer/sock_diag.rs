//! What the kernel knows of a TCP socket of this machine, by its two addresses (sock_diag(7)).
//!
//! One netlink socket for the whole process. The kernel answers within the call that asks, so the answer is there when the
//! question is sent: nothing waits, nothing is woken, and no privilege is needed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, Nla as _};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_LISTEN};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `INET_DIAG_CGROUP_ID` (linux/inet_diag.h): the control group in which the socket was made. Comes unasked since Linux 5.8.
const CGROUP_ID: u16 = 21;
/// The index of the interface `lo`, the same everywhere. With it sockets are found that are bound to it, and those that
/// are bound to none; without, only the latter.
const LOOPBACK_INTERFACE: u32 = 1;
/// More than any answer has.
const ANSWER_BYTES: usize = 4096;

/// One end of a connection, as long as a process has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    /// Who made it: the effective user then.
    pub(super) user: u32,
    /// Its number, as in `/proc/PID/fd`: `socket:[2706977]`.
    pub(super) inode: u32,
    /// The number of the control group in which it was made, where the kernel tells.
    pub(super) cgroup: Option<u64>,
}

/// Why the kernel cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unavailable(String);

impl Unavailable {
    fn because(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// The socket whose own address is `local` and that is connected to `remote`; `None` where there is none, or where no
/// process has it open any more.
///
/// # Errors
/// Where this kernel, or a filter of system calls, does not let anyone ask.
pub(super) fn look_up(local: SocketAddr, remote: SocketAddr) -> Result<Option<Socket>, Unavailable> {
    static KERNEL: Mutex<Option<Result<Kernel, Unavailable>>> = Mutex::new(None);
    let mut kernel = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = kernel.get_or_insert_with(Kernel::open).as_mut().map_err(|error| error.clone())?.ask(local, remote);
    if found.is_err() {
        // An answer that is still under way would be taken for that to the next question.
        *kernel = None;
    }
    let found = found?.filter(|found| (found.local, found.remote) == (canonical(local), canonical(remote)));
    Ok(found.filter(|found| !found.listens && found.socket.inode != 0).map(|found| found.socket))
}

/// An IPv4 address is the same whether its socket is of IPv4 or, as Java's are, of IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What was found for a pair of addresses: where there is no such connection, whoever listens on the first of them.
#[derive(Debug)]
struct Found {
    local: SocketAddr,
    remote: SocketAddr,
    listens: bool,
    socket: Socket,
}

impl Found {
    fn new(response: &InetResponse) -> Self {
        let header = &response.header;
        let id = &header.socket_id;
        Self {
            local: canonical(SocketAddr::new(id.source_address, id.source_port)),
            remote: canonical(SocketAddr::new(id.destination_address, id.destination_port)),
            listens: header.state == TCP_LISTEN,
            socket: Socket { user: header.uid, inode: header.inode, cgroup: response.nlas.iter().find_map(cgroup_id) },
        }
    }
}

fn cgroup_id(attribute: &Nla) -> Option<u64> {
    let Nla::Other(other) = attribute else { return None };
    let mut bytes = [0; size_of::<u64>()];
    if other.kind() != CGROUP_ID || other.value_len() != bytes.len() {
        return None;
    }
    other.emit_value(&mut bytes);
    Some(u64::from_ne_bytes(bytes))
}

/// The netlink socket.
#[derive(Debug)]
struct Kernel {
    netlink: OwnedFd,
    sequence: u32,
}

impl Kernel {
    fn open() -> Result<Self, Unavailable> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag);
        let netlink = netlink.map_err(|error| Unavailable::because("no netlink socket", error.desc()))?;
        let mut kernel = Self { netlink, sequence: 0 };
        kernel.check()?;
        Ok(kernel)
    }

    /// A kernel without its part for TCP says of every socket that there is none: it must know one that is there.
    fn check(&mut self) -> Result<(), Unavailable> {
        let unavailable = |error| Unavailable::because("no socket to try it with", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(unavailable)?;
        let address = listener.local_addr().map_err(unavailable)?;
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let inode = nix::sys::stat::fstat(&listener).map_err(|error| unavailable(error.into()))?.st_ino;
        match self.ask(address, nobody)? {
            Some(found) if u64::from(found.socket.inode) == inode => Ok(()),
            _ => Err(Unavailable("this kernel tells nothing of sockets (CONFIG_INET_TCP_DIAG)".to_owned())),
        }
    }

    fn ask(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<Option<Found>, Unavailable> {
        self.sequence = self.sequence.wrapping_add(1);
        let question = question(self.sequence, local, remote);
        let netlink = self.netlink.as_raw_fd();
        send(netlink, &question, MsgFlags::empty())
            .map_err(|error| Unavailable::because("no question to netlink", error.desc()))?;
        let mut bytes = [0; ANSWER_BYTES];
        let length = recv(netlink, &mut bytes, MsgFlags::empty());
        let length = length.map_err(|error| Unavailable::because("no answer from netlink", error.desc()))?;
        answer(self.sequence, &bytes[..length])
    }
}

fn question(sequence: u32, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    header.sequence_number = sequence;
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: LOOPBACK_INTERFACE,
            // Whichever it is.
            cookie: [0xff; 8],
        },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn answer(sequence: u32, bytes: &[u8]) -> Result<Option<Found>, Unavailable> {
    let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes);
    let message = message.map_err(|error| Unavailable::because("an answer from netlink that cannot be read", error))?;
    if message.header.sequence_number != sequence {
        return Err(Unavailable("an answer from netlink to another question".to_owned()));
    }
    match message.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => Ok(Some(Found::new(&response))),
        NetlinkPayload::Error(refusal) => match Errno::from_raw(-refusal.raw_code()) {
            Errno::ENOENT => Ok(None),
            error => Err(Unavailable::because("netlink refuses", error.desc())),
        },
        _ => Err(Unavailable("an answer from netlink that is none".to_owned())),
    }
}
