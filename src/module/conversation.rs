//! What is said on a module's two streams, from `init` until one of them closes (protocol.md section 5).

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::answers::Answers;
use super::ports::Streams;
use super::{Cause, Direct, Event, Parameters, Tell};
use crate::engine::Order;
use crate::protocol::{Incoming, LineBuffer, ProtocolError, Raw, Request, Response, Uid, Update, write_request};
use crate::record::{Namespace, Record, Row};

/// Read at a time from a quiet stream, in bytes.
const LITTLE: usize = 4 * 1024;
/// Read at a time from a busy stream, in bytes: after that much, others get their turn.
const MUCH: usize = 64 * 1024;

/// The two streams while the module lives.
pub(super) struct Conversation<'a> {
    uid: Uid,
    command: Stream,
    update: Stream,
    timeout: Duration,
    parameters: &'a Arc<Parameters>,
    record: &'a Record,
    events: &'a mpsc::Sender<Event>,
    /// The one request that is not answered yet.
    pending: Option<Pending>,
    /// Orders that wait for it.
    orders: VecDeque<Order>,
    /// What is left to write of it.
    unwritten: BytesMut,
    answers: Answers,
}

struct Pending {
    asked: Asked,
    /// The request as it was written, for the record.
    line: String,
    deadline: Instant,
}

enum Asked {
    Init,
    Order(Order),
    Tell(Tell),
}

/// A stream and the lines that come in on it.
struct Stream {
    socket: TcpStream,
    lines: LineBuffer,
    /// How much to read next.
    appetite: usize,
}

/// What became of a read.
enum Read {
    /// Nothing came although the socket seemed ready.
    Nothing,
    /// Bytes came; whether there may be more at once.
    Bytes { more: bool },
    /// The peer has closed, or the stream is broken.
    Closed,
}

impl Stream {
    fn new(socket: TcpStream, limit: usize) -> Self {
        Self { socket, lines: LineBuffer::new(limit), appetite: LITTLE }
    }

    fn read(&mut self) -> Read {
        let appetite = self.appetite;
        match self.socket.try_read_buf(self.lines.space(appetite)) {
            Ok(0) => Read::Closed,
            Ok(bytes) => {
                let more = bytes >= appetite;
                self.appetite = if more { MUCH } else { LITTLE };
                Read::Bytes { more }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::Closed,
        }
    }
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        uid: Uid,
        streams: Streams,
        timeout: Duration,
        limit: usize,
        parameters: &'a Arc<Parameters>,
        record: &'a Record,
        events: &'a mpsc::Sender<Event>,
    ) -> Self {
        Self {
            uid,
            command: Stream::new(streams.command, limit),
            update: Stream::new(streams.update, limit),
            timeout,
            parameters,
            record,
            events,
            pending: None,
            orders: VecDeque::new(),
            unwritten: BytesMut::new(),
            answers: Answers::default(),
        }
    }

    /// Sends `init` and then whatever is asked; returns why the conversation is over, with all that was asked answered and
    /// both streams closed.
    pub(super) async fn hold(
        mut self,
        args: Option<Raw>,
        directed: &mut mpsc::Receiver<Direct>,
        mut told: mpsc::Receiver<Tell>,
    ) -> Cause {
        self.ask("init", args.as_deref(), Asked::Init);
        let cause = loop {
            if let Err(cause) = self.turn(directed, &mut told).await {
                break cause;
            }
        };
        let error = if cause == Cause::TimedOut { ProtocolError::Timeout } else { ProtocolError::Closed };
        let started = !matches!(self.pending, Some(Pending { asked: Asked::Init, .. }));
        let removed = self.abandon(&error).await;
        if started && !removed && cause != Cause::Removed && cause != Cause::Refused && cause != Cause::Drained {
            let _ = self.events.send(Event::Ended { uid: self.uid }).await;
        }
        cause
    }

