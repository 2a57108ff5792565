//! The guard against real sockets, processes, users and control groups.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use nix::sys::stat::fstat;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use tokio::sync::watch;

use super::sock_diag::look_up;
use super::*;
use crate::scope::State;

/// A user that no process of the tests is.
const NOBODY: u32 = 65534;

/// One connection over a listener of its own; the listener is kept, as a module's port is.
struct Connection<T> {
    _listener: TcpListener,
    peer: T,
    accepted: TcpStream,
}

impl<T> Connection<T> {
    fn new(ip: IpAddr, begin: impl FnOnce(SocketAddr) -> T) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let peer = begin(listener.local_addr().unwrap());
        let accepted = listener.accept().unwrap().0;
        Self { _listener: listener, peer, accepted }
    }

    /// Both addresses, that of the peer first.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.accepted.peer_addr().unwrap(), self.accepted.local_addr().unwrap())
    }

    fn look_up(&self) -> Option<Socket> {
        let (peer, local) = self.addresses();
        look_up(peer, local).unwrap()
    }

    fn glance(&self, guard: &Guard) -> Verdict {
        let (peer, local) = self.addresses();
        guard.glance(peer, local)
    }

    async fn judge(&self, guard: &Guard) -> Verdict {
        match self.glance(guard) {
            Verdict::Unsure(unsure) => guard.search(unsure).await,
            verdict => verdict,
        }
    }
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// From this process.
fn own_connection() -> Connection<TcpStream> {
    Connection::new(V4, |address| TcpStream::connect(address).unwrap())
}

/// From a child, which lives until it is dropped.
fn connection_of(mut command: Command) -> Connection<Tied> {
    Connection::new(V4, |address| {
        let child = command.env("PORT", address.port().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tied = Tied(child.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(tied.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "connected\n");
        tied
    })
}

/// Connects to `$PORT`, says so and waits.
const CONNECT: &str = "exec 3<>/dev/tcp/127.0.0.1/$PORT; echo connected; exec cat <&3";

fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]);
    command
}

/// A child that ends with the test.
struct Tied(Child);

impl Drop for Tied {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Tied {
    fn sleep() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }
}

fn guard(pid: u32, cgroup: Option<&Path>) -> Guard {
    let (_, state) = watch::channel(State::Running);
    Guard::new(Uid::new(), &Launched { pid, cgroup: cgroup.map(Path::to_owned), state })
}

/// Children that other tests begin have all descriptors of this process, until they execute their programs.
pub(super) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::yield_now();
    }
}

fn inode(socket: &impl std::os::fd::AsFd) -> u32 {
    u32::try_from(fstat(socket).unwrap().st_ino).unwrap()
}

fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can act as other users");
    }
    root
}

/// A socket of IPv6 that speaks IPv4, as Java's do.
fn mapped(address: SocketAddr) -> OwnedFd {
    let socket = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), address.port()))).unwrap();
    socket
}

/// A socket that can reach nothing but this machine.
fn bound_to_device(address: SocketAddr) -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    setsockopt(&socket, BindToDevice, &"lo".into()).unwrap();
    connect(&socket, &address).unwrap();
    socket
}

#[test]
fn every_kind_of_socket_is_found() {
    let usual = |address| OwnedFd::from(TcpStream::connect(address).unwrap());
    let connections = [
        ("IPv4", Connection::new(V4, usual)),
        ("IPv6", Connection::new(V6, usual)),
        ("IPv4 on IPv6", Connection::new(V4, mapped)),
        ("bound to a device", Connection::new(V4, bound_to_device)),
    ];
    for (kind, connection) in connections {
        let found = connection.look_up().unwrap_or_else(|| panic!("{kind}: not found"));
        assert_eq!((found.user, found.inode), (own_user(), inode(&connection.peer)), "{kind}");
        // This end of it is another socket.
        let (peer, local) = connection.addresses();
        assert_eq!(look_up(local, peer).unwrap().unwrap().inode, inode(&connection.accepted), "{kind}");
    }
}

#[test]
fn what_is_closed_is_nobodys() {
    // In FIN_WAIT2: this end is open yet.
    let Connection { _listener, peer, accepted } = own_connection();
    let addresses = (accepted.peer_addr().unwrap(), accepted.local_addr().unwrap());
    drop(peer);
    eventually("closed by the peer", || look_up(addresses.0, addresses.1).unwrap().is_none());
    // In TIME_WAIT.
    drop(accepted);
    assert_eq!(look_up(addresses.0, addresses.1).unwrap(), None);
    let guard = guard(std::process::id(), None);
    assert_eq!(guard.glance(addresses.0, addresses.1), Verdict::Stranger(Stranger::GONE));
    assert_eq!(Stranger::GONE.describe(), "somebody who had gone again");
}

/// One that has said all that it will is there yet.
#[test]
fn a_half_closed_stream_is_somebodys() {
    let connection = own_connection();
    connection.peer.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(connection.look_up().unwrap().inode, inode(&connection.peer));
}

/// Asked for a connection that there is not, the kernel names whoever listens on the address.
#[test]
fn one_that_listens_has_not_connected() {
    let listener = TcpListener::bind((V4, 0)).unwrap();
    assert_eq!(look_up(listener.local_addr().unwrap(), (V4, 1).into()).unwrap(), None);
}

#[test]
fn the_main_process_is_the_module() {
    let connection = own_connection();
    assert_eq!(connection.glance(&guard(std::process::id(), None)), Verdict::Module);
}

