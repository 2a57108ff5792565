//! The words in which settings are refused.

use std::path::Path;

use shmooze::settings::Settings;

use super::{FULL, parse};

fn refused(text: &str, file: &str) -> String {
    Settings::parse(text, Path::new(file)).unwrap_err().to_string()
}

/// Everything that can be wrong, each with its sentence, in `wrong.txt`.
#[test]
fn every_problem_in_one_run() {
    let text = include_str!("wrong.json");
    let error = Settings::parse(text, Path::new("examples/settings.json")).unwrap_err();
    let expected = include_str!("wrong.txt");
    assert_eq!(error.to_string(), expected.trim_end(), "\n\nfound:\n{error}\n");
    for problem in &error.problems {
        assert!(problem.sentence.contains(&problem.path), "{problem:?}");
    }
}

#[test]
fn no_json() {
    for (text, sentence) in [
        ("", "s.json: is not JSON at line 1, column 0: EOF while parsing a value."),
        ("{\n  \"a\": 1,\n}", "s.json: is not JSON at line 3, column 1: trailing comma."),
        ("{'a': 1}", "s.json: is not JSON at line 1, column 2: key must be a string."),
        ("{\"a\": 1} x", "s.json: is not JSON at line 1, column 10: trailing characters."),
        ("// no comments\n{}", "s.json: is not JSON at line 1, column 1: expected value."),
        ("[1]", "s.json: the whole file must be an object, not a list."),
    ] {
        assert_eq!(refused(text, "s.json"), sentence);
    }
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    assert_eq!(refused(&deep, "s.json"), "s.json: is not JSON at line 1, column 128: recursion limit exceeded.");
}

/// A service that cannot be is not told to get a port as well.
#[test]
fn what_has_its_own_units_is_no_service() {
    for (name, reason) in [
        ("wsgi", "\"wsgi\" in ports is the gateway's port"),
        ("gateway", "shmooze-gateway is the gateway itself"),
        ("launcher", "shmooze-launcher is what launches modules"),
    ] {
        let text = format!(r#"{{"services": {{"{name}": {{"kind": "queue"}}}}}}"#);
        assert_eq!(refused(&text, "s.json"), format!("s.json: services.{name} cannot be a service: {reason}."));
    }
}

/// A time-out is a number, not a time span as in `RuntimeMaxSec`.
#[test]
fn a_time_out_with_a_unit() {
    let text = FULL.replace("\"exit\": 1500", "\"exit\": \"3s\"");
    let error = parse(&text).unwrap_err();
    assert_eq!(error.problems.len(), 1);
    assert_eq!(error.problems[0].path, "services.queue.modules.clock.timeouts.exit");
    assert_eq!(
        error.to_string(),
        "/srv/app/settings.json: services.queue.modules.clock.timeouts.exit must be a number of milliseconds, not \"3s\"."
    );
}
