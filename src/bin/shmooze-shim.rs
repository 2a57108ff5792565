//! `shmooze-shim`: what a module is before it is a module. Run by the launcher, never by hand.

fn main() {
    std::process::exit(shmooze::scope::shim_main());
}
