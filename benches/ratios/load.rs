//! The load: clients that ask again as soon as they are answered. One thread, one read and one write for each request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::framing::Framing;
use crate::process::cpu_time;
use crate::table::{Aim, Table};

/// Kept-alive connections that all ask the same.
pub struct Clients {
    sockets: Vec<TcpStream>,
    readiness: OwnedFd,
    request: Vec<u8>,
    answer: Vec<u8>,
    /// Whose CPU time is counted.
    pid: u32,
}

/// What one round found.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Requests answered in a second.
    pub rate: f64,
    /// CPU time of the server for one of them, in µs.
    pub cpu: f64,
}

impl Clients {
    /// Opens `count` connections to `port` of the process `pid`, and asks once to learn the answer: every further one is
    /// as long.
    pub fn connect(pid: u32, port: u16, count: usize, request: &[u8], framing: Framing) -> Self {
        let mut sockets: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        sockets[0].write_all(request).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        while framing.length(&answer).is_none() {
            let bytes = sockets[0].read(&mut buffer).unwrap();
            assert!(bytes > 0, "the connection was closed");
            answer.extend_from_slice(&buffer[..bytes]);
        }
        let readiness = epoll::create(CreateFlags::CLOEXEC).unwrap();
        for (at, socket) in sockets.iter().enumerate() {
            socket.set_nodelay(true).unwrap();
            epoll::add(&readiness, socket, EventData::new_u64(at as u64), EventFlags::IN).unwrap();
        }
        Self { sockets, readiness, request: request.to_vec(), answer, pid }
    }

    /// The answer to the first request.
    pub fn answer(&self) -> &str {
        std::str::from_utf8(&self.answer).unwrap()
    }

    /// Asks for `length`.
    pub fn run(&mut self, length: Duration) -> Sample {
        let cpu = cpu_time(self.pid);
        let begun = Instant::now();
        let answered = if self.sockets.len() == 1 { self.ask_one(begun + length) } else { self.ask_all(begun + length) };
        let elapsed = begun.elapsed();
        let cpu = cpu_time(self.pid) - cpu;
        Sample { rate: answered as f64 / elapsed.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / answered as f64 }
    }

    fn ask_one(&mut self, deadline: Instant) -> u64 {
        let socket = &mut self.sockets[0];
        let mut buffer = vec![0; self.answer.len()];
        let mut answered = 0;
        while Instant::now() < deadline {
            socket.write_all(&self.request).unwrap();
            socket.read_exact(&mut buffer).unwrap();
            answered += 1;
        }
        assert_eq!(buffer.last(), self.answer.last(), "an answer had another length");
        answered
    }

    fn ask_all(&mut self, deadline: Instant) -> u64 {
        let mut missing = vec![self.answer.len(); self.sockets.len()];
        let mut events = Vec::with_capacity(self.sockets.len());
        let mut buffer = vec![0; 64 * 1024];
        for socket in &mut self.sockets {
            socket.write_all(&self.request).unwrap();
        }
        let (mut answered, mut outstanding) = (0, self.sockets.len());
        while outstanding > 0 {
            events.clear();
            epoll::wait(&self.readiness, spare_capacity(&mut events), None).unwrap();
            let is_over = Instant::now() >= deadline;
            for event in &events {
                let at = usize::try_from(event.data.u64()).unwrap();
                let bytes = self.sockets[at].read(&mut buffer).unwrap();
                assert!(bytes > 0, "the connection was closed");
                missing[at] = missing[at].checked_sub(bytes).expect("an answer had another length");
                if missing[at] > 0 {
                    continue;
                }
                answered += 1;
                if is_over {
                    outstanding -= 1;
                } else {
                    missing[at] = self.answer.len();
                    self.sockets[at].write_all(&self.request).unwrap();
                }
            }
        }
        answered
    }
}

impl Table {
    /// Both servers under the same load in turns: a row of their rates and one of the CPU time that a request cost them.
    pub fn load(&mut self, name: &str, aim: Aim, ours: &mut Clients, bare: &mut Clients) {
        let length = self.round;
        let pairs = self.alternate(|| ours.run(length), || bare.run(length));
        let of = |figure: fn(&Sample) -> f64| pairs.iter().map(|(ours, bare)| (figure(ours), figure(bare))).collect::<Vec<_>>();
        self.ratio(name, "/s", aim, &of(|sample| sample.rate));
        self.ratio(&format!("{name}: CPU"), "µs", Aim::None, &of(|sample| sample.cpu));
    }
}
