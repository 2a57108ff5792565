//! The made-up service behind the gateway: it answers every line in one way and keeps what it got.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// When the answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// After [`Backend::answer_now`].
    Later,
    /// Never.
    Never,
}

/// A running service; it ends with the process, since every connection has a thread that waits for its end.
pub struct Backend {
    lines: Receiver<String>,
    gate: Sender<()>,
}

impl Backend {
    /// Listens on `port` and answers every line with `answer`.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn start(port: u16, answer: &str, when: When) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let (sender, lines) = channel();
        let (gate, opened) = channel();
        let opened = Arc::new(Mutex::new(opened));
        let answer = format!("{answer}\n");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sender, opened, answer) = (sender.clone(), Arc::clone(&opened), answer.clone());
                thread::spawn(move || serve(stream, &sender, &opened, &answer, when));
            }
        });
        Ok(Self { lines, gate })
    }

    /// What came since the last time, newlines included.
    pub fn got(&self) -> String {
        self.lines.try_iter().collect()
    }

    /// Lets one answer go that is given later.
    pub fn answer_now(&self) {
        let _ = self.gate.send(());
    }
}

fn serve(stream: TcpStream, sender: &Sender<String>, opened: &Mutex<Receiver<()>>, answer: &str, when: When) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
        let _ = sender.send(std::mem::take(&mut line));
        if when == When::Later {
            let Ok(opened) = opened.lock() else { return };
            if opened.recv().is_err() {
                return;
            }
        }
        if when != When::Never && writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
