//! Where a message ends.

use memchr::{memchr, memmem};

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a newline.
    Line,
    /// As HTTP/1.1 with `Content-Length`.
    Http,
}

impl Framing {
    /// The length of the first message of `bytes`, once it is there whole.
    pub fn length(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Line => memchr(b'\n', bytes).map(|at| at + 1),
            Self::Http => {
                let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
                let text = std::str::from_utf8(&bytes[..head]).unwrap();
                let length = text.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
                });
                Some(head + length.unwrap_or(0)).filter(|whole| bytes.len() >= *whole)
            }
        }
    }

    /// As it is named on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Http => "http",
        }
    }

    /// The framing called `name`.
    pub fn from_name(name: &str) -> Self {
        if name == "http" { Self::Http } else { Self::Line }
    }
}
