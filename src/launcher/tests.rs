//! Broker's side and launcher's side of the socket together, over a house that only records; and each alone against a
//! peer that behaves badly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::wire::{Answer, Ask, Message, Question};
use super::{Launch, LaunchError, Launcher, Local, Reload, Remote, TypeName, serve};
use crate::protocol::Uid;
use crate::scope::{Call, End, Exit, Reached, Recording, ScopeError, State};
use crate::settings::Settings;

const SETTINGS: &str = r#"{
    "ports": {"queue": 9001},
    "services": {"queue": {"kind": "queue", "modules": {
        "clock": {"process": ["/bin/clock"], "limits": {"MemoryMax": "64M", "RuntimeMaxSec": 60}}
    }}}
}"#;

/// A launcher that serves at a socket, and the house behind it.
struct World {
    directory: tempfile::TempDir,
    house: Arc<Recording>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    /// How often the settings were read again.
    reloads: Arc<AtomicUsize>,
}

fn own_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

impl World {
    fn new() -> Self {
        Self::of(Arc::new(Recording::new()), tempfile::tempdir().unwrap(), &[own_user()])
    }

    fn of(house: Arc<Recording>, directory: tempfile::TempDir, users: &[u32]) -> Self {
        let settings = Arc::new(Settings::parse(SETTINGS, Path::new("/settings.json")).unwrap());
        let local = Local::new(settings, house.clone());
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let shutdown = CancellationToken::new();
        let reloads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reloads);
        // The second time the file is at fault.
        let reload: Reload = Arc::new(move || {
            let result = match counted.fetch_add(1, Ordering::Relaxed) {
                0 => Ok(()),
                _ => Err("settings.json: `ports` is missing".to_owned()),
            };
            Box::pin(async { result })
        });
        let serving = tokio::spawn(serve(listener, local, users.into(), reload, shutdown.clone()));
        Self { directory, house, shutdown, serving, reloads }
    }

    fn remote(&self) -> Remote {
        Remote::new(self.directory.path().join("socket"))
    }

    async fn connect(&self) -> (OwnedWriteHalf, Lines<BufReader<OwnedReadHalf>>) {
        halves(UnixStream::connect(self.directory.path().join("socket")).await.unwrap())
    }

    /// Ends the launcher, and starts another over the same house.
    async fn restart(self) -> Self {
        self.restart_over(|house| house).await
    }

    async fn restart_over(self, house: impl FnOnce(Arc<Recording>) -> Arc<Recording>) -> Self {
        self.shutdown.cancel();
        self.serving.await.unwrap();
        std::fs::remove_file(self.directory.path().join("socket")).unwrap();
        Self::of(house(self.house), self.directory, &[own_user()])
    }
}

fn halves(stream: UnixStream) -> (OwnedWriteHalf, Lines<BufReader<OwnedReadHalf>>) {
    let (reading, writing) = stream.into_split();
    (writing, BufReader::new(reading).lines())
}

fn clock() -> TypeName {
    TypeName { service: "queue".into(), background: false, name: "clock".into() }
}

fn a_clock() -> Launch {
    Launch { module_type: clock(), uid: Uid::new(), command_port: 4001, update_port: 4002 }
}

const GONE: State = State::Gone(End { exit: Exit::Status(3), reached: Reached::Terminate, exceeded: None });

#[tokio::test]
async fn a_module_from_launch_to_end() {
    let world = World::new();
    let remote = world.remote();
    let launch = a_clock();
    let uid = launch.uid;
    let mut launched = remote.launch(launch).await.unwrap();
    assert_eq!(launched.pid, 1);
    let command = ["/bin/clock", "localhost", "4001", "4002"].map(str::to_owned).to_vec();
    assert_eq!(world.house.calls(), [Call::Launch("clock".into(), command)]);
    assert_eq!(remote.list("queue").await.unwrap()[0].uid, uid);
    assert_eq!(remote.list("pool").await.unwrap(), []);

    world.house.advance(uid, State::Exited(Exit::Status(3)));
    launched.state.wait_for(|state| *state == State::Exited(Exit::Status(3))).await.unwrap();
    world.house.advance(uid, GONE);
    launched.state.wait_for(|state| *state == GONE).await.unwrap();
    let unknown = Uid::new();
    assert_eq!(remote.watch(unknown).await.unwrap_err(), ScopeError::NoSuchScope(unknown));
}

