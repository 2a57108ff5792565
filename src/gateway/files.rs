//! Static files.

use std::fs::Metadata;
use std::io::{self, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Either};
use hyper::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use nix::fcntl::OFlag;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, DefaultServeDirFallback, File};

use super::coding::Compressor;
use super::compressed::Compressed;
use super::{Answer, answer, is_read};

/// What stands for itself in a path (RFC 3986 section 3.3), as far as it is of use.
pub(super) const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The files of one folder and those below it. Symbolic links are followed, wherever they lead: whoever may write into the
/// folder decides what is in it.
#[derive(Debug)]
pub(super) struct Files {
    directory: ServeDir<DefaultServeDirFallback, RegularFiles>,
    compressed: Compressed,
}

impl Files {
    pub(super) fn new(directory: &Path, compressor: Compressor) -> Self {
        let directory = ServeDir::with_backend(directory, RegularFiles)
            .append_index_html_on_directories(false)
            .ignore_multi_range_requests(true);
        Self { directory, compressed: Compressed::new(compressor) }
    }

    /// Answers a request for the file at `path`, decoded, below the folder.
    pub(super) async fn answer(&self, parts: &Parts, path: &str) -> Answer {
        if !is_read(&parts.method) {
            return answer::method_not_allowed("GET, HEAD");
        }
        if !is_public(path) {
            return answer::not_found();
        }
        let Ok(uri) = Uri::try_from(format!("/{}", utf8_percent_encode(path, IN_PATH))) else { return answer::not_found() };
        // HEAD, too, is answered as GET would be: how long a compressed file is, nobody knows before.
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        *request.headers_mut() = conditions(parts);
        let response = match self.directory.clone().try_call(request).await {
            Ok(response) => response,
            Err(error) => return unreadable(path, &error),
        };
        if response.status() == StatusCode::NOT_FOUND {
            return answer::not_found();
        }
        let mut answer = response.map(|body| Either::Right(body.boxed_unsync()));
        let is_sent = answer.status().is_success() || answer.status() == StatusCode::NOT_MODIFIED;
        describe(answer.headers_mut(), is_sent);
        match self.compressed.of(path, &parts.headers, answer).await {
            Ok(answer) => answer,
            Err(error) => unreadable(path, &error),
        }
    }
}

/// Whether `path` may be asked for: no file whose name begins with a dot, nor one in such a folder, and nothing that
/// leads out of the folder.
fn is_public(path: &str) -> bool {
    !path.contains(['\0', '\\']) && path.split('/').all(|name| name == "." || !name.starts_with('.'))
}

/// The headers that decide what is answered, without those that would be misunderstood: a range of HEAD, in another unit
/// than bytes, or of a version that may be gone (`If-Range`) is answered with the whole (RFC 9110 section 14.2).
fn conditions(parts: &Parts) -> HeaderMap {
    let mut headers = parts.headers.clone();
    let has_bytes = headers.get(RANGE).is_some_and(|range| range.as_bytes().starts_with(b"bytes="));
    if parts.method == Method::HEAD || headers.contains_key(IF_RANGE) || !has_bytes {
        headers.remove(RANGE);
    }
    headers
}

/// Says that text is UTF-8, and of a file, whether it `is_sent` or the same as before, that it may be kept but must be asked
/// after: a changed page is seen at once. Its validator is a weak one, since in all codings it is the same (RFC 9110 section 8.8.1).
fn describe(headers: &mut HeaderMap, is_sent: bool) {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = match said {
        // What remains of the old name of JavaScript (RFC 9239 section 6).
        "application/javascript" => Some("text/javascript; charset=utf-8".parse()),
        _ if said.starts_with("text/") && !said.contains("charset") => Some(format!("{said}; charset=utf-8").parse()),
        _ => None,
    };
    if let Some(Ok(content_type)) = content_type {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if is_sent {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.starts_with("W/"));
        if let Some(Ok(tag)) = tag.map(|tag| format!("W/{tag}").parse()) {
            headers.insert(ETAG, tag);
        }
    }
    headers.entry(ACCEPT_RANGES).or_insert(HeaderValue::from_static("bytes"));
}

fn unreadable(path: &str, error: &io::Error) -> Answer {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    // FilesystemLoop is not stable as a kind yet; all else is trouble of the machine's.
    let is_loop = error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32);
    if is_loop || matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | InvalidFilename | InvalidInput) {
        return answer::not_found();
    }
    tracing::warn!("Static file {path:?} cannot be read: {error}.");
    answer::text(StatusCode::INTERNAL_SERVER_ERROR, "File cannot be read.\n")
}

/// Nothing but files: a named pipe would block who opens it for ever, a device may do anything.
#[derive(Debug, Clone)]
struct RegularFiles;

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for RegularFiles {
    type File = RegularFile;
    type Metadata = Metadata;
    type OpenFuture = Later<RegularFile>;
    type MetadataFuture = Later<Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        Box::pin(blocking(move || {
            // Looked at before, since to open a device may already do something, and after, since that may be another.
            regular(std::fs::metadata(&path)?)?;
            let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
            let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            let metadata = regular(file.metadata()?)?;
            Ok(RegularFile { file: file.into(), metadata })
        }))
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        Box::pin(blocking(move || {
            let metadata = std::fs::metadata(path)?;
            if metadata.is_dir() { Ok(metadata) } else { regular(metadata) }
        }))
    }
}

fn regular(metadata: Metadata) -> io::Result<Metadata> {
    if metadata.is_file() { Ok(metadata) } else { Err(io::ErrorKind::NotFound.into()) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[derive(Debug)]
struct RegularFile {
    file: tokio::fs::File,
    metadata: Metadata,
}

impl File for RegularFile {
    type Metadata = Metadata;
    type MetadataFuture<'a> = std::future::Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        std::future::ready(Ok(self.metadata.clone()))
    }
}

impl AsyncRead for RegularFile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buffer)
    }
}

impl AsyncSeek for RegularFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
