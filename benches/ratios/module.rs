//! A module that sends updates as fast as they are acknowledged, for as long as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::framing::Framing;

/// One update. The number changes with each, as progress does, and is always as long.
pub fn update(number: u64) -> String {
    format!("{{\"cmd\": \"set_parameters\", \"args\": {{\"parameters\": {{\"position\": {number}, \"playing\": true}}}}}}\n")
}

/// What a module is told to make it begin; `window` updates are sent at a time.
pub fn run(length: Duration, window: usize) -> String {
    format!(r#"{{"cmd": "do_run", "args": {{"ms": {}, "window": {window}}}}}"#, length.as_millis())
}

/// The whole module. Arguments: `HOST COMMAND_PORT UPDATE_PORT`.
pub fn main(arguments: &[String]) {
    let connect = |port: &String| {
        let stream = TcpStream::connect((arguments[0].as_str(), port.parse::<u16>().unwrap())).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let (mut commands, mut updates) = (BufReader::new(connect(&arguments[1])), connect(&arguments[2]));
    let mut line = String::new();
    let mut number = 1_000_000_000;
    while commands.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let command: Value = serde_json::from_str(&line).unwrap();
        let answer = if command["cmd"] == "do_run" {
            let length = Duration::from_millis(command["args"]["ms"].as_u64().unwrap());
            let window = command["args"]["window"].as_u64().unwrap();
            format!("{{\"success\": true, \"result\": {}}}\n", send(&mut updates, length, window))
        } else if command["cmd"] == "do_one" {
            number += 1;
            updates.write_all(update(number).as_bytes()).unwrap();
            "{\"success\": true}\n".to_owned()
        } else {
            "{\"success\": true}\n".to_owned()
        };
        commands.get_mut().write_all(answer.as_bytes()).unwrap();
        if command["cmd"] == "rm" {
            return;
        }
        line.clear();
    }
}

/// Sends updates for `length`; answers how many were acknowledged.
fn send(updates: &mut TcpStream, length: Duration, window: u64) -> u64 {
    let deadline = Instant::now() + length;
    let (mut sent, mut buffer) = (0, vec![0; 64 * 1024]);
    let mut number = 1_000_000_000;
    while Instant::now() < deadline {
        let batch: String = (0..window).map(|at| update(number + at)).collect();
        updates.write_all(batch.as_bytes()).unwrap();
        let (mut answered, mut received) = (0, 0);
        while answered < window {
            received += updates.read(&mut buffer[received..]).unwrap();
            let mut done = 0;
            while let Some(length) = Framing::Line.length(&buffer[done..received]) {
                done += length;
                answered += 1;
            }
            buffer.copy_within(done..received, 0);
            received -= done;
        }
        number += window;
        sent += window;
    }
    sent
}
