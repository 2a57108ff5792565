//! The settings file, and the units that are made of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use shmooze::generator::{self, Entry, Manager, Surroundings};
use shmooze::settings::Settings;

const FILE: &str = "/srv/app/settings.json";

/// What may be said several times in one unit.
const REPEATED: &[&str] =
    &["After", "BindIPv6Only", "Documentation", "Environment", "ListenStream", "PartOf", "Requires", "SystemCallFilter", "Wants"];

/// Whatever the file holds, it gives settings or sentences; the settings are those that their effective form gives, and make
/// units in which no value breaks out of its place.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let settings = match Settings::parse_with(text, Path::new(FILE), &variable) {
        Ok(settings) => settings,
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                let sentence = &problem.sentence;
                assert!(sentence.starts_with(&format!("{FILE}: ")) && sentence.ends_with(['.', '?']), "{sentence}");
                assert!(sentence.contains(&problem.path) && !sentence.contains(char::is_control), "{sentence:?}");
            }
            assert_eq!(error.to_string().lines().count(), error.problems.len());
            return;
        }
    };
    let effective = settings.effective_json();
    let again = Settings::parse(&effective, Path::new(FILE)).unwrap();
    assert_eq!(again.effective_json(), effective);
    assert_eq!((&again.ports, &again.services, &again.gateway), (&settings.ports, &settings.services, &settings.gateway));
    assert_eq!((&again.public, &again.static_prefix), (&settings.public, &settings.static_prefix));
    let public: Value = serde_json::from_str(&settings.public_json()).unwrap();
    let keys: BTreeSet<&str> = public.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, settings.public.iter().map(String::as_str).collect());
    for manager in [Manager::System, Manager::User] {
        units(&settings, manager);
    }
}

fn variable(name: &str) -> Option<String> {
    match name {
        "HOME" => Some("/home/app".into()),
        "ODD" => Some("/a\nb\"\\%n".into()),
        _ => None,
    }
}

fn units(settings: &Settings, manager: Manager) {
    // Nothing is below it, so that all of it is the same on each machine.
    let mut surroundings = Surroundings::look(manager, &variable, Path::new("/nowhere"));
    surroundings.version = Some(257);
    let generated = generator::generate(settings, &surroundings);
    for problem in &generated.problems {
        assert!(!problem.contains(char::is_control) && problem.ends_with('.'), "{problem:?}");
    }
    for (path, entry) in &generated.tree.entries {
        let steps: Vec<&str> = path.split('/').collect();
        assert!(steps.len() <= 2 && steps.iter().all(|step| !step.is_empty() && !step.starts_with('.')), "{path:?}");
        assert!(!path.contains(char::is_control) && steps.iter().all(|step| step.len() <= 255), "{path:?}");
        match entry {
            Entry::File(text) => unit(text),
            Entry::Link(to) => assert_eq!(to.parent(), Some(Path::new(".."))),
        }
    }
}

/// Each line is one of ours and none goes on in the next.
fn unit(text: &str) {
    assert!(text.ends_with('\n'), "{text}");
    let mut said = BTreeSet::new();
    for line in text.lines() {
        assert!(!line.ends_with('\\') && !line.contains(char::is_control), "{line:?}");
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
        assert!(!key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{line:?}");
        // An empty value takes back what was said before.
        assert!(REPEATED.contains(&key) || value.is_empty() || said.insert(key), "{key} is there twice:\n{text}");
    }
}
