//! A POST through the gateway to a service, against nginx that passes it on to an HTTP server: both keep connections to
//! what is behind them, which is the same bare server, speaking lines or HTTP.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::framing::Framing;
use crate::load::Clients;
use crate::process::{Process, role};
use crate::table::{Aim, Table};
use crate::world::{World, free_port};

const ANSWER: &str =
    "{\"success\": true, \"result\": [{\"uid\": \"8a0c3cb0-1f0e-4a5c-a3d2-1a7f0f6d1c11\", \"type\": \"tiny\"}]}\n";

pub fn measure(table: &mut Table) {
    let cases = [(1, "gateway: POST, 1 connection"), (64, "gateway: POST, 64 connections")];
    let cases: Vec<_> = cases.into_iter().filter(|(_, name)| table.wants(name)).collect();
    if cases.is_empty() {
        return;
    }
    if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
        return table.skip("gateway: POST", "nginx is not installed");
    }
    let mut service = Process::start(role("server").args([Framing::Line.name(), ANSWER]));
    let world = World::new(service.port());
    let gateway = world.start_gateway();

    let http = format!("HTTP/1.1 200 OK\r\nContent-Type: text/json\r\nContent-Length: {}\r\n\r\n{ANSWER}", ANSWER.len());
    let mut behind = Process::start(role("server").args([Framing::Http.name(), &http]));
    let port = free_port();
    let mut nginx = start_nginx(world.folder.path(), port, behind.port());

    for (connections, name) in cases {
        let request = request();
        let mut ours = Clients::connect(gateway.pid(), world.gateway, connections, request.as_bytes(), Framing::Http);
        let mut bare = Clients::connect(nginx.pid(), port, connections, request.as_bytes(), Framing::Http);
        for answer in [ours.answer(), bare.answer()] {
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.trim_end().ends_with(ANSWER.trim_end()), "{answer}");
        }
        table.load(name, Aim::AtLeast(0.9), &mut ours, &mut bare);
    }
    let _ = nginx.child().kill();
}

fn request() -> String {
    let body = "{\"cmd\": \"queue\"}";
    let mut request = "POST /bare HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".to_owned();
    let _ = write!(request, "Content-Length: {}\r\n\r\n{body}", body.len());
    request
}

/// One nginx process (as the gateway is one), which keeps connections for ever on both sides.
fn start_nginx(folder: &Path, port: u16, behind: u16) -> Process {
    let configuration = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;
         events {{ worker_connections 1024; }}
         http {{
             access_log off; tcp_nodelay on; keepalive_requests 1000000000;
             client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             upstream behind {{ server 127.0.0.1:{behind}; keepalive 128; keepalive_requests 1000000000; }}
             server {{
                 listen 127.0.0.1:{port};
                 location / {{ proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
             }}
         }}"
    );
    std::fs::write(folder.join("nginx.conf"), configuration).unwrap();
    let process = Process::start(Command::new("nginx").arg("-p").arg(folder).args(["-e", "stderr", "-c", "nginx.conf"]));
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    process
}