    /// Waits for one thing to happen and deals with it. `Err` is the end of the conversation.
    async fn turn(&mut self, directed: &mut mpsc::Receiver<Direct>, told: &mut mpsc::Receiver<Tell>) -> Result<(), Cause> {
        let idle = self.pending.is_none();
        let deadline = self.pending.as_ref().map(|pending| pending.deadline);
        let command_interest =
            if self.unwritten.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let update_interest = if self.answers.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        tokio::select! {
            direct = directed.recv() => match direct {
                Some(Direct::Order(order)) => {
                    self.orders.push_back(order);
                    self.next_order();
                    Ok(())
                }
                Some(Direct::Terminate(cause)) => Err(cause),
                None => Err(Cause::Drained),
            },
            Some(tell) = told.recv(), if idle => {
                let (cmd, args) = (tell.cmd.clone(), tell.args.clone());
                self.ask(&cmd, args.as_deref(), Asked::Tell(tell));
                Ok(())
            }
            () = until(deadline) => Err(Cause::TimedOut),
            ready = self.command.socket.ready(command_interest) => {
                let ready = ready.map_err(|_| Cause::StreamLost)?;
                if ready.is_writable() {
                    self.write_command();
                }
                if ready.is_readable() { self.read_command().await } else { Ok(()) }
            }
            ready = self.update.socket.ready(update_interest) => {
                let ready = ready.map_err(|_| Cause::StreamLost)?;
                if ready.is_writable() {
                    self.write_answers();
                }
                if ready.is_readable() { self.read_updates().await } else { Ok(()) }
            }
        }
    }

    /// Begins a request; its answer comes later.
    fn ask(&mut self, cmd: &str, args: Option<&serde_json::value::RawValue>, asked: Asked) {
        let mut line = Vec::with_capacity(64);
        write_request(cmd, args, &mut line);
        self.unwritten.extend_from_slice(&line);
        self.unwritten.extend_from_slice(b"\n");
        let line = String::from_utf8(line).unwrap_or_default();
        self.pending = Some(Pending { asked, line, deadline: Instant::now() + self.timeout });
        self.write_command();
    }

    fn next_order(&mut self) {
        if self.pending.is_none()
            && let Some(order) = self.orders.pop_front()
        {
            let cmd = match order {
                Order::Play => "play",
                Order::Suspend => "suspend",
                Order::Remove => "rm",
            };
            self.ask(cmd, None, Asked::Order(order));
        }
    }

    /// A write that fails is noticed by the next read.
    fn write_command(&mut self) {
        while !self.unwritten.is_empty() {
            let Ok(bytes) = self.command.socket.try_write(&self.unwritten) else { return };
            let _ = self.unwritten.split_to(bytes);
        }
        self.unwritten = BytesMut::new();
    }

    fn write_answers(&mut self) {
        while !self.answers.is_empty() {
            let Ok(bytes) = self.update.socket.try_write(self.answers.chunk()) else { return };
            self.answers.advance(bytes);
        }
    }

    async fn read_command(&mut self) -> Result<(), Cause> {
        let read = self.command.read();
        while let Some(line) = self.command.lines.next_line() {
            let Some(pending) = self.pending.take() else {
                tracing::warn!(uid = %self.uid, "module {}: a line that nobody asked for is ignored", self.uid.short());
                continue;
            };
            let (response, text) = match line {
                Ok(line) => (Response::parse(&line), String::from_utf8_lossy(&line).into_owned()),
                Err(too_long) => (Err(ProtocolError::LineTooLong(too_long.limit)), "null".to_owned()),
            };
            self.record.write(self.row(Namespace::QueueModule, pending.line, text));
            self.answered(pending.asked, response).await?;
            self.next_order();
        }
        if matches!(read, Read::Closed) { Err(Cause::StreamLost) } else { Ok(()) }
    }

