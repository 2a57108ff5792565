//! The other side of the comparisons: servers that do nothing but what cannot be left out, on the runtime that the
//! daemons use (tokio, one thread).

use std::future::Future;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use crate::framing::Framing;

/// Runs on one thread, as the daemons do.
fn run(main: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main);
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    listener
}

/// Answers every message with the same bytes. Arguments: the framing and the answer.
pub fn server(arguments: &[String]) {
    let framing = Framing::from_name(&arguments[0]);
    let answer: Arc<[u8]> = arguments[1].as_bytes().into();
    run(async {
        let listener = listen().await;
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(answer_all(socket, framing, Arc::clone(&answer)));
        }
    });
}

async fn answer_all(mut socket: TcpStream, framing: Framing, answer: Arc<[u8]>) {
    let mut received = vec![0; 16 * 1024];
    let mut length = 0;
    let mut out = Vec::new();
    loop {
        match socket.read(&mut received[length..]).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => length += bytes,
        }
        let mut done = 0;
        while let Some(message) = framing.length(&received[done..length]) {
            done += message;
            out.extend_from_slice(&answer);
        }
        received.copy_within(done..length, 0);
        length -= done;
        if !out.is_empty() {
            if socket.write_all(&out).await.is_err() {
                return;
            }
            out.clear();
        }
    }
}

/// Passes each client's lines on to a module of its own and the module's back. Prints three ports: for clients, for the
/// modules' command streams, for their update streams.
pub fn relay() {
    run(async {
        let (clients, commands, updates) = (listen().await, listen().await, listen().await);
        let (connected, modules) = mpsc::unbounded_channel();
        let modules = Arc::new(Mutex::new(modules));
        tokio::spawn(async move {
            // Kept open, never read: modules that are told things have nothing to announce.
            let mut silent = Vec::new();
            loop {
                let (command, _) = commands.accept().await.unwrap();
                silent.push(updates.accept().await.unwrap().0);
                connected.send(command).unwrap();
            }
        });
        loop {
            let (client, _) = clients.accept().await.unwrap();
            let modules = Arc::clone(&modules);
            tokio::spawn(async move {
                let module = modules.lock().await.recv().await.unwrap();
                pass_on(client, module).await;
            });
        }
    });
}

async fn pass_on(client: TcpStream, module: TcpStream) {
    client.set_nodelay(true).unwrap();
    module.set_nodelay(true).unwrap();
    let (mut client, mut module) = (BufReader::new(client), BufReader::new(module));
    let mut line = Vec::new();
    loop {
        line.clear();
        if client.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
            return;
        }
        module.get_mut().write_all(&line).await.unwrap();
        line.clear();
        module.read_until(b'\n', &mut line).await.unwrap();
        client.get_mut().write_all(&line).await.unwrap();
    }
}

/// Writes the same bytes to everybody, each time that whoever came first sends a line. Argument: the bytes.
pub fn spread(arguments: &[String]) {
    let event: Arc<[u8]> = arguments[0].as_bytes().into();
    run(async {
        let listener = listen().await;
        let (control, _) = listener.accept().await.unwrap();
        let mut lines = BufReader::new(control).lines();
        let mut sockets = Vec::new();
        loop {
            tokio::select! {
                Ok((mut socket, _)) = listener.accept() => {
                    socket.set_nodelay(true).unwrap();
                    let _ = socket.read(&mut [0; 1024]).await;
                    sockets.push(socket);
                }
                Ok(Some(_)) = lines.next_line() => {
                    for socket in &mut sockets {
                        socket.write_all(&event).await.unwrap();
                    }
                }
                else => return,
            }
        }
    });
}
