//! Plays the transcripts of the gateway: raw requests, and what matters of the answers: status, content type and body.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::backend::{Backend, When};
use super::compare::{Bindings, Manner, text_agrees};
use super::differences::{Difference, Ours, Places};
use super::http::{Answer, exchange};
use super::services::{Application, RECORDED_PORTS};
use super::transcript::{Step, Transcript, fill};

/// A recorded answer.
#[derive(Debug, Deserialize)]
struct Recorded {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// As Latin-1.
    #[serde(default)]
    body: String,
}

/// What is compared.
#[derive(Debug, PartialEq, Eq)]
struct Essence {
    status: u16,
    content_type: String,
    body: String,
}

impl std::fmt::Display for Essence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = utf8(&self.body).chars().take(300).collect();
        write!(f, "{} {} {}", self.status, if self.content_type.is_empty() { "-" } else { &self.content_type }, body.trim_end())
    }
}

/// Plays a transcript. What is used of `places` is taken out of it.
///
/// # Errors
/// What makes it impossible to go on.
pub fn play(application: &Application, transcript: &Transcript, places: &mut Places) -> Result<Vec<String>, String> {
    let backend = backend(application, &transcript.name)?;
    if transcript.name == "gateway_service_answers_late" {
        let backend = backend.ok_or("no backend")?;
        return answers_late(application, transcript, places, &backend);
    }
    let mut problems = Vec::new();
    let mut etags = HashMap::new();
    for (number, step) in transcript.steps.iter().enumerate() {
        let difference = places.remove(&number.to_string());
        let answer = ask(application, step, &mut etags)?;
        problems.extend(judge(application, number, step, &answer, difference.as_ref())?);
        if let (Some(expected), Some(backend)) = (&step.got, &backend) {
            let got = backend.got();
            let difference = places.remove(&format!("got[{number}]"));
            problems.extend(judge_line(number, expected, &got, difference.as_ref()));
        }
    }
    Ok(problems)
}

/// The made-up service of a transcript.
fn backend(application: &Application, name: &str) -> Result<Option<Backend>, String> {
    let (answer, when) = match name {
        "gateway_what_the_service_receives" => ("{\"success\": true}", When::Now),
        "gateway_service_answers_not_json" => ("hello", When::Now),
        "gateway_service_answers_json_not_dict" => ("[1, 2]", When::Now),
        "gateway_service_answers_utf8" => ("{\"a\": \"\u{e9}\"}", When::Now),
        "gateway_service_answers_empty_line" => ("", When::Now),
        "gateway_service_answers_key_order" => {
            ("{\"success\": true, \"result\": [{\"uid\": \"x\", \"type\": \"y\"}]}", When::Now)
        }
        "gateway_service_answers_late" => ("{\"success\": true}", When::Later),
        "gateway_service_silent" => ("", When::Never),
        _ => return Ok(None),
    };
    Backend::start(application.port("fake"), answer, when).map(Some).map_err(|error| error.to_string())
}

/// While one service is slow the gateway answers others: the slow one answers only after they were.
fn answers_late(
    application: &Application,
    transcript: &Transcript,
    places: &mut Places,
    backend: &Backend,
) -> Result<Vec<String>, String> {
    let [slow, _] = transcript.steps.as_slice() else { return Err("two steps were recorded".to_owned()) };
    let waits = places.remove("1").ok_or("not waiting for a slow service differs from the original, and must be listed")?;
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(application, slow, &mut HashMap::new()));
        let mut got = String::new();
        while got.is_empty() && !asking.is_finished() {
            thread::sleep(Duration::from_millis(2));
            got = backend.got();
        }
        let request = b"GET /settings.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = exchange(application.port("wsgi"), request, false);
        let early = asking.is_finished();
        backend.answer_now();
        let slow_answer = asking.join().map_err(|_| "the asking thread ended".to_owned())??;
        let mut problems = Vec::from_iter(judge(application, 0, slow, &slow_answer, places.remove("0").as_ref())?);
        let answer = essence(&answer.map_err(|error| format!("step 1: {error}"))?);
        if early || !agrees(&waits.ours, &answer, &answer) {
            problems.push(format!("step 1: got {answer}, the slow service having answered {early}"));
        }
        Ok(problems)
    })
}

fn ask(application: &Application, step: &Step, etags: &mut HashMap<String, String>) -> Result<Answer, String> {
    let recorded = step.send.as_deref().ok_or("a step sends nothing")?;
    let request = request(application, recorded, etags)?;
    let shut_sending = step.note.as_deref().is_some_and(|note| note.ends_with("sending side then shut"));
    let answer = exchange(application.port("wsgi"), &request, shut_sending);
    let answer = answer.map_err(|error| format!("{recorded:.80?}: {error}"))?;
    let etag = answer.header("etag");
    if let (Some(path), false) = (recorded.split(' ').nth(1), etag.is_empty()) {
        // The recorded ones are strong; what is a weak one's is asked with the mark that the recording has.
        etags.insert(path.to_owned(), etag.trim_start_matches("W/").to_owned());
    }
    Ok(answer)
}

