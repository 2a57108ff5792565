//! Static files, asked for without a port.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use shmooze::gateway::{Configuration, Gateway};
use tempfile::TempDir;
use tower::ServiceExt;

use super::rig::within;

/// When the files were written, in seconds: Thu, 02 Jan 2020 03:04:05 GMT.
const WRITTEN: u64 = 1_577_934_245;

struct Site {
    directory: TempDir,
    gateway: Gateway,
}

struct Reply {
    status: u16,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        Self::with(files, |configuration| configuration)
    }

    fn with(files: &[(&str, &str)], change: impl FnOnce(Configuration) -> Configuration) -> Self {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("public");
        fs::create_dir(&root).unwrap();
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(WRITTEN))
                .unwrap();
        }
        let configuration = change(Configuration { static_path: Some(root), ..Configuration::default() });
        Self { directory, gateway: Gateway::new(configuration) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("public").join(name)
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response: Result<_, Infallible> = within(self.gateway.clone().oneshot(request)).await;
        let (parts, body) = response.unwrap().into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[]).await
    }
}

#[tokio::test]
async fn the_page_at_the_root() {
    let site = Site::new(&[("index.html", "<p>page")]);
    for path in ["/", "/?x=1", "/static/index.html"] {
        let reply = site.get(path).await;
        assert_eq!((reply.status, reply.text()), (200, "<p>page"), "{path}");
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    }
    for path in ["//", "/index.html", "/static"] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
    for path in ["/", "/static/index.html"] {
        let reply = site.ask("POST", path, &[]).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
    }
    let reply = site.ask("HEAD", "/", &[]).await;
    assert_eq!((reply.status, reply.header("content-length"), reply.text()), (200, "7", ""));
}

#[tokio::test]
async fn without_a_folder_there_are_no_files() {
    let site = Site::with(&[("index.html", "")], |configuration| Configuration { static_path: None, ..configuration });
    for path in ["/", "/static/index.html"] {
        assert_eq!(site.get(path).await.status, 404);
    }
}

#[tokio::test]
async fn prefixes() {
    let site = Site::with(&[("index.html", "page"), ("api/x", "x")], |configuration| Configuration {
        wsgi_prefix: "/api/".into(),
        static_prefix: "/".into(),
        ..configuration
    });
    assert_eq!(site.get("/").await.text(), "page");
    assert_eq!(site.get("/index.html").await.text(), "page");
    assert_eq!(site.get("/api/x").await.text(), "x");
    assert_eq!(site.get("/api/settings.json").await.text(), "{}");
    assert_eq!(site.get("/settings.json").await.status, 404);
}

#[tokio::test]
async fn kinds_of_files() {
    for (name, content_type) in [
        ("a.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.ico", "image/x-icon"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.ogg", "audio/ogg"),
        ("a.zzz", "application/octet-stream"),
        ("noext", "application/octet-stream"),
    ] {
        let site = Site::new(&[(name, "x")]);
        let reply = site.get(&format!("/static/{name}")).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, content_type), "{name}");
    }
}

