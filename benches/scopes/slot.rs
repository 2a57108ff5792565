//! Where one module at a time connects: two listeners, kept for the next one.

use std::net::{TcpListener, TcpStream};

use crate::world::{Client, tiny};

pub struct Slot {
    command: TcpListener,
    update: TcpListener,
}

/// The streams of a module that has answered once.
pub struct Streams {
    command: Client,
    _update: TcpStream,
}

impl Slot {
    pub fn new() -> Self {
        let [command, update] = [0; 2].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
        Self { command, update }
    }

    /// The command line of a module that connects here.
    pub fn module(&self) -> Vec<String> {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        vec![tiny().to_str().unwrap().to_owned(), "localhost".to_owned(), port(&self.command), port(&self.update)]
    }

    /// Waits until the module has connected and answered.
    pub fn greet(&self) -> Streams {
        let mut command = Client::on(self.command.accept().unwrap().0);
        let update = self.update.accept().unwrap().0;
        command.ask("{\"cmd\": \"init\", \"args\": {}}");
        Streams { command, _update: update }
    }
}

impl Streams {
    /// Has the module end by itself.
    pub fn end(mut self) {
        self.command.ask("{\"cmd\": \"rm\"}");
    }
}