    async fn answered(&mut self, asked: Asked, response: Result<Response, ProtocolError>) -> Result<(), Cause> {
        let uid = self.uid;
        match asked {
            Asked::Tell(tell) => {
                // The client may have gone; its command was carried out all the same.
                let _ = tell.answer.send(response);
                Ok(())
            }
            Asked::Init => {
                let result = match response {
                    Ok(Response::Success(_)) => Ok(()),
                    Ok(Response::Failure(error)) => Err(ProtocolError::Said(error)),
                    Err(error) => Err(error),
                };
                let refused = result.is_err();
                let _ = self.events.send(Event::Started { uid, result }).await;
                if refused { Err(Cause::Refused) } else { Ok(()) }
            }
            Asked::Order(order) => {
                let obeyed = response.is_ok_and(|response| response.is_success());
                let _ = self.events.send(Event::Answered { uid, order, obeyed }).await;
                if order == Order::Remove { Err(Cause::Removed) } else { Ok(()) }
            }
        }
    }

    async fn read_updates(&mut self) -> Result<(), Cause> {
        let read = self.update.read();
        while let Some(line) = self.update.lines.next_line() {
            match line {
                Ok(line) => self.updated(&line)?,
                Err(too_long) => self.answers.push(&ProtocolError::LineTooLong(too_long.limit).into()),
            }
        }
        self.write_answers();
        match read {
            Read::Closed => Err(Cause::StreamLost),
            // A flood: let everybody else have a turn.
            Read::Bytes { more: true } => {
                tokio::task::yield_now().await;
                Ok(())
            }
            Read::Bytes { more: false } | Read::Nothing => Ok(()),
        }
    }

    /// Carries out one line of the update stream and answers it; `Err` where the module says that it ends.
    fn updated(&mut self, line: &[u8]) -> Result<(), Cause> {
        let mut rewritten = String::new();
        match Incoming::read(line, &mut rewritten) {
            Ok(Incoming::One(request)) => {
                let response = self.update(request)?;
                self.answers.push(&response);
            }
            Ok(Incoming::Many(requests)) => {
                let responses = requests.into_iter().map(|request| self.update(request)).collect::<Result<Vec<_>, _>>()?;
                self.answers.push_list(&responses);
            }
            Err(error) => self.answers.push(&error.into()),
        }
        Ok(())
    }

    fn update(&self, request: Result<Request<'_>, ProtocolError>) -> Result<Response, Cause> {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Ok(error.into()),
        };
        let (response, over) = match Update::parse(&request) {
            Ok(Update::Set(new)) => match self.parameters.set(&new) {
                Ok(_) => (Response::DONE, false),
                Err(error) => (Response::Failure(error.to_string()), false),
            },
            Ok(Update::Unset(names)) => {
                self.parameters.unset(names.iter().map(AsRef::as_ref));
                (Response::DONE, false)
            }
            Ok(Update::Remove) => (Response::DONE, true),
            Err(ProtocolError::BadCommand) => return Ok(ProtocolError::BadCommand.into()),
            Err(error) => (error.into(), false),
        };
        if self.record.is_on() {
            let mut line = Vec::new();
            write_request(request.cmd.as_deref().unwrap_or_default(), request.raw_args, &mut line);
            let line = String::from_utf8(line).unwrap_or_default();
            self.record.write(self.row(Namespace::ModuleInstance, line, response.to_text()));
        }
        if over { Err(Cause::Own) } else { Ok(response) }
    }

    const fn row(&self, namespace: Namespace, input: String, output: String) -> Row {
        Row { uid: Some(self.uid), namespace, input, output }
    }

    /// Answers whatever was asked and never will be answered; says whether an order to be removed was among it.
    async fn abandon(&mut self, error: &ProtocolError) -> bool {
        let uid = self.uid;
        let mut orders: Vec<Order> = Vec::new();
        if let Some(pending) = self.pending.take() {
            self.record.write(self.row(Namespace::QueueModule, pending.line, "null".to_owned()));
            match pending.asked {
                Asked::Init => {
                    let _ = self.events.send(Event::Started { uid, result: Err(error.clone()) }).await;
                }
                Asked::Order(order) => orders.push(order),
                Asked::Tell(tell) => {
                    let _ = tell.answer.send(Err(error.clone()));
                }
            }
        }
        orders.extend(self.orders.drain(..));
        let removed = orders.contains(&Order::Remove);
        if removed {
            let _ = self.events.send(Event::Answered { uid, order: Order::Remove, obeyed: false }).await;
        }
        removed
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