#[tokio::test]
async fn names() {
    let site = Site::new(&[
        ("a b.txt", "space"),
        ("café.txt", "accent"),
        ("sub/a.txt", "sub"),
        ("%2e", "percent"),
        ("q?#.txt", "marks"),
    ]);
    for (path, text) in [
        ("a%20b.txt", "space"),
        ("caf%C3%A9.txt", "accent"),
        ("sub/a.txt", "sub"),
        ("sub%2fa.txt", "sub"),
        ("/sub//a.txt", "sub"),
        ("./sub/./a.txt", "sub"),
        ("%252e", "percent"),
        ("q%3F%23.txt?x", "marks"),
    ] {
        let reply = site.get(&format!("/static/{path}")).await;
        assert_eq!((reply.status, reply.text()), (200, text), "{path}");
    }
    for path in ["", "sub", "sub/", "nope", "A%20B.TXT", "caf%E9.txt", "a%20b.txt/", "a%20b.txt/x", &"x".repeat(5000)] {
        assert_eq!(site.get(&format!("/static/{path}")).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn nothing_outside_the_folder_nor_hidden_in_it() {
    let site = Site::new(&[("note.txt", "x"), (".secret", "x"), (".git/config", "x"), ("sub/.secret", "x")]);
    fs::write(site.directory.path().join("outside"), "x").unwrap();
    assert!(site.path("../outside").exists());
    for path in [
        "../outside",
        "%2e%2e/outside",
        "%2e%2e%2foutside",
        "..%2foutside",
        "sub/../../outside",
        "sub/../note.txt",
        "....//outside",
        "..%5coutside",
        "\\..\\outside",
        "%252e%252e/outside",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "..",
        ".",
        "note.txt%00.html",
        "%00",
        ".secret",
        "%2esecret",
        ".git/config",
        "sub/.secret",
    ] {
        let reply = site.get(&format!("/static/{path}")).await;
        assert_eq!((reply.status, reply.text()), (404, "Not found.\n"), "{path}");
    }
    for path in ["/../outside", "/..", "/%2e%2e/outside"] {
        assert_eq!(site.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn links_are_followed() {
    let site = Site::new(&[("a.txt", "x")]);
    fs::write(site.directory.path().join("outside"), "outside").unwrap();
    symlink("../outside", site.path("link.txt")).unwrap();
    symlink("nowhere", site.path("broken.txt")).unwrap();
    symlink("loop.txt", site.path("loop.txt")).unwrap();
    assert_eq!(site.get("/static/link.txt").await.text(), "outside");
    assert_eq!(site.get("/static/broken.txt").await.status, 404);
    assert_eq!(site.get("/static/loop.txt").await.status, 404);
}

#[tokio::test]
async fn what_is_no_regular_file_is_not_opened() {
    let site = Site::new(&[]);
    nix::unistd::mkfifo(&site.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    symlink("/dev/zero", site.path("zero")).unwrap();
    for name in ["pipe", "socket", "zero"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(site.ask(method, &format!("/static/{name}"), &[]).await.status, 404, "{name}");
        }
    }
}

#[tokio::test]
async fn only_what_changed_is_sent_again() {
    let site = Site::new(&[("note.txt", "plain text\n")]);
    let path = "/static/note.txt";
    let reply = site.get(path).await;
    assert_eq!(reply.header("last-modified"), "Thu, 02 Jan 2020 03:04:05 GMT");
    assert_eq!(reply.header("cache-control"), "no-cache");
    let tag = reply.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "it is the same in all codings: {tag}");
    let strong = tag.trim_start_matches("W/").to_owned();
    for (name, value, status) in [
        ("if-modified-since", "Thu, 02 Jan 2020 03:04:05 GMT", 304),
        ("if-modified-since", "Wed, 01 Jan 2031 00:00:00 GMT", 304),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
        ("if-modified-since", "junk", 200),
        ("if-none-match", &tag, 304),
        ("if-none-match", &strong, 304),
        ("if-none-match", "*", 304),
        ("if-none-match", "\"other\"", 200),
        ("if-match", "\"other\"", 412),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = site.ask(method, path, &[(name, value)]).await;
            assert_eq!(reply.status, status, "{method} {name}: {value}");
            assert!(status == 200 || reply.body.is_empty());
            match status {
                412 => assert_eq!(reply.header("cache-control"), "no-store"),
                _ => {
                    let headers = ["etag", "cache-control", "vary"].map(|name| reply.header(name));
                    assert_eq!(headers, [&*tag, "no-cache", "accept-encoding"], "{method} {name}: {value}");
                }
            }
            assert!(status != 304 || !reply.headers.contains_key("content-length"));
        }
    }
    fs::write(site.path("note.txt"), "changed\n").unwrap();
    assert_eq!(site.ask("GET", path, &[("if-none-match", &tag)]).await.text(), "changed\n");
}

#[tokio::test]
async fn ranges() {
    let site = Site::new(&[("note.txt", "0123456789")]);
    let path = "/static/note.txt";
    let reply = site.ask("GET", path, &[("range", "bytes=2-4")]).await;
    assert_eq!((reply.status, reply.text()), (206, "234"));
    assert_eq!((reply.header("content-range"), reply.header("content-length")), ("bytes 2-4/10", "3"));
    assert_eq!(site.ask("GET", path, &[("range", "bytes=-3")]).await.text(), "789");
    assert_eq!(site.ask("GET", path, &[("range", "bytes=7-")]).await.text(), "789");
    let reply = site.ask("GET", path, &[("range", "bytes=20-")]).await;
    assert_eq!((reply.status, reply.header("content-range")), (416, "bytes */10"));
    for headers in
        [&[("range", "lines=1-2")][..], &[("range", "bytes=0-1,4-5")], &[("range", "bytes=2-4"), ("if-range", "\"other\"")]]
    {
        let reply = site.ask("GET", path, headers).await;
        assert_eq!((reply.status, reply.text()), (200, "0123456789"), "{headers:?}");
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
    let reply = site.ask("HEAD", path, &[("range", "bytes=2-4")]).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, "10"));
}

/// The page that comes with the project needs nothing from elsewhere and nothing inline, so that a strict
/// Content-Security-Policy does not break it.
#[tokio::test]
async fn the_first_page() {
    let site = Site::with(&[], |configuration| Configuration {
        static_path: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/static").into()),
        ..configuration
    });
    let reply = site.get("/").await;
    let page = reply.text();
    let mut links = 0;
    for attribute in ["src=\"", "href=\""] {
        for link in page.split(attribute).skip(1).map(|rest| rest.split_once('"').unwrap().0) {
            assert_eq!(site.get(link).await.status, 200, "{link}");
            links += 1;
        }
    }
    assert!(links >= 3);
    for inline in ["<style", " style=", "<script>", " onclick=", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
    let scripts = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("static/dashboard")).unwrap();
    let mut files = vec![("/".to_owned(), page.to_owned())];
    for link in scripts
        .map(|entry| format!("/static/dashboard/{}", entry.unwrap().file_name().display()))
        .chain(["/static/dashboard.css".to_owned()])
    {
        let reply = site.get(&link).await;
        assert_eq!(reply.status, 200, "{link}");
        files.push((link, reply.text().to_owned()));
    }
    assert!(files.len() > 3);
    for (name, text) in files {
        assert!(!text.contains("://"), "{name} fetches nothing from elsewhere");
        assert!(!text.contains("innerHTML"), "{name}: what modules say is text, not markup");
    }
}
