//! What is said on a module's two streams, from `init` until one of them closes (protocol.md section 5).

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep_until};

use super::answers::Answers;
use super::notes::{self, Batch, Notes};
use super::ports::Streams;
use super::stream::{Read, Ready, Stream};
use super::{Cause, Direct, Event, Parameters, Tell};
use crate::deadline::poll_deadline;
use crate::engine::Order;
use crate::handover::{self, Change, Report};
use crate::protocol::{Incoming, ProtocolError, Request, Response, Uid, Update, raw_text, write_request};
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
    notes: Notes,
    /// `init` was asked for, by this process or by the one before.
    begun: bool,
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

impl Asked {
    const fn kind(&self) -> handover::Asked {
        match self {
            Self::Init => handover::Asked::Init,
            Self::Order(order) => handover::Asked::Order(*order),
            Self::Tell(_) => handover::Asked::Tell,
        }
    }
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
        streams: Streams,
        timeout: Duration,
        limit: usize,
        parameters: &'a Arc<Parameters>,
        record: &'a Record,
        events: &'a mpsc::Sender<Event>,
        notes: Notes,
    ) -> Self {
        let (mut command, mut update) = (Stream::new(streams.command, limit), Stream::new(streams.update, limit));
        if notes.are_taken() {
            command.peek_only();
            update.peek_only();
        }
        Self {
            uid: notes.uid(),
            command,
            update,
            timeout,
            parameters,
            record,
            events,
            pending: None,
            orders: VecDeque::new(),
            unwritten: BytesMut::new(),
            answers: Answers::default(),
            notes,
            begun: false,
        }
    }

    /// Goes on where the process before has left the module, as far as its notes and the kernel tell.
    pub(super) fn resume(mut self, limit: usize, module: &handover::Module) -> std::io::Result<Self> {
        self.command = self.command.resume(limit, &module.command)?;
        self.update = self.update.resume(limit, &module.update)?;
        let written = self.update.written().saturating_sub(module.update.base);
        self.answers = Answers::resume(module.answers.iter().cloned(), written);
        let mut requests: Vec<u8> = module.requests.iter().flat_map(|request| request.bytes()).collect();
        let written = self.command.written().saturating_sub(module.command.base);
        if let Some(handover::Pending { asked, start }) = module.pending {
            let asked = match asked {
                handover::Asked::Init => Some(Asked::Init),
                handover::Asked::Order(order) => Some(Asked::Order(order)),
                // The module has not seen it, and its client knows that it may not have.
                handover::Asked::Tell if self.command.written() <= start => {
                    requests.truncate(usize::try_from(start.saturating_sub(module.command.base)).unwrap_or(usize::MAX));
                    self.notes.write([Change::Withdrawn]);
                    None
                }
                handover::Asked::Tell => {
                    let uid = self.uid;
                    tracing::warn!(%uid, "module {}: a client's command was under way when the service broke off", uid.short());
                    Some(Asked::Tell(oneshot::channel().0))
                }
            };
            let line = module.requests.back().map(|line| line.trim_end_matches('\n').to_owned()).unwrap_or_default();
            self.pending = asked.map(|asked| Pending { asked, line, deadline: Instant::now() + self.timeout });
        }
        let written = usize::try_from(written).unwrap_or(usize::MAX).min(requests.len());
        self.unwritten.extend_from_slice(&requests[written..]);
        self.orders.extend(&module.orders);
        self.begun = !module.requests.is_empty() || module.command.base > 0;
        self.next_order();
        Ok(self)
    }

    /// Sends `init` and then whatever is asked; returns why the conversation is over, with all that was asked answered and
    /// both streams closed.
    pub(super) async fn hold(
        mut self,
        args: Option<&RawValue>,
        directed: &mut mpsc::Receiver<Direct>,
        mut told: mpsc::Receiver<Tell>,
    ) -> Cause {
        if !self.begun {
            self.ask("init", args, Asked::Init);
        }
        let mut timer = pin!(sleep_until(Instant::now() + self.timeout));
        let cause = loop {
            let happening = poll_fn(|cx| self.poll_happening(directed, &mut told, timer.as_mut(), cx)).await;
            if let Err(cause) = self.turn(happening).await {
                break cause;
            }
        };
        let error = if cause == Cause::TimedOut { ProtocolError::Timeout } else { ProtocolError::Closed };
        self.abandon(cause, &error).await;
        if self.notes.are_taken() {
            // The service manager has them open, too.
            self.command.close();
            self.update.close();
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
    fn ask(&mut self, cmd: &str, args: Option<&RawValue>, asked: Asked) {
        let mut line = Vec::with_capacity(64);
        write_request(cmd, args, &mut line);
        if self.notes.are_taken() {
            let text = String::from_utf8_lossy(&line).into_owned();
            self.notes.write([Change::Asked { asked: asked.kind(), line: text, written: self.command.written() }]);
        }
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
        let before = self.command.lines.rest().0.len();
        let read = self.command.read().await;
        let mut heard = None;
        while let Some(line) = self.command.lines.next_line() {
            let Some(pending) = self.pending.take() else {
                tracing::warn!(uid = %self.uid, "module {}: a line that nobody asked for is ignored", self.uid.short());
                continue;
            };
            heard = Some(match line {
                Ok(line) => (pending, Response::parse(&line), Some(line)),
                Err(too_long) => (pending, Err(ProtocolError::LineTooLong(too_long.limit)), None),
            });
        }
        if self.command.peeked() > 0 {
            let mut changes = vec![Change::Heard(self.command.understood(before))];
            if let Some((pending, response, _)) = &heard {
                changes.push(Change::Answered);
                changes.extend(Self::meaning(&pending.asked, response));
            }
            self.notes.write(changes);
            self.command.take();
        }
        if let Some((pending, response, line)) = heard {
            if self.record.is_on() {
                let text = line.map_or_else(|| "null".to_owned(), |line| String::from_utf8_lossy(&line).into_owned());
                self.record.write(self.row(Namespace::QueueModule, pending.line, text));
            }
            self.answered(pending.asked, response).await?;
            self.next_order();
        }
        Ok(read)
    }

    /// What [`Self::answered`] makes of an answer, to be written down before.
    fn meaning(asked: &Asked, response: &Result<Response, ProtocolError>) -> Vec<Change> {
        let good = response.as_ref().is_ok_and(Response::is_success);
        let ending = |cause: Cause| Change::Ending(cause.name().to_owned());
        match asked {
            Asked::Tell(_) => Vec::new(),
            Asked::Init if good => vec![Change::Report(Report::Started(true))],
            Asked::Init => vec![Change::Report(Report::Started(false)), ending(Cause::Refused)],
            Asked::Order(order) => {
                let report = Change::Report(Report::Answered { order: *order, obeyed: good });
                std::iter::once(report).chain((*order == Order::Remove).then(|| ending(Cause::Removed))).collect()
            }
        }
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
        let before = self.update.lines.rest().0.len();
        let read = self.update.read().await;
        let mut batch = self.notes.are_taken().then(Batch::default);
        while let Some(line) = self.update.lines.next_line() {
            match line {
                // Where it says that it ends, all of it is read again by whoever goes on before that is written down.
                Ok(line) => self.updated(&line, batch.as_mut())?,
                Err(too_long) => self.answers.push(&ProtocolError::LineTooLong(too_long.limit).into()),
            }
            if let Some(batch) = &mut batch {
                batch.owes(self.answers.last());
            }
        }
        if self.update.peeked() > 0
            && let Some(Batch { mut changes, answers }) = batch
        {
            changes.push(Change::Updated(self.update.understood(before)));
            if !answers.is_empty() {
                changes.push(Change::Owes { answers, written: self.update.written() });
            }
            self.notes.write(changes);
            self.update.take();
        }
        self.write_answers();
        if self.parameters.is_news() {
            let _ = self.events.send(Event::Parameters { uid: self.uid }).await;
        }
        Ok(read)
    }

    /// Carries out one line of the update stream and appends its answer; `Err` where the module says that it ends.
    fn updated(&mut self, line: &[u8], mut batch: Option<&mut Batch>) -> Result<(), Cause> {
        let mut rewritten = String::new();
        match Incoming::read(line, &mut rewritten) {
            Ok(Incoming::One(request)) => {
                let response = self.update(request, batch)?;
                self.answers.push(&response);
            }
            Ok(Incoming::Many(requests)) => {
                let mut responses = Vec::with_capacity(requests.len());
                for request in requests {
                    responses.push(self.update(request, batch.as_deref_mut())?);
                }
                self.answers.push_list(&responses);
            }
            Err(error) => self.answers.push(&error.into()),
        }
        Ok(())
    }

    fn update(&self, request: Result<Request<'_>, ProtocolError>, batch: Option<&mut Batch>) -> Result<Response, Cause> {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Ok(error.into()),
        };
        let mut change = None;
        let (response, over) = match Update::parse(&request) {
            Ok(Update::Set(new)) => {
                let set = self.parameters.set(&new);
                if batch.is_some() {
                    // Of one that was refused a part may have been taken.
                    let now = if set.is_ok() { notes::object(&new) } else { raw_text(self.parameters.all()) };
                    change = now.map(Change::Set);
                }
                match set {
                    Ok(_) => (Response::DONE, false),
                    Err(error) => (Response::Failure(error.to_string()), false),
                }
            }
            Ok(Update::Unset(names)) => {
                self.parameters.unset(names.iter().map(AsRef::as_ref));
                if batch.is_some() {
                    change = Some(Change::Unset(names.iter().map(|name| name.clone().into_owned()).collect()));
                }
                (Response::DONE, false)
            }
            Ok(Update::Remove) => (Response::DONE, true),
            Err(ProtocolError::BadCommand) => return Ok(ProtocolError::BadCommand.into()),
            Err(error) => (error.into(), false),
        };
        if let Some(batch) = batch {
            batch.changes.extend(change);
        }
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

    /// Answers whatever was asked and never will be answered, and says that the module ends where that is news.
    async fn abandon(&mut self, cause: Cause, error: &ProtocolError) {
        let uid = self.uid;
        let pending = self.pending.take();
        let is_init = pending.as_ref().is_some_and(|pending| matches!(pending.asked, Asked::Init));
        let asked = pending.as_ref().into_iter().filter_map(|pending| match &pending.asked {
            Asked::Order(order) => Some(*order),
            _ => None,
        });
        let removed = asked.chain(self.orders.drain(..)).any(|order| order == Order::Remove);
        let expected = matches!(cause, Cause::Removed | Cause::Refused | Cause::Drained);
        let mut reports = Vec::new();
        if is_init {
            reports.push((Report::Started(false), Event::Started { uid, result: Err(error.clone()) }));
        }
        if removed {
            let order = Order::Remove;
            reports.push((Report::Answered { order, obeyed: false }, Event::Answered { uid, order, obeyed: false }));
        }
        if !is_init && !removed && !expected {
            reports.push((Report::Ended, Event::Ended { uid, cause }));
        }
        let changes = reports.iter().map(|(report, _)| Change::Report(*report));
        self.notes.write(std::iter::once(Change::Ending(cause.name().to_owned())).chain(changes));
        if let Some(pending) = pending {
            self.record.write(self.row(Namespace::QueueModule, pending.line, "null".to_owned()));
            if let Asked::Tell(answer) = pending.asked {
                let _ = answer.send(Err(error.clone()));
            }
        }
        for (_, event) in reports {
            let _ = self.events.send(event).await;
        }
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
        let conversation = Conversation::new(streams, timeout, 1000, &parameters, &record, &events, Notes::none(Uid::new()));
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