#[test]
fn a_child_of_the_main_process_is_the_module() {
    let connection = connection_of(bash(CONNECT));
    assert_eq!(connection.glance(&guard(std::process::id(), None)), Verdict::Module);
}

#[tokio::test]
async fn another_process_of_the_same_user_is_a_stranger() {
    let (connection, main) = (own_connection(), Tied::sleep());
    let guard = guard(main.0.id(), None);
    assert!(matches!(connection.glance(&guard), Verdict::Unsure(_)));
    let Verdict::Stranger(stranger) = connection.judge(&guard).await else { panic!("let in") };
    let said = stranger.describe();
    assert!(said.contains(&format!("(user {})", own_user())), "{said}");
    eventually("its process is named", || stranger.describe().ends_with(&format!(", process {}", std::process::id())));
}

/// A program that leaves a daemon in its session and ends.
#[tokio::test]
async fn a_daemon_is_found_by_its_session() {
    let mut script = Command::new("setsid");
    script.args(["bash", "-c", "(eval \"$CONNECT\" &); exec true"]).env("CONNECT", CONNECT);
    let mut connection = connection_of(script);
    let guard = guard(connection.peer.0.id(), None);
    connection.peer.0.wait().unwrap();
    assert!(matches!(connection.glance(&guard), Verdict::Unsure(_)));
    assert_eq!(connection.judge(&guard).await, Verdict::Module);
}

/// One that began a session of its own.
#[tokio::test]
async fn a_daemon_is_found_by_its_mark() {
    let (main, uid) = (Tied::sleep(), Uid::new());
    let daemon = |mark: &Uid| {
        let mut command = Command::new("setsid");
        command.args(["bash", "-c", CONNECT]).env("SHMOOZE_UID", mark.to_string());
        connection_of(command)
    };
    let (own, other) = (daemon(&uid), daemon(&Uid::new()));
    let guard = Guard { uid, ..guard(main.0.id(), None) };
    assert_eq!(own.judge(&guard).await, Verdict::Module);
    assert!(matches!(other.judge(&guard).await, Verdict::Stranger(_)));
}

#[test]
fn another_user_is_a_stranger_at_a_glance() {
    if !is_root() {
        return;
    }
    let mut command = bash(CONNECT);
    let connection = connection_of({
        command.uid(NOBODY);
        command
    });
    let main = Tied::sleep();
    let Verdict::Stranger(stranger) = connection.glance(&guard(main.0.id(), None)) else { panic!("let in") };
    assert!(stranger.describe().contains(&format!("(user {NOBODY}), process ")), "{}", stranger.describe());
    // Root is another user too.
    let main = Tied(Command::new("sleep").arg("1000").uid(NOBODY).spawn().unwrap());
    assert!(matches!(own_connection().glance(&guard(main.0.id(), None)), Verdict::Stranger(_)));
}

/// What `sudo` and its like do.
#[test]
fn a_child_that_became_another_user_is_the_module() {
    if !is_root() {
        return;
    }
    let mut command = bash(CONNECT);
    command.uid(NOBODY);
    assert_eq!(connection_of(command).glance(&guard(std::process::id(), None)), Verdict::Module);
}

/// A control group that is removed with the test.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mount = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists());
        let group = mount.map(|mount| Self(mount.join(format!("shmooze-{}", Uid::new()))));
        let group = group.filter(|group| std::fs::create_dir_all(group.0.join("below")).is_ok());
        if group.is_none() {
            eprintln!("skipped: no control groups of version 2 that can be made here");
        }
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(self.0.join("below"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_scope_is_known_by_its_control_group() {
    let Some(group) = Group::new() else { return };
    let made_in = |directory: &Path| {
        let procs = directory.join("cgroup.procs");
        connection_of(bash(&format!("echo $$ > {}; {CONNECT}", procs.display())))
    };
    // Neither the main process nor the user counts.
    let nobody = guard(u32::MAX, Some(&group.0));
    assert_eq!(nobody.scope.as_ref().unwrap().inode, group.0.metadata().unwrap().ino());
    let inside = made_in(&group.0);
    assert_eq!(inside.look_up().unwrap().cgroup, Some(group.0.metadata().unwrap().ino()));
    assert_eq!(inside.glance(&nobody), Verdict::Module);
    assert_eq!(made_in(&group.0.join("below")).glance(&nobody), Verdict::Module);

    let below = guard(std::process::id(), Some(&group.0.join("below")));
    assert!(matches!(inside.glance(&below), Verdict::Stranger(_)), "above it");
}

#[test]
fn a_scope_takes_no_one_from_another() {
    let (Some(group), Some(other)) = (Group::new(), Group::new()) else { return };
    let procs = other.0.join("cgroup.procs");
    let connection = connection_of(bash(&format!("echo $$ > {}; {CONNECT}", procs.display())));
    // Though it is a child of the main process.
    assert!(matches!(connection.glance(&guard(std::process::id(), Some(&group.0))), Verdict::Stranger(_)));
    drop(connection);
}

/// As where a service may not see `/sys/fs/cgroup`.
#[tokio::test]
async fn a_scope_that_cannot_be_seen_is_known_by_its_processes() {
    let guard = guard(std::process::id(), Some(Path::new("/sys/fs/cgroup/no-such-group.scope")));
    assert_eq!(own_connection().glance(&guard), Verdict::Module);
}