/// The recorded request with the port of this gateway, and with the entity tag that it gave instead of the recorded.
fn request(application: &Application, recorded: &str, etags: &HashMap<String, String>) -> Result<Vec<u8>, String> {
    let mut text = recorded.to_owned();
    for (name, port) in RECORDED_PORTS {
        text = text.replace(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", application.port(name)));
    }
    let path = recorded.split(' ').nth(1).unwrap_or_default();
    if let (Some((before, rest)), Some(etag)) = (text.split_once("\"wzsdm-"), etags.get(path))
        && let Some((_, after)) = rest.split_once('"')
    {
        text = format!("{before}{etag}{after}");
    }
    if let Some((head, length)) = text.strip_suffix(" bytes>").and_then(|rest| rest.rsplit_once("...<")) {
        let length: usize = length.parse().map_err(|_| format!("bad length in {length:?}"))?;
        // The recorded port and ours may differ in length; the body does not.
        return fill(head, length + text.find("\r\n\r\n").unwrap_or(0) - recorded.find("\r\n\r\n").unwrap_or(0));
    }
    Ok(bytes(&text))
}

fn essence(answer: &Answer) -> Essence {
    Essence {
        status: answer.status,
        content_type: answer.header("content-type").to_owned(),
        body: answer.body.iter().map(|byte| char::from(*byte)).collect(),
    }
}

fn judge(
    application: &Application,
    number: usize,
    step: &Step,
    answer: &Answer,
    difference: Option<&Difference>,
) -> Result<Option<String>, String> {
    let recorded = recorded(application, step)?;
    let got = essence(answer);
    let as_recorded = same(&recorded, &got);
    Ok(match difference {
        None if as_recorded => None,
        None => Some(format!("{number}: got {got}\n      expected {recorded}")),
        Some(difference) if as_recorded => Some(format!("{number}: differs no more ({}): got {got}", difference.reason)),
        Some(difference) if agrees(&difference.ours, &recorded, &got) => None,
        Some(difference) => Some(format!("{number}: got {got}\n      expected {:?}", difference.ours)),
    })
}

/// What was recorded, with our ports, and with the content of our file where the recording cuts that of its own.
fn recorded(application: &Application, step: &Step) -> Result<Essence, String> {
    if step.recv.is_null() {
        return Ok(Essence { status: 0, content_type: String::new(), body: String::new() });
    }
    let mut recorded: Recorded = serde_json::from_value(step.recv.clone()).map_err(|error| error.to_string())?;
    // A final answer after `100 Continue` stands in the body.
    if recorded.status == 100 {
        let (head, body) = recorded.body.split_once("\r\n\r\n").ok_or("nothing after 100 Continue")?;
        recorded.status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        recorded.headers = head.lines().filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.into(), v.into())).collect();
        recorded.body = body.to_owned();
    }
    if recorded.body.ends_with('>') && recorded.body.contains(" bytes, sha256 ") {
        let path = step.send.as_deref().and_then(|request| request.split(' ').nth(1)).unwrap_or_default();
        let file = application.path(path.trim_start_matches('/'));
        let content = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let length = format!("<{} bytes, sha256 ", content.len());
        if !recorded.body.contains(&length) {
            return Err(format!("{} is not as long as the recorded file", file.display()));
        }
        recorded.body = content.into_iter().map(char::from).collect();
    }
    for (name, port) in RECORDED_PORTS {
        recorded.body = recorded.body.replace(&format!("\"{name}\": {port}"), &format!("\"{name}\": {}", application.port(name)));
    }
    let content_type = recorded.headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.map(|(_, value)| value).unwrap_or_default();
    Ok(Essence { status: recorded.status, content_type, body: recorded.body })
}

fn same(recorded: &Essence, got: &Essence) -> bool {
    let bodies_agree = if recorded.content_type == "text/json" && !recorded.body.is_empty() {
        Bindings::default().agree(&utf8(&recorded.body), &utf8(&got.body), Manner::default())
    } else {
        recorded.body == got.body
    };
    recorded.status == got.status && recorded.content_type == got.content_type && bodies_agree
}

/// Whether the answer is what is listed: `STATUS CONTENT-TYPE BODY`, the content type without spaces, `-` for an empty
/// content type or body, `*` for any text, `=` for the recorded body.
fn agrees(ours: &Ours, recorded: &Essence, got: &Essence) -> bool {
    let Ours::Line(line) = ours else { return got.status == 0 };
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().filter(|part| *part != "-").unwrap_or_default();
    let manner = Manner { globs: true, any_order: false };
    let (status, content_type, body) = (part(), part(), part());
    let bodies_agree = match serde_json::from_str::<Value>(body) {
        Ok(_) => Bindings::default().agree(body, &utf8(&got.body), manner),
        Err(_) if body == "=" => recorded.body == got.body,
        Err(_) => text_agrees(body, utf8(&got.body).trim_end_matches('\n'), manner),
    };
    status == got.status.to_string() && text_agrees(content_type, &got.content_type.replace(' ', ""), manner) && bodies_agree
}

/// Latin-1 that stands for bytes as the UTF-8 that those are.
fn utf8(latin1: &str) -> String {
    String::from_utf8_lossy(&bytes(latin1)).into_owned()
}

/// The bytes that Latin-1 stands for.
fn bytes(latin1: &str) -> Vec<u8> {
    latin1.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

/// The line that the service got, as a JSON value.
fn judge_line(number: usize, recorded: &str, got: &str, difference: Option<&Difference>) -> Option<String> {
    let agree = |expected: &str, globs| {
        Bindings::default().agree(expected.trim_end(), got.trim_end(), Manner { globs, any_order: false })
    };
    let one_line = got.ends_with('\n') && !got.trim_end().contains('\n');
    let right = match difference.map(|difference| &difference.ours) {
        Some(Ours::Line(line)) => agree(line, true) && !agree(recorded, false),
        Some(_) => got.is_empty(),
        None => agree(recorded, false),
    };
    (!right || !one_line).then(|| format!("got[{number}]: the service got {got:?}\n      expected {recorded:?}"))
}
