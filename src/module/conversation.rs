//! What is said on a module's two streams, from `init` until one of them closes (protocol.md section 5).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};

use super::answers::Answers;
use super::ports::Streams;
use super::stream::{Read, Ready, Stream};
use super::{Cause, Direct, Event, Parameters, Tell};
use crate::deadline::poll_deadline;
use crate::engine::Order;
use crate::protocol::{Incoming, ProtocolError, Raw, Request, Response, Uid, Update, write_request};
use crate::record::{Namespace, Record, Row};

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
    Tell(oneshot::Sender<Result<Response, ProtocolError>>),
}

/// What a turn begins with.
enum Happening {
    /// The broker wants something; `None` where it is gone.
    Directed(Option<Direct>),
    /// A client wants something, and the command stream is free.
    Told(Tell),
    /// The deadline of what is pending is over.
    Late,
    /// Something can be read or written.
    Streams { command: Ready, update: Ready },
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
        let mut timer = pin!(sleep_until(Instant::now() + self.timeout));
        let cause = loop {
            let happening = poll_fn(|cx| self.poll_happening(directed, &mut told, timer.as_mut(), cx)).await;
            if let Err(cause) = self.turn(happening).await {
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

    /// What comes next. Updates come last, since they may come without end.
    fn poll_happening(
        &self,
        directed: &mut mpsc::Receiver<Direct>,
        told: &mut mpsc::Receiver<Tell>,
        timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Happening> {
        if let Poll::Ready(direct) = directed.poll_recv(cx) {
            return Poll::Ready(Happening::Directed(direct));
        }
        if self.pending.is_none()
            && let Poll::Ready(Some(tell)) = told.poll_recv(cx)
        {
            return Poll::Ready(Happening::Told(tell));
        }
        let command = self.command.poll_ready(!self.unwritten.is_empty(), cx);
        let update = self.update.poll_ready(!self.answers.is_empty(), cx);
        // An answer that is there is not late.
        if !command.readable
            && let Some(pending) = &self.pending
            && poll_deadline(pending.deadline, timer, cx).is_ready()
        {
            return Poll::Ready(Happening::Late);
        }
        if command.any() || update.any() { Poll::Ready(Happening::Streams { command, update }) } else { Poll::Pending }
    }

    /// Deals with what happened. `Err` is the end of the conversation.
    async fn turn(&mut self, happening: Happening) -> Result<(), Cause> {
        match happening {
            Happening::Directed(Some(Direct::Order(order))) => {
                self.orders.push_back(order);
                self.next_order();
                Ok(())
            }
            Happening::Directed(Some(Direct::Terminate(cause))) => Err(cause),
            Happening::Directed(None) => Err(Cause::Drained),
            Happening::Told(Tell { cmd, args, answer }) => {
                self.ask(&cmd, args.as_deref(), Asked::Tell(answer));
                Ok(())
            }
            Happening::Late => Err(Cause::TimedOut),
            Happening::Streams { command, update } => {
                if command.writable {
                    self.write_command();
                }
                // Before the update stream, on which the end of a module may be seen that has answered just before it.
                if command.readable {
                    self.read_command().await?;
                }
                if update.writable {
                    self.write_answers();
                }
                if update.readable { self.read_updates().await } else { Ok(()) }
            }
        }
    }

    /// Begins a request; its answer comes later.
    fn ask(&mut self, cmd: &str, args: Option<&serde_json::value::RawValue>, asked: Asked) {
        let mut line = Vec::with_capacity(64);
        write_request(cmd, args, &mut line);
        line.push(b'\n');
        let written = if self.unwritten.is_empty() { self.command.write(&line) } else { 0 };
        self.unwritten.extend_from_slice(&line[written..]);
        line.pop();
        let line = if self.record.is_on() { String::from_utf8(line).unwrap_or_default() } else { String::new() };
        self.pending = Some(Pending { asked, line, deadline: Instant::now() + self.timeout });
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

    fn write_command(&mut self) {
        let written = self.command.write(&self.unwritten);
        self.unwritten.advance(written);
        if self.unwritten.is_empty() {
            // One that has nothing to say owns no buffer.
            self.unwritten = BytesMut::new();
        }
    }

    fn write_answers(&mut self) {
        while !self.answers.is_empty() {
            let written = self.update.write(self.answers.chunk());
            if written == 0 {
                return;
            }
            self.answers.advance(written);
        }
    }

    /// A module that announces its end and then closes both streams has announced it: whichever is seen to be closed first,
    /// its last words on the other one count.
    async fn read_command(&mut self) -> Result<(), Cause> {
        match self.take_answers().await? {
            Read::Closed => {
                self.take_updates().await?;
                Err(Cause::StreamLost)
            }
            Read::Bytes { .. } | Read::Nothing => Ok(()),
        }
    }

    /// Likewise, one that answers and then closes both has answered.
    async fn read_updates(&mut self) -> Result<(), Cause> {
        match self.take_updates().await? {
            Read::Closed => {
                self.take_answers().await?;
                Err(Cause::StreamLost)
            }
            // A flood: let everybody else have a turn.
            Read::Bytes { more: true } => {
                tokio::task::yield_now().await;
                Ok(())
            }
            Read::Bytes { more: false } | Read::Nothing => Ok(()),
        }
    }

    async fn take_answers(&mut self) -> Result<Read, Cause> {
        let read = self.command.read().await;
        while let Some(line) = self.command.lines.next_line() {
            let Some(pending) = self.pending.take() else {
                tracing::warn!(uid = %self.uid, "module {}: a line that nobody asked for is ignored", self.uid.short());
                continue;
            };
            let (response, line) = match line {
                Ok(line) => (Response::parse(&line), Some(line)),
                Err(too_long) => (Err(ProtocolError::LineTooLong(too_long.limit)), None),
            };
            if self.record.is_on() {
                let text = line.map_or_else(|| "null".to_owned(), |line| String::from_utf8_lossy(&line).into_owned());
                self.record.write(self.row(Namespace::QueueModule, pending.line, text));
            }
            self.answered(pending.asked, response).await?;
            self.next_order();
        }
        Ok(read)
    }

    async fn answered(&mut self, asked: Asked, response: Result<Response, ProtocolError>) -> Result<(), Cause> {
        let uid = self.uid;
        match asked {
            Asked::Tell(answer) => {
                // The client may have gone; its command was carried out all the same.
                let _ = answer.send(response);
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

    async fn take_updates(&mut self) -> Result<Read, Cause> {
        let read = self.update.read().await;
        while let Some(line) = self.update.lines.next_line() {
            match line {
                Ok(line) => self.updated(&line)?,
                Err(too_long) => self.answers.push(&ProtocolError::LineTooLong(too_long.limit).into()),
            }
        }
        self.write_answers();
        Ok(read)
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
                Asked::Tell(answer) => {
                    let _ = answer.send(Err(error.clone()));
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(listener.local_addr().unwrap()));
        (ours.unwrap().0, theirs.unwrap())
    }

    /// Holds a conversation with `module`, told one thing; answers how that was answered and why the conversation ended.
    async fn told<F: Future>(module: impl FnOnce(TcpStream, TcpStream) -> F) -> (Result<Response, ProtocolError>, Cause) {
        let ((command, their_command), (update, their_update)) = (pair().await, pair().await);
        let (events, mut reported) = mpsc::channel(4);
        let (_direct, mut directed) = mpsc::channel(4);
        let (tell, tells) = mpsc::channel(4);
        let (answer, answered) = oneshot::channel();
        tell.send(Tell { cmd: "do_it".to_owned(), args: None, answer }).await.unwrap();
        let (parameters, record) = (Arc::default(), Record::open(None, "x"));
        let streams = Streams { command, update };
        let timeout = Duration::from_millis(300);
        let conversation = Conversation::new(Uid::new(), streams, timeout, 1000, &parameters, &record, &events);
        let (cause, _) = tokio::join!(conversation.hold(None, &mut directed, tells), module(their_command, their_update));
        assert!(matches!(reported.recv().await, Some(Event::Started { result: Ok(()), .. })));
        (answered.await.unwrap(), cause)
    }

    #[tokio::test]
    async fn an_answer_counts_though_the_module_ends_with_it() {
        for _ in 0..100 {
            let module = async |command: TcpStream, update: TcpStream| {
                let mut command = BufReader::new(command);
                let mut line = String::new();
                for _ in 0..2 {
                    command.read_line(&mut line).await.unwrap();
                    command.write_all(b"{\"success\": true}\n").await.unwrap();
                }
                assert_eq!(line, "{\"cmd\": \"init\"}\n{\"cmd\": \"do_it\"}\n");
                drop((command, update));
            };
            let (answer, cause) = told(module).await;
            assert!(answer.is_ok_and(|answer| answer.is_success()));
            assert_eq!(cause, Cause::StreamLost);
        }
    }

    #[tokio::test]
    async fn a_flood_of_updates_does_not_hide_that_an_answer_is_late() {
        let flood = async |command: TcpStream, update: TcpStream| {
            let mut command = BufReader::new(command);
            command.read_line(&mut String::new()).await.unwrap();
            command.write_all(b"{\"success\": true}\n").await.unwrap();
            let lines = "{\"cmd\": \"nonsense\"}\n".repeat(1000);
            let (mut answers, mut updates) = update.into_split();
            let read = async { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await };
            tokio::join!(read, async { while updates.write_all(lines.as_bytes()).await.is_ok() {} })
        };
        let (answer, cause) = told(flood).await;
        assert_eq!(answer.unwrap_err(), ProtocolError::Timeout);
        assert_eq!(cause, Cause::TimedOut);
    }
}