/// Whether or not the first has heard it, nobody knows.
#[tokio::test]
async fn the_next_broker_is_told_how_a_module_ended() {
    let world = World::new();
    for heard in [true, false] {
        let before = world.remote();
        let launch = a_clock();
        let uid = launch.uid;
        let mut launched = before.launch(launch).await.unwrap();
        if heard {
            world.house.advance(uid, GONE);
            launched.state.wait_for(|state| *state == GONE).await.unwrap();
            drop(before);
        } else {
            drop(before);
            world.house.advance(uid, GONE);
        }
        let mut state = world.remote().watch(uid).await.unwrap();
        state.wait_for(|state| *state == GONE).await.unwrap();
    }
}

#[tokio::test]
async fn every_verb_reaches_the_house() {
    let world = World::new();
    let remote = world.remote();
    let launch = a_clock();
    let uid = launch.uid;
    remote.launch(launch).await.unwrap();
    remote.freeze(uid).await.unwrap();
    remote.thaw(uid).await.unwrap();
    remote.kill(uid, 10).await.unwrap();
    remote.set_limits(uid, clock()).await.unwrap();
    remote.stop(uid).await.unwrap();
    let calls = world.house.calls();
    let [_, freeze, thaw, kill, limits, stop] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!([freeze, thaw, kill, stop], [&Call::Freeze(uid), &Call::Thaw(uid), &Call::Kill(uid, 10), &Call::Stop(uid)]);
    // The lifetime cannot be changed, and is left out.
    assert!(matches!(limits, Call::SetLimits(of, limits) if *of == uid && limits.len() == 1), "{limits:?}");
}

#[tokio::test]
async fn only_what_the_settings_know_is_launched() {
    let world = World::new();
    let remote = world.remote();
    for (service, background, name) in [("queue", false, "shell"), ("queue", true, "clock"), ("pool", false, "clock")] {
        let module_type = TypeName { service: service.into(), background, name: name.into() };
        let unknown = LaunchError::UnknownType { service: service.into(), type_name: name.into() };
        assert_eq!(remote.launch(Launch { module_type, ..a_clock() }).await.unwrap_err(), unknown);
    }
    assert_eq!(world.house.calls(), []);
}

#[tokio::test]
async fn the_reason_of_the_house_arrives_as_it_is() {
    let world = World::new();
    let reason = ScopeError::Execute { program: "/bin/clock".into(), reason: "No such file or directory".into() };
    world.house.refuse(reason.clone());
    assert_eq!(world.remote().launch(a_clock()).await.unwrap_err(), LaunchError::Scope(reason));
}

