//! The least that a scope takes: one call of `StartTransientUnit`, until the manager says that its job is done.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_core::Stream as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath, Variant};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>;

pub struct Bus {
    runtime: Handle,
    connection: Connection,
    waiting: Waiting,
    _reader: AbortOnDropHandle<()>,
}

impl Bus {
    pub fn connect(runtime: Handle) -> Self {
        let connect = async {
            let connection = Connection::system().await?;
            let rule = format!("type='signal',sender='{SERVICE}',path='{PATH}',interface='{MANAGER}',member='JobRemoved'");
            let bus = Some("org.freedesktop.DBus");
            connection.call_method(bus, "/org/freedesktop/DBus", bus, "AddMatch", &rule).await?;
            zbus::Result::Ok(connection)
        };
        let connection = runtime.block_on(connect).unwrap();
        let waiting = Waiting::default();
        let reader = runtime.spawn(read(MessageStream::from(&connection), Arc::clone(&waiting)));
        Self { runtime, connection, waiting, _reader: AbortOnDropHandle::new(reader) }
    }

    /// Puts the process `pid` into a scope called `unit`.
    pub fn start_scope(&self, unit: &str, pid: u32) {
        let (done, is_done) = oneshot::channel();
        self.waiting.lock().unwrap().insert(unit.to_owned(), done);
        let properties: Vec<(&str, Variant<'_>)> = vec![
            ("PIDs", Variant::from(vec![pid])),
            ("Slice", "bench.slice".into()),
            ("CollectMode", "inactive-or-failed".into()),
        ];
        let none: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let body = (unit, "fail", properties, none);
        let result = self.runtime.block_on(async {
            self.connection.call_method(Some(SERVICE), PATH, Some(MANAGER), "StartTransientUnit", &body).await.unwrap();
            is_done.await.unwrap()
        });
        assert_eq!(result, "done");
    }
}

async fn read(mut signals: MessageStream, waiting: Waiting) {
    while let Some(message) = poll_fn(|context| Pin::new(&mut signals).poll_next(context)).await {
        hear(&message.unwrap(), &waiting);
    }
}

fn hear(message: &Message, waiting: &Waiting) {
    if message.header().member().is_none_or(|member| member.as_str() != "JobRemoved") {
        return;
    }
    if let Ok((_, _, unit, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
        && let Some(sender) = waiting.lock().unwrap().remove(&unit)
    {
        let _ = sender.send(result);
    }
}
