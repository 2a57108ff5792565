//! `shmooze-generator`: makes units of the settings. Run by systemd, never by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    shmooze::generator::main(std::env::args_os().skip(1))
}
