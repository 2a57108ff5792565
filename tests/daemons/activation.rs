//! Sockets that the service manager hands over.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use nix::sys::signal::Signal;

use super::manager::{Manager, Program, SERVICES, Socket, unnamed};
use crate::common::{Daemon, PATIENCE, World, free_port};

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn local(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap()
}

fn connect(port: u16) -> TcpStream {
    patient(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap())
}

#[test]
fn a_client_that_was_there_before_the_service_is_served() {
    for program in SERVICES {
        let (world, manager) = (World::new(), Manager::new());
        let listener = local(program.port(&world));
        let mut client = connect(program.port(&world));
        client.write_all(program.request().as_bytes()).unwrap();
        let _daemon = manager.start(program, &world, vec![unnamed(listener)]);
        program.expect_answer(client);
    }
}

#[test]
fn all_sockets_are_served_whatever_their_kind() {
    for program in SERVICES {
        let (world, manager) = (World::new(), Manager::new());
        let port = program.port(&world);
        let path = world.path("socket");
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap();
        let (second, unix) = (local(0), UnixListener::bind(&path).unwrap());
        let also = second.local_addr().unwrap().port();
        let sockets = vec![unnamed(unix), unnamed(v6), unnamed(local(port)), unnamed(second)];
        let _daemon = manager.start(program, &world, sockets);
        for _ in 0..2 {
            let unix = UnixStream::connect(&path).unwrap();
            unix.set_read_timeout(Some(PATIENCE)).unwrap();
            program.ask(unix);
            program.ask(patient(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap()));
            program.ask(connect(port));
            program.ask(connect(also));
        }
    }
}

#[test]
fn a_unix_socket_alone_is_enough() {
    for program in SERVICES {
        let (world, manager) = (World::new(), Manager::new());
        let path = world.path("socket");
        let daemon = manager.start(program, &world, vec![unnamed(UnixListener::bind(&path).unwrap())]);
        program.ask(UnixStream::connect(&path).unwrap());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, program.port(&world))).is_err(), "nothing else is bound");
        daemon.wait_for_log("who goes by the settings does not find it");
    }
}

#[test]
fn without_sockets_of_its_own_it_binds_the_port() {
    for program in SERVICES {
        let (world, manager) = (World::new(), Manager::new());
        let mut command = manager.command(program, &world, vec![]);
        // Meant for the process that started this one.
        let _daemon = Daemon::start(command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1"), 0);
        manager.until("READY=1");
        program.ask(connect(program.port(&world)));
    }
}

/// What it says last before it ends, which must be because of what it was configured to.
fn refusal(program: Program, world: &World, sockets: Vec<Socket>, count: Option<&str>) -> String {
    let manager = Manager::new();
    let mut command = manager.command(program, world, sockets);
    if let Some(count) = count {
        command.env("LISTEN_FDS", count);
    }
    let (status, log) = Daemon::start(&mut command, 0).end();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(!manager.rest().contains(&"READY=1".to_owned()));
    log.lines().last().unwrap().to_owned()
}

#[test]
fn what_is_no_listening_stream_socket_is_one_sentence() {
    let world = World::new();
    let refused = |socket| refusal(Program::Queue, &world, vec![unnamed(local(0)), socket], None);
    let (near, _far) = UnixStream::pair().unwrap();
    let listener = local(0);
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    for socket in [
        unnamed(File::open("/dev/null").unwrap()),
        unnamed(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()),
        unnamed(UnixDatagram::unbound().unwrap()),
        unnamed(near),
        unnamed(connected),
    ] {
        assert_eq!(refused(socket), "shmooze-queue: descriptor 4 of socket activation is no listening stream socket");
    }
    for program in super::manager::PROGRAMS {
        let name = program.name();
        let refused = refusal(program, &world, vec![unnamed(File::open("/dev/null").unwrap())], None);
        assert_eq!(refused, format!("{name}: descriptor 3 of socket activation is no listening stream socket"));
    }
    let fewer = refusal(Program::Queue, &world, vec![unnamed(local(0))], Some("2"));
    assert_eq!(fewer, "shmooze-queue: descriptor 4 of socket activation is no listening stream socket");
    let many = refusal(Program::Queue, &world, vec![unnamed(local(0))], Some("1000000000000"));
    assert_eq!(many, "shmooze-queue: LISTEN_FDS names more than 65536 descriptors");
}

/// Its whole log, from the start to an end in order.
fn log(program: Program, world: &World, sockets: Vec<Socket>) -> String {
    let manager = Manager::new();
    let daemon = manager.start(program, world, sockets);
    manager.until("READY=1");
    daemon.signal(Signal::SIGTERM);
    let (status, log) = daemon.end();
    assert!(status.success(), "{log}");
    log
}

#[test]
fn sockets_that_are_not_those_of_the_settings_are_said_once() {
    for (program, key) in SERVICES.into_iter().zip(["ports.queue", "ports.pool", "ports.wsgi"]) {
        let world = World::new();
        let port = program.port(&world);
        let same = log(program, &world, vec![unnamed(local(port))]);
        assert!(!same.contains("as the service manager has it"), "{same}");
        let other = local(0);
        let address = other.local_addr().unwrap();
        let differs = log(program, &world, vec![unnamed(other)]);
        let said: Vec<&str> = differs.lines().filter(|line| line.contains("as the service manager has it")).collect();
        let [said] = said[..] else { panic!("{differs}") };
        let expected = format!("serves {address}, as the service manager has it, while {}", world.settings.display());
        assert!(said.contains("WARN") && said.contains(&expected), "{said}");
        assert!(said.contains(&format!("has 127.0.0.1:{port} ({key})")), "{said}");
    }
}

#[test]
fn a_family_takes_the_sockets_of_its_members() {
    let (world, manager) = (World::new(), Manager::new());
    let path = world.path("pool");
    let (queue, gateway, pool) = (local(world.queue), local(world.gateway), UnixListener::bind(&path).unwrap());
    let clients = [(Program::Queue, connect(world.queue)), (Program::Gateway, connect(world.gateway))];
    // A TCP socket is known by its port, whatever its unit is called; a Unix socket has only its name.
    let sockets = vec![Socket("web.socket", gateway.into()), Socket("pool", pool.into()), unnamed(queue)];
    let _daemon = manager.start(Program::Run, &world, sockets);
    for (program, client) in clients {
        program.ask(client);
    }
    Program::Pool.ask(UnixStream::connect(&path).unwrap());
}

#[test]
fn a_family_binds_what_it_is_not_given() {
    let (world, manager) = (World::new(), Manager::new());
    let _daemon = manager.start(Program::Run, &world, vec![unnamed(local(world.queue))]);
    manager.until("READY=1");
    for program in SERVICES {
        program.ask(connect(program.port(&world)));
    }
}

#[test]
fn a_socket_of_no_member_is_one_sentence() {
    let world = World::new();
    let other = local(free_port());
    let address = other.local_addr().unwrap();
    let settings = world.settings.display();
    let refused = refusal(Program::Run, &world, vec![unnamed(local(world.queue)), Socket("spare", other.into())], None);
    let expected = format!(
        "descriptor 4 ({address}) of socket activation is neither named as a service of {settings} nor on the port of one"
    );
    assert_eq!(refused, format!("shmooze-run: {expected}"));
}
