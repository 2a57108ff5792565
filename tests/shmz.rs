//! `shmz` as people run it, against services that play a script.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};

const A: &str = "1a2b3c4d-0000-4000-8000-000000000001";
const B: &str = "1a2b9999-0000-4000-8000-000000000002";
const BACKGROUND: &str = "ffff0000-0000-4000-8000-000000000003";

/// What a run of `shmz` did.
#[derive(Debug, PartialEq)]
struct Ran {
    out: String,
    err: String,
    code: i32,
}

fn ran(out: &str, err: &str, code: i32) -> Ran {
    Ran { out: out.into(), err: err.into(), code }
}

fn run(words: &[&str]) -> Ran {
    run_with(words, &[], "")
}

fn run_with(words: &[&str], environment: &[(&str, &str)], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shmz"))
        .args(words)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
}

/// A service that answers one request after the other as its script says, each on a connection of its own.
struct Server {
    port: u16,
    heard: Receiver<String>,
}

impl Server {
    /// Speaks JSON lines.
    fn lines(answers: &[String]) -> Self {
        Self::start(answers, |stream| {
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(line.pop(), Some('\n'));
            line
        })
    }

    /// Speaks HTTP. What it hears is the request line, the content type and the body.
    fn http(answers: &[(&str, &str)]) -> Self {
        let answers: Vec<String> = answers
            .iter()
            .map(|(status, body)| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .collect();
        Self::start(&answers, |stream| {
            let mut reader = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_owned());
            }
            let field = |name: &str| {
                let line = head.iter().find(|line| line.to_lowercase().starts_with(&format!("{name}:")));
                line.map_or("", |line| line.split_once(':').unwrap().1.trim())
            };
            let mut body = vec![0; field("content-length").parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            format!("{} | {} | {}", head[0], field("content-type"), String::from_utf8(body).unwrap())
        })
    }

    fn start(answers: &[String], hear: impl Fn(&mut TcpStream) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.to_vec();
        let (told, heard) = channel();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                told.send(hear(&mut stream)).unwrap();
                // A client that has given up does not take it.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, heard }
    }

    fn tcp(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.try_iter().collect()
    }
}

fn success(result: &Value) -> String {
    format!("{}\n", json!({"success": true, "result": result}))
}

fn failure(error: &str) -> String {
    format!("{}\n", json!({"success": false, "error": error}))
}

const DONE: &str = "{\"success\": true}\n";

/// What a queue answers when a module is looked for.
fn listing() -> String {
    let queue = json!([{"uid": A, "type": "clock"}, {"uid": B, "type": "tone"}]);
    let background = json!({"uid": BACKGROUND, "type": "wallpaper"});
    let answers = [success(&queue), failure("Bad command."), success(&background)].map(|line| line.trim_end().to_owned());
    format!("[{}]\n", answers.join(", "))
}

const LOOKS: &str = r#"[{"cmd": "queue"}, {"cmd": "pool"}, {"cmd": "bg"}]"#;

/// Runs `shmz --url tcp://… WORDS` against a service that gives these answers; returns what it did and what was heard.
fn against(answers: &[String], words: &[&str]) -> (Ran, Vec<String>) {
    let server = Server::lines(answers);
    let url = server.tcp();
    let ran = run(&[&["--url", &url], words].concat());
    (ran, server.heard())
}

