//! As much of HTTP as it takes to send a recorded request as it is and to read the answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

/// An answer comes after at most this; the gateway itself waits 10 s for a service.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its status; 0 where the peer closed the connection without one.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What follows the head.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| header == name).map_or("", |(_, value)| value)
    }
}

/// Sends `request` as it is on a connection of its own, reads the answer.
///
/// # Errors
/// Where there is no connection, no answer in time, or one that is not HTTP.
pub fn exchange(port: u16, request: &[u8], shut_sending: bool) -> io::Result<Answer> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // An answer may come, and the connection go, before all is written.
    let _ = stream.write_all(request);
    if shut_sending {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let no_body = request.starts_with(b"HEAD ");
    let mut reader = BufReader::new(stream);
    loop {
        let Some(mut answer) = head(&mut reader)? else { return Ok(Answer::default()) };
        if (100..200).contains(&answer.status) {
            continue;
        }
        if !no_body && answer.status != 204 && answer.status != 304 {
            answer.body = body(&mut reader, &answer)?;
        }
        return Ok(answer);
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn head(reader: &mut impl BufRead) -> io::Result<Option<Answer>> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        other => other?,
    };
    let mut words = line.split_whitespace();
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Err(bad(&format!("{line:?} is no status line")));
    }
    let status = words.next().and_then(|status| status.parse().ok()).ok_or_else(|| bad("no status"))?;
    let mut answer = Answer { status, ..Answer::default() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(answer)) };
        answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn body(reader: &mut impl BufRead, answer: &Answer) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == "chunked" {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| bad("no size of a chunk"))?;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    match answer.header("content-length").parse() {
        Ok(length) => reader.take(length).read_to_end(&mut body)?,
        Err(_) => reader.read_to_end(&mut body)?,
    };
    Ok(body)
}
