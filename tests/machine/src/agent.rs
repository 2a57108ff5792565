//! The wire to `agent.py` in an emulated machine, which see: one TCP connection is one command.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use crate::Outcome;
use crate::running::{LOST, Process};

/// Starts a command through the agent that is reached at that port of the host's loopback.
pub(crate) fn start(port: u16, argv: &[String]) -> Outcome<Process> {
    let outcome = connect(port, argv);
    outcome.map_err(|error| format!("the agent of the emulated machine does not take {argv:?}: {error}"))
}

fn connect(port: u16, argv: &[String]) -> io::Result<Process> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_nodelay(true)?;
    let environment: BTreeMap<String, String> = BTreeMap::new();
    let request = serde_json::json!({"argv": argv, "environment": environment});
    connection.write_all(format!("{request}\n").as_bytes())?;

    let (input_end, input) = io::pipe()?;
    let (output, output_end) = io::pipe()?;
    let (errors, errors_end) = io::pipe()?;
    let (sender, exit) = mpsc::channel();
    let reader = BufReader::new(connection.try_clone()?);
    thread::spawn(move || send_input(input_end, connection));
    thread::spawn(move || {
        let _ = sender.send(receive(reader, output_end, errors_end));
    });
    Ok(Process { input: Box::new(input), output: Box::new(output), errors: Box::new(errors), exit })
}

fn send_input(mut input: io::PipeReader, mut connection: TcpStream) {
    let mut chunk = vec![0; 65536];
    loop {
        let Ok(length) = input.read(&mut chunk) else { return };
        if connection.write_all(&frame(b'I', &chunk[..length])).is_err() || length == 0 {
            return;
        }
    }
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind];
    frame.extend(length.to_be_bytes());
    frame.extend(content);
    frame
}

/// Hands on what the command writes, and at its end answers with its status.
fn receive(mut reader: impl Read, mut output: io::PipeWriter, mut errors: io::PipeWriter) -> i32 {
    loop {
        let Ok((kind, content)) = read_frame(&mut reader) else { return LOST };
        // Nobody may want to read it any more: the status still counts.
        match kind {
            b'O' => drop(output.write_all(&content)),
            b'E' => drop(errors.write_all(&content)),
            b'F' => {
                drop(errors.write_all(&content));
                return 127;
            }
            _ => return String::from_utf8_lossy(&content).parse().unwrap_or(LOST),
        }
    }
}

fn read_frame(reader: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    reader.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut content = vec![0; length];
    reader.read_exact(&mut content)?;
    Ok((head[0], content))
}

#[cfg(test)]
mod checks {
    use super::*;

    fn received(frames: &[u8]) -> (i32, String, String) {
        let (mut output, output_end) = io::pipe().unwrap();
        let (mut errors, errors_end) = io::pipe().unwrap();
        let status = receive(frames, output_end, errors_end);
        let (mut out, mut err) = (String::new(), String::new());
        output.read_to_string(&mut out).unwrap();
        errors.read_to_string(&mut err).unwrap();
        (status, out, err)
    }

    #[test]
    fn frames_are_sorted_into_streams_and_a_status() {
        let frames = [frame(b'O', b"one "), frame(b'E', b"warning"), frame(b'O', b"two"), frame(b'X', b"3")].concat();
        assert_eq!(received(&frames), (3, "one two".into(), "warning".into()));
    }

    #[test]
    fn a_broken_connection_is_no_status() {
        assert_eq!(received(&frame(b'O', b"half")[..7]).0, LOST);
        assert_eq!(received(&frame(b'O', b"whole")), (LOST, "whole".into(), String::new()));
    }

    #[test]
    fn a_command_that_cannot_start_says_why() {
        assert_eq!(received(&frame(b'F', b"no such file")), (127, String::new(), "no such file".into()));
    }
}
