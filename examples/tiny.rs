//! The smallest module there is: it answers every command with success and ends at `rm`. It shows the protocol without a
//! library, and is what pools are filled with where thousands of modules are wanted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(host), Some(command), Some(update)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: tiny HOST COMMAND_PORT UPDATE_PORT"));
    };
    let port = |text: String| text.parse::<u16>().map_err(std::io::Error::other);
    let commands = TcpStream::connect((host.as_str(), port(command)?))?;
    commands.set_nodelay(true)?;
    // Nothing to announce, but the stream must be there: losing it ends the module.
    let _updates = TcpStream::connect((host.as_str(), port(update)?))?;
    let mut answers = commands.try_clone()?;
    for line in BufReader::with_capacity(256, commands).lines() {
        let line = line?;
        answers.write_all(b"{\"success\": true}\n")?;
        if line.starts_with("{\"cmd\": \"rm\"") {
            break;
        }
    }
    Ok(())
}