#[tokio::test]
async fn a_broker_that_reads_its_settings_has_the_launcher_read_its_own() {
    let world = World::new();
    let remote = world.remote();
    remote.reload().await.unwrap();
    let refusal = LaunchError::Settings("settings.json: `ports` is missing".to_owned());
    assert_eq!(remote.reload().await.unwrap_err(), refusal);
    assert_eq!(world.reloads.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn strangers_are_refused() {
    let world = World::of(Arc::new(Recording::new()), tempfile::tempdir().unwrap(), &[own_user() + 1]);
    let (mut writing, mut lines) = world.connect().await;
    let question = Question { id: 1, ask: Ask::Launch(a_clock()) };
    // It may be closed before or after this is written.
    let _ = writing.write_all(format!("{}\n", serde_json::to_string(&question).unwrap()).as_bytes()).await;
    assert!(matches!(lines.next_line().await, Ok(None) | Err(_)));
    assert_eq!(world.house.calls(), []);
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_nothing_else() {
    let world = World::new();
    let remote = world.remote();
    remote.list("queue").await.unwrap();
    let too_long = format!("{{\"id\": 1, \"ask\": {{\"List\": \"{}\"}}}}\n", "x".repeat(5000));
    for text in ["{\"id\": 1}\n", "nonsense\n", "\u{0}\n", "{\"id\":1,\"ask\":{\"Run\":[\"/bin/sh\"]}}\n", &too_long] {
        let (mut writing, mut lines) = world.connect().await;
        writing.write_all(text.as_bytes()).await.unwrap();
        assert!(matches!(lines.next_line().await, Ok(None) | Err(_)), "{text:.40}");
        remote.list("queue").await.unwrap();
    }
}

/// Whoever asked is gone before the answer: the module has nobody.
#[tokio::test(start_paused = true)]
async fn a_launch_that_nobody_waits_for_is_stopped() {
    let world = World::new();
    let gate = world.house.hold();
    let (mut writing, lines) = world.connect().await;
    let launch = a_clock();
    let uid = launch.uid;
    let question = Question { id: 1, ask: Ask::Launch(launch) };
    writing.write_all(format!("{}\n", serde_json::to_string(&question).unwrap()).as_bytes()).await.unwrap();
    gate.reached().await;
    drop((writing, lines));
    // Time passes when nothing else can be done: the launcher has seen the connection end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    gate.open();
    world.house.until(|calls| calls.contains(&Call::Stop(uid))).await;
}

#[tokio::test]
async fn a_launcher_that_is_started_anew_goes_on_telling() {
    let world = World::new();
    let remote = world.remote();
    let (one, other) = (a_clock(), a_clock());
    let (first, second) = (one.uid, other.uid);
    let mut one = remote.launch(one).await.unwrap();
    let mut other = remote.launch(other).await.unwrap();
    world.house.advance(first, State::Exited(Exit::Status(3)));
    one.state.wait_for(|state| *state == State::Exited(Exit::Status(3))).await.unwrap();

    let world = world.restart().await;
    // What comes now comes over the new connection.
    remote.stop(second).await.unwrap();
    world.house.advance(second, GONE);
    other.state.wait_for(|state| *state == GONE).await.unwrap();
    // A house that was started anew has not seen how it ended; the broker has heard it.
    let unknown = End { exit: Exit::Unknown, reached: Reached::Exit, exceeded: None };
    world.house.advance(first, State::Gone(unknown));
    let gone = State::Gone(End { exit: Exit::Status(3), ..unknown });
    one.state.wait_for(|state| *state == gone).await.unwrap();
}

/// Both were killed at once, and the module ends between what its next broker asks.
#[tokio::test]
async fn the_next_of_both_know_how_a_module_ended() {
    let world = World::new();
    let before = world.remote();
    let launch = a_clock();
    let uid = launch.uid;
    before.launch(launch).await.unwrap();
    drop(before);
    let world = world.restart().await;
    let remote = world.remote();
    assert_eq!(remote.list("queue").await.unwrap().len(), 1);
    world.house.advance(uid, GONE);
    let mut state = remote.watch(uid).await.unwrap();
    state.wait_for(|state| *state == GONE).await.unwrap();
}

#[tokio::test]
async fn what_ended_while_no_launcher_was_there_is_gone() {
    let world = World::new();
    let remote = world.remote();
    let mut launched = remote.launch(a_clock()).await.unwrap();
    let _world = world.restart_over(|_| Arc::new(Recording::new())).await;
    let gone = State::Gone(End { exit: Exit::Unknown, reached: Reached::Exit, exceeded: None });
    launched.state.wait_for(|state| *state == gone).await.unwrap();
}

#[tokio::test]
async fn a_launcher_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let remote = Remote::new(path.clone());
    let sentence = remote.launch(a_clock()).await.unwrap_err().to_string();
    assert_eq!(sentence, format!("the launcher at {} does not answer: No such file or directory (os error 2)", path.display()));
    // A question that may be asked twice waits for one.
    let asked = tokio::spawn({
        let remote = remote.clone();
        async move { remote.list("queue").await }
    });
    let world = World::of(Arc::new(Recording::new()), directory, &[own_user()]);
    assert_eq!(asked.await.unwrap().unwrap(), []);
    drop(world);
}

/// A launcher of the test's own, one connection at a time.
struct Puppet {
    listener: UnixListener,
    _directory: tempfile::TempDir,
    remote: Remote,
}

impl Puppet {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        Self { listener: UnixListener::bind(&path).unwrap(), _directory: directory, remote: Remote::new(path) }
    }

    async fn accept(&self) -> (OwnedWriteHalf, Lines<BufReader<OwnedReadHalf>>) {
        halves(self.listener.accept().await.unwrap().0)
    }
}

async fn question(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> Question {
    serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
}

async fn say(writing: &mut OwnedWriteHalf, message: &Message) {
    writing.write_all(format!("{}\n", serde_json::to_string(message).unwrap()).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_launch_of_unknown_end_is_an_error_and_is_stopped() {
    let puppet = Puppet::new();
    let remote = puppet.remote.clone();
    let launch = a_clock();
    let uid = launch.uid;
    let launching = tokio::spawn(async move { remote.launch(launch).await });
    let (writing, mut lines) = puppet.accept().await;
    assert!(matches!(question(&mut lines).await.ask, Ask::Launch(_)));
    drop((writing, lines));
    let error = launching.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    let (_writing, mut lines) = puppet.accept().await;
    assert_eq!(question(&mut lines).await.ask, Ask::Stop(uid));
}

#[tokio::test]
async fn what_may_be_asked_twice_is() {
    let puppet = Puppet::new();
    let uid = Uid::new();
    let remote = puppet.remote.clone();
    let stopping = tokio::spawn(async move { remote.stop(uid).await });
    let (writing, mut lines) = puppet.accept().await;
    assert_eq!(question(&mut lines).await.ask, Ask::Stop(uid));
    drop((writing, lines));
    let (mut writing, mut lines) = puppet.accept().await;
    let Question { id, ask } = question(&mut lines).await;
    assert_eq!(ask, Ask::Stop(uid));
    say(&mut writing, &Message::Answer { id, result: Ok(Answer::Done) }).await;
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_launcher_that_says_nonsense_is_left() {
    let puppet = Puppet::new();
    let remote = puppet.remote.clone();
    let listing = tokio::spawn(async move { remote.list("queue").await });
    let (mut writing, mut lines) = puppet.accept().await;
    let first = question(&mut lines).await;
    writing.write_all(b"nonsense\n").await.unwrap();
    let (mut writing, mut lines) = puppet.accept().await;
    let Question { id, ask } = question(&mut lines).await;
    assert_eq!(ask, first.ask);
    // An answer to something else is no answer.
    say(&mut writing, &Message::Answer { id: id + 1, result: Ok(Answer::Done) }).await;
    say(&mut writing, &Message::Answer { id, result: Ok(Answer::Done) }).await;
    assert!(listing.await.unwrap().unwrap_err().to_string().contains("something else"));
}

#[tokio::test(start_paused = true)]
async fn a_launcher_that_is_silent_is_given_up() {
    let puppet = Puppet::new();
    let remote = puppet.remote.clone();
    let launch = a_clock();
    let uid = launch.uid;
    let launching = tokio::spawn(async move { remote.launch(launch).await });
    let (_writing, mut lines) = puppet.accept().await;
    question(&mut lines).await;
    let error = launching.await.unwrap().unwrap_err().to_string();
    assert!(error.ends_with("does not answer"), "{error}");
    assert_eq!(question(&mut lines).await.ask, Ask::Stop(uid));
}

#[tokio::test]
async fn a_caller_that_reads_nothing_stalls_itself_alone() {
    let world = World::new();
    let (mut writing, lines) = world.connect().await;
    let line = format!("{}\n", serde_json::to_string(&Question { id: 1, ask: Ask::List("queue".into()) }).unwrap());
    let flood = tokio::spawn(async move {
        loop {
            writing.write_all(line.as_bytes()).await.unwrap();
        }
    });
    let remote = world.remote();
    for _ in 0..100 {
        remote.list("queue").await.unwrap();
    }
    flood.abort();
    drop(lines);
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let world = World::new();
    let gate = world.house.hold();
    let remote = world.remote();
    let launching = tokio::spawn(async move { remote.launch(a_clock()).await });
    gate.reached().await;
    world.shutdown.cancel();
    gate.open();
    launching.await.unwrap().unwrap();
    world.serving.await.unwrap();
    let mut late = UnixStream::connect(world.directory.path().join("socket")).await;
    if let Ok(stream) = &mut late {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }
}
