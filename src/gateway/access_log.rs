//! The access log: one entry in the journal for each request that `gateway.access_log` wants told.
//!
//! A request is noted when its head has come, and told when what was noted of it is dropped: once its answer is handed over, or, where
//! that is a stream, once that has ended. One that is dropped before it is answered had a client that went away.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either};
use hyper::body::{Body, Frame, SizeHint};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::value::RawValue;

use super::answer::{Answer, AnswerBody};
use crate::access::{Guard, Level, Peer};
use crate::journal::RequestFields;
use crate::protocol::{Object, as_list, as_string, parse_object};
use crate::settings::AccessLog;

/// Most commands of a list that are named.
const MOST_COMMANDS: usize = 8;

/// Most bytes of all names of commands.
const MOST_BYTES: usize = 256;

/// A request that may be told.
#[derive(Debug)]
pub(super) struct Noted {
    wanted: AccessLog,
    began: Instant,
    client: Option<Peer>,
    method: Method,
    path: String,
    /// The names of commands in its body.
    commands: String,
    /// Whether it may change something, as far as it was read.
    may_change: bool,
    status: Option<StatusCode>,
    bytes: u64,
}

impl Noted {
    /// Notes a request with this head, which `client` makes; `None` where none is told.
    pub(super) fn note(wanted: AccessLog, parts: &Parts, client: Option<Peer>) -> Option<Self> {
        (wanted != AccessLog::None).then(|| Self {
            wanted,
            began: Instant::now(),
            client,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            commands: String::new(),
            may_change: false,
            status: None,
            bytes: 0,
        })
    }

    /// What the request's body asks of a service that this `guard` may be of. Reading it is all that this costs where nothing is told
    /// in the end.
    pub(super) fn asks(&mut self, guard: Option<&Guard>, body: &[u8]) {
        let Ok(value) = serde_json::from_slice::<&RawValue>(body) else {
            // What is not read here, a service may read.
            self.may_change = true;
            return;
        };
        // Most are no list, which is seen sooner than said by who reads lists.
        let list = value.get().starts_with('[').then(|| as_list(value)).flatten();
        match list {
            Some(requests) => requests.iter().enumerate().for_each(|(index, request)| self.asks_one(guard, request, index)),
            None => self.asks_one(guard, value, 0),
        }
    }

    fn asks_one(&mut self, guard: Option<&Guard>, request: &RawValue, index: usize) {
        let level_for = |name: Option<&str>| match (guard, name) {
            (Some(guard), _) => guard.level_for(name),
            (None, Some(name)) => Level::of_command(name),
            (None, None) => Level::Remove,
        };
        let object = parse_object(request);
        // Of several keys each may be the one that a service takes (`access/judge.rs`).
        let keys = object.iter().flat_map(Object::iter).filter(|(key, _)| key.eq_ignore_ascii_case("cmd"));
        let names: Vec<_> = keys.map(|(_, value)| as_string(value)).collect();
        self.may_change |= names.is_empty() || names.iter().any(|name| level_for(name.as_deref()) > Level::View);
        if self.commands.len() > MOST_BYTES || index > MOST_COMMANDS {
            return;
        }
        let comma = if index > 0 { "," } else { "" };
        let name = if index == MOST_COMMANDS { "…" } else { names.first().and_then(Option::as_deref).unwrap_or("?") };
        let name: String = name.chars().take(MOST_BYTES).collect();
        let _ = write!(self.commands, "{comma}{name}");
    }

    /// The answer, which is told of once it is handed over.
    pub(super) fn answered(mut self, answer: Answer) -> Answer {
        self.status = Some(answer.status());
        // Nothing that comes later changes that, and a stream may go on for days.
        if !self.is_wanted() {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let body = match body {
            Either::Left(whole) => {
                self.bytes = whole.size_hint().lower();
                Either::Left(whole)
            }
            Either::Right(stream) => Either::Right(Told { stream: Either::Right(stream), noted: self }.boxed_unsync()),
        };
        Answer::from_parts(parts, body)
    }

    fn is_wanted(&self) -> bool {
        let is_refused = self.status.is_some_and(|status| status.is_client_error());
        match self.wanted {
            AccessLog::All => true,
            AccessLog::Changes => self.may_change || is_refused,
            AccessLog::Errors => self.status.is_none_or(|status| status.is_client_error() || status.is_server_error()),
            AccessLog::None => false,
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.is_wanted() {
            return;
        }
        let fields = RequestFields {
            client: &self.client.map_or_else(|| "-".to_owned(), |client| client.to_string()),
            method: self.method.as_str(),
            path: &self.path,
            command: (!self.commands.is_empty()).then_some(&self.commands),
            status: self.status.map(|status| status.as_u16()),
            bytes: self.bytes,
            took: self.began.elapsed(),
        };
        fields.tell();
    }
}

/// A body that comes bit by bit, and counts them.
struct Told {
    stream: AnswerBody,
    noted: Noted,
}

impl Body for Told {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_frame(cx).map_err(io::Error::other);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.noted.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.size_hint()
    }
}