#[test]
fn queue_is_a_table() {
    let list = json!([{"uid": A, "type": "clock"}, {"uid": B, "type": "a longer type"}]);
    let (did, heard) = against(&[success(&list)], &["queue"]);
    assert_eq!(did, ran("#  UID       TYPE\n1  1a2b3c4d  clock\n2  1a2b9999  a longer type\n", "", 0));
    assert_eq!(heard, [r#"{"cmd": "queue"}"#]);

    let (did, _) = against(&[success(&json!([]))], &["queue"]);
    assert_eq!(did, ran("#  UID  TYPE\n", "", 0));
}

#[test]
fn queue_shows_parameters_that_are_asked_for() {
    let list = json!([
        {"uid": A, "type": "clock", "parameters": {"position": 12.5, "state": "playing", "title": "Two words"}},
        {"uid": B, "type": "tone"},
    ]);
    let (did, heard) = against(&[success(&list)], &["queue", "-p", "clock=position,state", "-p", "clock=title"]);
    let table = "#  UID       TYPE   PARAMETERS\n\
                 1  1a2b3c4d  clock  position=12.5 state=playing title=\"Two words\"\n\
                 2  1a2b9999  tone\n";
    assert_eq!(did, ran(table, "", 0));
    assert_eq!(heard, [r#"{"cmd": "queue", "args": {"parameters":{"clock":["position","state","title"]}}}"#]);
}

#[test]
fn json_is_the_result_as_it_came() {
    let answer = "{\"success\": true, \"result\": [{\"uid\": \"x\", \"type\": \"t\", \"n\": 1e400}]}\r\n".to_owned();
    let (did, _) = against(&[answer], &["--json", "queue"]);
    assert_eq!(did, ran("[{\"uid\": \"x\", \"type\": \"t\", \"n\": 1e400}]\n", "", 0));
}

#[test]
fn pool_and_bg() {
    let (did, heard) = against(&[success(&json!([{"uid": A, "type": "tile"}]))], &["pool"]);
    assert_eq!(did, ran("#  UID       TYPE\n1  1a2b3c4d  tile\n", "", 0));
    assert_eq!(heard, [r#"{"cmd": "pool"}"#]);

    let background = json!({"uid": BACKGROUND, "type": "wallpaper", "parameters": {"colour": "red"}});
    let (did, heard) = against(&[success(&background)], &["bg", "-p", "wallpaper=colour"]);
    assert_eq!(did, ran("UID       TYPE       PARAMETERS\nffff0000  wallpaper  colour=red\n", "", 0));
    assert_eq!(heard, [r#"{"cmd": "bg", "args": {"parameters":{"wallpaper":["colour"]}}}"#]);

    let (did, _) = against(&[DONE.into()], &["bg"]);
    assert_eq!(did, ran("UID  TYPE\n", "", 0));
    let (did, _) = against(&[DONE.into()], &["bg", "--json"]);
    assert_eq!(did, ran("null\n", "", 0));
}

#[test]
fn add_prints_the_uid() {
    let (did, heard) = against(&[success(&json!({"uid": A}))], &["add", "clock"]);
    assert_eq!(did, ran(&format!("{A}\n"), "", 0));
    assert_eq!(heard, [r#"{"cmd": "add", "args": {"type":"clock"}}"#]);

    let (did, heard) =
        against(&[success(&json!({"uid": A}))], &["add", "clock", "zone=Europe/Berlin", "seconds=true", "offset=-5", "--json"]);
    assert_eq!(did, ran(&format!("{{\"uid\":\"{A}\"}}\n"), "", 0));
    let args = r#"{"zone": "Europe/Berlin", "seconds": true, "offset": -5}"#;
    assert_eq!(heard, [format!(r#"{{"cmd": "add", "args": {{"type":"clock","args":{args}}}}}"#)]);

    let (did, heard) = against(&[success(&json!({"uid": B}))], &["set-bg", "wallpaper", "{\"colour\":\n[1, 2]}"]);
    assert_eq!(did, ran(&format!("{B}\n"), "", 0));
    assert_eq!(heard, [r#"{"cmd": "set_bg", "args": {"type":"wallpaper","args":{"colour": [1, 2]}}}"#]);
}

#[test]
fn rm_takes_abbreviated_uids() {
    let (did, heard) = against(&[listing(), DONE.into()], &["rm", "1a2b3", BACKGROUND]);
    assert_eq!(did, ran("", "", 0));
    assert_eq!(heard, [LOOKS.to_owned(), format!(r#"{{"cmd": "rm", "args": {{"uids":["{A}","{BACKGROUND}"]}}}}"#)]);

    let (did, _) = against(&[listing(), DONE.into()], &["rm", "1a2b3", "--json"]);
    assert_eq!(did, ran("null\n", "", 0));
}

#[test]
fn a_uid_that_names_none_or_several_changes_nothing() {
    let (did, heard) = against(&[listing()], &["rm", "1a2b3", "77"]);
    assert_eq!(did, ran("", "shmz: There is no module \"77\" in queue.\n", 1));
    assert_eq!(heard, [LOOKS]);

    let (did, heard) = against(&[listing()], &["rm", "1a2b"]);
    let candidates = format!("shmz: Several modules in queue start with \"1a2b\": {A} (clock), {B} (tone).\n");
    assert_eq!(did, ran("", &candidates, 2));
    assert_eq!(heard, [LOOKS]);
}

#[test]
fn mv_keeps_the_order_given() {
    let (did, heard) = against(&[listing(), DONE.into()], &["mv", "1a2b9", "1a2b3"]);
    assert_eq!(did, ran("", "", 0));
    assert_eq!(heard, [LOOKS.to_owned(), format!(r#"{{"cmd": "mv", "args": {{"uids":["{B}","{A}"]}}}}"#)]);

    let (did, heard) = against(&[listing()], &["mv", "ff"]);
    let refusal = format!("shmz: Module {BACKGROUND} is the background, which has no place in the order.\n");
    assert_eq!((did, heard.len()), (ran("", &refusal, 2), 1));
}

#[test]
fn tell_reaches_modules_and_the_background() {
    let (did, heard) = against(&[listing(), success(&json!("paused"))], &["tell", "1a2b3", "pause"]);
    assert_eq!(did, ran("paused\n", "", 0));
    assert_eq!(heard[1], format!(r#"{{"cmd": "tell_module", "args": {{"uid":"{A}","cmd":"pause"}}}}"#));

    let (did, heard) = against(&[listing(), DONE.into()], &["tell", "ff", "fade", "ms=500"]);
    assert_eq!(did, ran("", "", 0));
    let expected = format!(r#"{{"cmd": "tell_background", "args": {{"uid":"{BACKGROUND}","cmd":"fade","args":{{"ms": 500}}}}}}"#);
    assert_eq!(heard[1], expected);

    let (did, _) = against(&[listing(), failure("Timeout sending message to module")], &["tell", "ff", "fade"]);
    assert_eq!(did, ran("", "shmz: Timeout sending message to module\n", 1));
}

#[test]
fn ask_prints_what_can_be_typed_back() {
    let parameters = json!({"state": "playing", "position": 1.5, "title": "5"});
    let (did, heard) = against(&[listing(), success(&parameters)], &["ask", "1a2b9", "state", "position", "title"]);
    assert_eq!(did, ran("state=playing\nposition=1.5\ntitle=\"5\"\n", "", 0));
    let asked = format!(r#"{{"cmd": "ask_module", "args": {{"uid":"{B}","parameters":["state","position","title"]}}}}"#);
    assert_eq!(heard[1], asked);

    let (did, heard) = against(&[listing(), success(&json!({}))], &["ask", "ff", "nothing"]);
    assert_eq!(did, ran("", "", 0));
    assert!(heard[1].contains("ask_background"), "{heard:?}");
}

#[test]
fn a_pool_is_looked_through_as_well() {
    let pool = format!(
        "[{}, {}, {}]\n",
        failure("Bad command.").trim_end(),
        success(&json!([{"uid": A, "type": "tile"}])).trim_end(),
        failure("Bad command.").trim_end()
    );
    let (did, heard) = against(&[pool, DONE.into()], &["rm", "1"]);
    assert_eq!(did, ran("", "", 0));
    assert_eq!(heard[1], format!(r#"{{"cmd": "rm", "args": {{"uids":["{A}"]}}}}"#));

    let neither = format!("[{0}, {0}, {0}]\n", failure("Bad command.").trim_end());
    let (did, _) = against(&[neither], &["rm", "1"]);
    assert_eq!(did, ran("", "shmz: Service queue is no queue and no pool.\n", 1));
}

#[test]
fn send_passes_json_on_and_prints_the_answer() {
    let answer = "{\"success\": true,  \"result\": NaN}";
    let (did, heard) = against(&[format!("{answer}\n")], &["send", "volume", "{\"cmd\":  \"get\"}"]);
    assert_eq!(did, ran(&format!("{answer}\n"), "", 0));
    assert_eq!(heard, ["{\"cmd\":  \"get\"}"]);

    let server = Server::lines(&["[{\"success\": true}, {\"success\": false, \"error\": \"no\"}]\n".into()]);
    let did = run_with(&["--url", &server.tcp(), "send", "volume", "-"], &[], "[{\"cmd\": \"a\"},\n {\"cmd\": \"b\"}]\n");
    assert_eq!(did, ran("[{\"success\": true}, {\"success\": false, \"error\": \"no\"}]\n", "shmz: no\n", 1));
    assert_eq!(server.heard(), ["[{\"cmd\": \"a\"},  {\"cmd\": \"b\"}]"]);

    let (did, heard) = against(&[], &["send", "volume", "{'cmd': 1}"]);
    assert_eq!(did, ran("", "shmz: The request is not JSON: key must be a string at line 1 column 2.\n", 2));
    assert!(heard.is_empty());
}

#[test]
fn do_joins_its_words() {
    let (did, heard) = against(&[success(&json!("Playing \"La Mer\""))], &["do", "play", "la mer", "--json", "-5"]);
    assert_eq!(did, ran("Playing \"La Mer\"\n", "", 0));
    assert_eq!(heard, [r#"{"cmd": "do", "args": {"message":"play la mer --json -5"}}"#]);
}

#[test]
fn through_a_gateway() {
    let server = Server::http(&[("200 OK", DONE), ("200 OK", "{\"success\": true, \"result\": \"ok\"}")]);
    let url = format!("http://127.0.0.1:{}/api/", server.port);
    let did = run_with(&["bg", "--service", "play list"], &[("SHMOOZE_URL", &url)], "");
    assert_eq!(did, ran("UID  TYPE\n", "", 0));
    assert_eq!(run(&["--url", &url, "do", "x"]), ran("ok\n", "", 0));
    assert_eq!(
        server.heard(),
        [
            "POST /api/play%20list HTTP/1.1 | application/json | {\"cmd\": \"bg\"}",
            "POST /api/nlp HTTP/1.1 | application/json | {\"cmd\": \"do\", \"args\": {\"message\":\"x\"}}",
        ]
    );
}

#[test]
fn what_a_gateway_says_is_told_apart() {
    let server = Server::http(&[
        ("502 Bad Gateway", &failure("Service queue cannot be reached.")),
        ("504 Gateway Timeout", &failure("Service queue did not answer within 10 s.")),
        ("413 Payload Too Large", &failure("Body is over the limit.")),
        ("404 Not Found", "<h1>404</h1>"),
        ("200 OK", "<h1>Welcome to another server!</h1>"),
    ]);
    let url = format!("http://127.0.0.1:{}", server.port);
    let queue = || run(&["--url", &url, "queue"]);
    assert_eq!(queue(), ran("", "shmz: Service queue cannot be reached.\n", 3));
    assert_eq!(queue(), ran("", "shmz: Service queue did not answer within 10 s.\n", 4));
    assert_eq!(queue(), ran("", "shmz: Body is over the limit.\n", 1));
    assert_eq!(queue(), ran("", &format!("shmz: {url}/queue answered with the status 404 Not Found.\n"), 3));
    assert_eq!(queue(), ran("", &format!("shmz: Service queue at {url} gave an answer that makes no sense.\n"), 3));
}

#[test]
fn refusals_are_the_services_own_words_on_one_line() {
    let (did, _) = against(&[failure("Unrecognized module name")], &["add", "nope"]);
    assert_eq!(did, ran("", "shmz: Unrecognized module name\n", 1));
    let (did, _) = against(&[failure("two\nlines\u{1b}[2J")], &["add", "nope"]);
    assert_eq!(did, ran("", "shmz: two\\nlines\\u{1b}[2J\n", 1));
}

#[test]
fn no_answer() {
    // Bound, so that no other test is given the port, and not listened to.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = socket.local_addr().unwrap();
    for url in [format!("tcp://{closed}"), format!("http://{closed}")] {
        let did = run(&["--url", &url, "queue"]);
        assert_eq!((did.out.as_str(), did.code), ("", 3), "{did:?}");
        assert!(did.err.starts_with("shmz: ") && did.err.contains("cannot be reached"), "{did:?}");
        assert_eq!(did.err.lines().count(), 1, "{did:?}");
    }

    for answer in ["hello\n", "5\n", "{\"success\": true, \"result\": 5}\n", ""] {
        let (did, _) = against(&[answer.into()], &["queue"]);
        assert_eq!((did.out.as_str(), did.code), ("", 3), "{answer:?} {did:?}");
        assert_eq!(did.err.lines().count(), 1, "{answer:?} {did:?}");
    }
}

#[test]
fn an_answer_that_does_not_come() {
    // Connections to it are opened by the system and never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let did = run(&["--url", &format!("tcp://{address}"), "--timeout", "50", "queue"]);
    assert_eq!(did, ran("", &format!("shmz: Service at {address} did not answer within 50 ms.\n"), 4));
    let did = run(&["--url", &format!("http://{address}"), "--timeout", "50", "queue"]);
    assert_eq!(did, ran("", &format!("shmz: http://{address}/queue did not answer within 50 ms.\n"), 4));
}

#[test]
fn words_at_fault_reach_no_service() {
    for (words, sentence) in [
        (&["add", "x", "a=1", "a=2"][..], "Argument \"a\" is given twice."),
        (&["tell", "x", "seek", "5"], "Argument \"5\" is not of the form KEY=VALUE."),
        (&["queue", "-p", "clock"], "Parameters \"clock\" are not of the form TYPE=NAME,NAME."),
        (&["queue", "--service", "x"], "The URL names the one service at 127.0.0.1:1: --service x has no place beside it."),
    ] {
        let did = run(&[&["--url", "tcp://127.0.0.1:1"], words].concat());
        assert_eq!(did, ran("", &format!("shmz: {sentence}\n"), 2));
    }
    let did = run(&["--url", "nonsense", "queue"]);
    assert_eq!(did, ran("", "shmz: \"nonsense\" is not a URL that starts with http:// or tcp://.\n", 2));
    let did = run(&["frobnicate"]);
    assert_eq!((did.out.as_str(), did.code), ("", 2));
}

fn settings_file(folder: &Path, settings: &Value) -> PathBuf {
    let file = folder.join("settings.json");
    fs::write(&file, settings.to_string()).unwrap();
    file
}

#[test]
fn the_settings_say_where_services_are() {
    let folder = tempfile::tempdir().unwrap();
    let music = Server::lines(&[success(&json!([])), DONE.into()]);
    let words = Server::lines(&[DONE.into()]);
    let settings = json!({
        "ports": {"music": music.port, "tiles": 1, "nlp": words.port, "wsgi": 2},
        "services": {"music": {"kind": "queue"}, "tiles": {"kind": "pool"}},
    });
    let file = settings_file(folder.path(), &settings);
    let file = file.to_str().unwrap();

    assert_eq!(run(&["--settings", file, "queue"]), ran("#  UID  TYPE\n", "", 0));
    let by_variable = [("SHMOOZE_SETTINGS", file)];
    assert_eq!(run_with(&["bg"], &by_variable, ""), ran("UID  TYPE\n", "", 0));
    assert_eq!(music.heard(), [r#"{"cmd": "queue"}"#, r#"{"cmd": "bg"}"#]);
    assert_eq!(run_with(&["do", "hello"], &by_variable, ""), ran("", "", 0));
    assert_eq!(words.heard(), [r#"{"cmd": "do", "args": {"message":"hello"}}"#]);

    let did = run_with(&["send", "wsgi", "{}"], &by_variable, "");
    assert_eq!(did, ran("", &format!("shmz: There is no service \"wsgi\" in {file}; it has music, tiles, nlp.\n"), 2));
    let did = run_with(&["mv", "x", "--service", "tiles"], &by_variable, "");
    assert_eq!(did, ran("", "shmz: Service tiles is of the kind \"pool\", and this is for a queue.\n", 2));
}

#[test]
fn settings_that_are_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.json");
    let did = run(&["--settings", missing.to_str().unwrap(), "queue"]);
    let sentence = format!("shmz: {}: cannot be read: No such file or directory.\n", missing.display());
    assert_eq!(did, ran("", &sentence, 2));

    let file = settings_file(folder.path(), &json!({"ports": {"queue": 0, "pool": 70000}}));
    let did = run(&["--settings", file.to_str().unwrap(), "settings"]);
    assert_eq!((did.out.as_str(), did.code, did.err.lines().count()), ("", 2, 1), "{did:?}");
    assert!(did.err.contains("ports.queue") && did.err.ends_with("There is one more problem: see `shmz check`.\n"), "{did:?}");
}

#[test]
fn check_prints_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let good = settings_file(folder.path(), &json!({"ports": {"queue": 1}}));
    let good = good.to_str().unwrap();
    assert_eq!(run(&["check", good]), ran(&format!("{good}: ok\n"), "", 0));
    assert_eq!(run_with(&["check"], &[("SHMOOZE_SETTINGS", good)], ""), ran(&format!("{good}: ok\n"), "", 0));
    assert_eq!(run(&["check", "--settings", good, "--json"]), ran("[]\n", "", 0));

    let bad = folder.path().join("bad.json");
    fs::write(&bad, json!({"ports": {"queue": 0, "pool": 70000}}).to_string()).unwrap();
    let bad = bad.to_str().unwrap();
    let did = run(&["check", bad]);
    assert_eq!((did.err.as_str(), did.code, did.out.lines().count()), ("", 1, 2), "{did:?}");
    assert!(did.out.lines().all(|line| line.starts_with(bad)), "{did:?}");
    let did = run(&["check", bad, "--json"]);
    let problems: Value = serde_json::from_str(&did.out).unwrap();
    assert_eq!((problems[0]["path"].as_str(), problems[1]["path"].as_str()), (Some("ports.queue"), Some("ports.pool")));
    assert!(problems[0]["sentence"].as_str().unwrap().starts_with(bad));

    // A limit that systemd would pass over is no limit.
    let limits = json!({"MemoryMx": "1G", "PrivateTmp": true, "CPUQuota": "50%"});
    let limited = json!({"ports": {"queue": 1}, "services": {"queue": {"kind": "queue", "modules": {
        "clock": {"process": ["true"], "limits": limits}}}}});
    let limited = settings_file(folder.path(), &limited);
    let did = run(&["check", limited.to_str().unwrap()]);
    let at = format!("{}: services.queue.modules.clock.limits", limited.display());
    let refused = format!("{at}.MemoryMx is not known; did you mean \"MemoryMax\"?\n{at}.PrivateTmp is not known.\n");
    assert_eq!(did, ran(&refused, "", 1));

    let program = json!({"ports": {"queue": 1}, "services": {"queue": {"kind": "queue", "modules": {
        "clock": {"process": ["/nowhere/clock"]}}}}});
    let lacking = settings_file(folder.path(), &program);
    let did = run(&["check", lacking.to_str().unwrap()]);
    assert_eq!((did.code, did.out.lines().count()), (1, 1), "{did:?}");
    assert!(did.out.contains("services.queue.modules.clock.process"), "{did:?}");
    let lacking = lacking.to_str().unwrap();
    assert_eq!(run(&["check", lacking, "--only-file"]), ran(&format!("{lacking}: ok\n"), "", 0));
    // As units ask before a reload.
    let reload = ["check", "--quiet", "--only-file", "--service"];
    assert_eq!(run_with(&[&reload[..], &["queue"]].concat(), &[("SHMOOZE_SETTINGS", lacking)], ""), ran("", "", 0));
    let did = run_with(&[&reload[..], &["pool"]].concat(), &[("SHMOOZE_SETTINGS", lacking)], "");
    assert_eq!(did, ran(&format!("{lacking}: services has no pool.\n"), "", 1));
    let did = run(&["check", "--quiet", bad]);
    assert_eq!((did.code, did.out.lines().count()), (1, 2), "{did:?}");
}

#[test]
fn check_looks_at_tokens_too() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_file(folder.path(), &json!({"ports": {"queue": 1}}));
    let settings = settings.to_str().unwrap();
    let ok = || ran(&format!("{settings}: ok\n"), "", 0);
    let write = |name: &str, text: &str| {
        let path = settings_folder(settings).join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let good = r#"{"endpoints": {"queue": {"tokens": [{"token": "0123456789abcdef", "level": "view"}]}}}"#;
    // Those that are named, and those beside the settings.
    let named = write("others.json", good);
    assert_eq!(run(&["check", settings, "--tokens", &named]), ok());
    let beside = write("tokens.json", good);
    assert_eq!(run(&["check", settings]), ok());
    write("tokens.json", r#"{"endpoints": {"queue": {"tokens": [{"token": "topsecret", "level": "view"}]}}}"#);
    let sentence = format!(
        "{beside}: endpoints.queue.tokens[0].token must be 16 to 512 letters, digits and \"-._~+/\", with \"=\" at the end if at all.\n"
    );
    assert_eq!(run(&["check", "--quiet", "--only-file", settings]), ran(&sentence, "", 1));
    assert_eq!(run(&["check", settings, "--tokens", &named]), ok());
    fs::remove_file(&named).unwrap();
    let missing = format!("{named}: cannot be read: No such file or directory.\n");
    assert_eq!(run(&["check", settings, "--tokens", &named]), ran(&missing, "", 1));
}

fn settings_folder(settings: &str) -> &Path {
    Path::new(settings).parent().unwrap()
}

#[test]
fn settings_prints_what_is_in_effect() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings_file(folder.path(), &json!({"ports": {"queue": 1}, "music_path": "$SHMOOZE_SETTINGS_DIR/music"}));
    let did = run(&["--settings", file.to_str().unwrap(), "settings"]);
    assert_eq!((did.err.as_str(), did.code), ("", 0));
    let shown: Value = serde_json::from_str(&did.out).unwrap();
    assert_eq!(shown["music_path"], folder.path().join("music").to_str().unwrap());
    assert_eq!(shown["static_prefix"], "/static/");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let list: Vec<Value> = (0..20_000).map(|number| json!({"uid": format!("{number:032}"), "type": "clock"})).collect();
    let server = Server::lines(&[success(&json!(list))]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_shmz"))
        .args(["--url", &server.tcp(), "queue"])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with('#'), "{first}");
    // The pipe is closed now, long before all is written.
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn what_packages_install() {
    for shell in ["bash", "zsh", "fish"] {
        let did = run(&["completions", shell]);
        assert_eq!((did.err.as_str(), did.code), ("", 0), "{shell}");
        assert!(did.out.contains("set-bg"), "{shell}");
    }
    let page = run(&["man"]);
    assert!(page.out.contains(".TH shmz 1") && page.out.contains("Exit codes"), "{page:?}");
    let page = run(&["man", "set-bg", "--date", "2026-11-24"]);
    assert!(page.out.contains(".TH shmz-set-bg 1 2026-11-24 ") && page.out.contains("shmooze\\-settings (5)"), "{page:?}");
    assert!(page.out.contains("KEY=VALUE"), "{page:?}");
    assert_eq!(run(&["man", "frobnicate"]), ran("", "shmz: There is no verb \"frobnicate\".\n", 2));
}

#[test]
fn help_tells_the_exit_codes() {
    let did = run(&["--help"]);
    assert_eq!((did.err.as_str(), did.code), ("", 0));
    for line in
        ["  0  done", "  1  the service refused", "  3  no service was reached", "  4  the service did not answer in time"]
    {
        assert!(did.out.contains(line), "{}", did.out);
    }
}
