//! The proxies of docs/gateway.md in front of the gateway: their configurations are taken from there, and run.
//!
//! What is another here than there is the port, the certificate and where the gateway listens.

#![allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use command_fds::{CommandFdExt, FdMapping};
use common::{Daemon, PATIENCE, World, eventually, free_port};
use serde_json::{Value, json};

const GUIDE: &str = include_str!("../docs/gateway.md");

/// Where whoever asks the proxies is, which are at 127.0.0.1.
const CLIENT: &str = "127.0.0.7";

/// What the gateway takes at most; more than nginx does unless it is told otherwise.
const MAX_BODY_BYTES: usize = 2 << 20;

/// The first block of this language in the guide, and the settings that follow it.
fn from_guide(language: &str) -> (String, Value) {
    let block = |text: &str, language: &str| {
        let (_, begun) =
            text.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("docs/gateway.md has no {language}"));
        let (block, rest) = begun.split_once("\n```\n").unwrap();
        (block.to_owned(), rest.to_owned())
    };
    let (configuration, rest) = block(GUIDE, language);
    let (settings, _) = block(&rest, "json");
    (configuration, serde_json::from_str(&settings).unwrap())
}

/// `text` with `old`, which must be there, as `new`.
fn with(text: &str, old: &str, new: impl std::fmt::Display) -> String {
    assert!(text.contains(old), "docs/gateway.md has no {old:?} any more: {text}");
    text.replace(old, &new.to_string())
}

/// A program that `tests/setup` has seen to: one of the machine, or unpacked for the tests alone.
fn program(name: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/proxies/usr");
    let mut folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend([PathBuf::from("/usr/sbin"), unpacked.join("sbin"), unpacked.join("bin")]);
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not there: tests/setup gets it"))
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A queue, the gateway in front of it, and what a proxy needs.
struct House {
    world: World,
    gateway: Daemon,
    _queue: Daemon,
    /// The port of the proxy.
    port: u16,
}

impl House {
    /// With these settings of the guide; the gateway serves `unix`, where that is given.
    fn start(settings: &Value, unix: bool) -> Self {
        let mut gateway = settings["gateway"].clone();
        gateway["max_body_bytes"] = json!(MAX_BODY_BYTES);
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("static");
        let world = World::with(&json!({"gateway": gateway, "static_path": page}));
        let queue = world.start_queue();
        let mut command = Command::new("sh");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_shmooze-gateway"), "--settings"]);
        command.arg(&world.settings);
        if unix {
            let parent_fd: OwnedFd = UnixListener::bind(world.path("gateway.sock")).unwrap().into();
            command.env("LISTEN_FDS", "1").fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
        }
        let gateway = Daemon::start(&mut command, 1);
        let house = Self { world, gateway, _queue: queue, port: free_port() };
        house.certify();
        house
    }

    /// Makes a certificate of the proxy's name.
    fn certify(&self) {
        let options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=kiosk.example";
        let mut command = Command::new(program("openssl"));
        command.args(options.split(' ')).args(["-addext", "subjectAltName=DNS:kiosk.example", "-out"]).arg(self.certificate());
        let made = command.arg("-keyout").arg(self.key()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn certificate(&self) -> PathBuf {
        self.world.path("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.world.path("key.pem")
    }

    /// Starts the proxy, and waits until it takes connections.
    fn run(&self, command: &mut Command) -> Process {
        let log = self.world.path("proxy.log");
        let output = std::fs::File::create(&log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut process = Process(command.spawn().unwrap());
        eventually("the proxy takes connections", || {
            let ended = process.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", std::fs::read_to_string(&log).unwrap());
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
        process
    }

    fn origin(&self) -> String {
        format!("https://kiosk.example:{}", self.port)
    }

    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new(program("curl"));
        command.args(["-sS", "--http2", "--max-time", "30", "--interface", CLIENT, "--cacert"]).arg(self.certificate());
        command.arg("--resolve").arg(format!("kiosk.example:{}:127.0.0.1", self.port));
        command.arg(format!("{}{path}", self.origin())).stdin(Stdio::null());
        command
    }

    /// Status and version of HTTP, and the body.
    fn get(&self, path: &str, arguments: &[&str]) -> (String, String) {
        let output = self.curl(path).args(["-w", "\n%{http_code} %{http_version}"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    /// As the page of `origin` posts `body`, with these header lines besides.
    fn post(&self, origin: &str, body: &str, lines: &[&str]) -> (String, Value) {
        let file = self.world.path("body");
        std::fs::write(&file, body).unwrap();
        let (body, origin) = (format!("@{}", file.display()), format!("Origin: {origin}"));
        let mut arguments = vec!["--data-binary", &body, "-H", "Content-Type: application/json", "-H", &origin];
        lines.iter().for_each(|line| arguments.extend(["-H", line]));
        let (status, answer) = self.get("/queue", &arguments);
        let answer = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {status} {answer}"));
        (status, answer)
    }

    /// All that the guide promises.
    fn tour(&self) {
        let (status, page) = self.get("/", &["--compressed"]);
        assert_eq!(status, "200 2");
        assert!(page.contains("<script"), "{page}");
        let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("static/shmooze.js")).unwrap();
        for arguments in [&["--compressed"][..], &[]] {
            assert!(self.get("/static/shmooze.js", arguments) == ("200 2".to_owned(), script.clone()), "{arguments:?}");
        }

        let mut events = Events::follow(self);
        events.until("event: state");
        // What a client says of himself is nobody's word.
        let lies = ["X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher"];
        for lines in [&[][..], &lies] {
            let (status, added) = self.post(&self.origin(), r#"{"cmd": "add", "args": {"type": "tiny"}}"#, lines);
            assert_eq!((&*status, &added["success"]), ("200 2", &json!(true)), "{added}");
            events.until("event: added");
            let told = self.gateway.wait_for_log(" POST /queue add 200 ");
            assert!(told.lines().last().unwrap().contains(&format!("{CLIENT} POST /queue add 200 ")), "{told}");
        }
        let (_, listed) = self.post(&self.origin(), r#"[{"cmd": "queue"}, {"cmd": "bg"}]"#, &[]);
        assert_eq!(listed[0]["result"].as_array().map(Vec::len), Some(2), "{listed}");
        assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");

        for origin in [&format!("http://kiosk.example:{}", self.port), "https://kiosk.example", "https://evil.example", "null"] {
            let (status, refused) = self.post(origin, r#"{"cmd": "queue"}"#, &lies);
            assert_eq!(status, "403 2", "{origin}");
            assert!(refused["error"].as_str().unwrap().contains("may not ask here"), "{refused}");
        }

        let body = |length: usize| format!("[{}]", " ".repeat(length - 2));
        let (status, answer) = self.post(&self.origin(), &body(MAX_BODY_BYTES), &[]);
        assert_eq!((&*status, answer), ("200 2", json!([])));
        let (status, refused) = self.post(&self.origin(), &body(MAX_BODY_BYTES + 1), &[]);
        assert_eq!(status, "413 2");
        assert_eq!(refused["error"], format!("Body is longer than {MAX_BODY_BYTES} bytes."));
    }
}

/// The events of the queue, as they come.
struct Events {
    lines: Receiver<String>,
    _curl: Process,
}

impl Events {
    fn follow(house: &House) -> Self {
        let mut curl = house.curl("/queue/events").arg("--no-buffer").stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(curl.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { lines, _curl: Process(curl) }
    }

    /// Waits for this line. The stream goes on, so that a proxy which collects it would never show it.
    fn until(&mut self, line: &str) {
        while self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("no {line:?}: {error}")) != line {}
    }
}

#[test]
fn nginx() {
    let (server, settings) = from_guide("nginx");
    let house = House::start(&settings, true);
    let folder = house.world.folder.path();
    let server = with(&server, "/run/shmooze/gateway.sock", house.world.path("gateway.sock").display());
    let server = with(&server, "listen 443", format!("listen 127.0.0.1:{}", house.port));
    let server = with(&server, "listen [::]:443", format!("listen [::1]:{}", house.port));
    let server = with(&server, "/etc/ssl/kiosk.example.pem", house.certificate().display());
    let server = with(&server, "/etc/ssl/private/kiosk.example.key", house.key().display());
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};\n")).concat();
    // Its workers are those who may ask at the socket.
    let configuration = format!(
        "daemon off; user root; pid nginx.pid; error_log stderr notice;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}\n{server}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), configuration).unwrap();
    let _nginx = house.run(Command::new(program("nginx")).arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]));
    house.tour();
    // Whatever name it is asked by, it passes that on.
    let (status, refused) = house.get("/", &["-H", "Host: evil.example"]);
    assert_eq!(status, "421 2");
    assert!(refused.contains("\"evil.example\" is no name of this gateway"), "{refused}");
}

#[test]
fn caddy() {
    let (site, settings) = from_guide("caddyfile");
    let house = House::start(&settings, false);
    let folder = house.world.folder.path();
    let tls = format!("tls {} {}", house.certificate().display(), house.key().display());
    let site = with(&site, "kiosk.example {", format!("{} {{\n\t{tls}", house.origin()));
    let site = with(&site, "127.0.0.1:9480", format!("127.0.0.1:{}", house.world.gateway));
    let configuration = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}\n");
    std::fs::write(folder.join("Caddyfile"), configuration).unwrap();
    let mut command = Command::new(program("caddy"));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.join("Caddyfile"));
    let _caddy = house.run(command.env("HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder));
    house.tour();
}
