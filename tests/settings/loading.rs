//! What comes out of good settings, and where they come from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shmooze::access::{HostRule, Origin, ProxyRule};
use shmooze::settings::{
    AccessLog, Amount, Bounds, Gateway, Limit, OomPolicy, Permyriad, ProcessLimit, RestartOn, ScopeLimit, Service, Settings,
    Timeouts,
};

use super::{FULL, parse};

#[test]
fn everything_is_read() {
    let settings = parse(FULL).unwrap();
    assert_eq!(settings.file, Path::new("/srv/app/settings.json"));
    assert_eq!(settings.name.as_deref(), Some("Full é"));
    let ports: Vec<_> = settings.ports.iter().map(|(name, port)| (name.as_str(), *port)).collect();
    assert_eq!(ports, [("queue", 15580), ("pool", 15581), ("volume", 15582), ("nlp", 15583), ("wsgi", 15888)]);
    assert_eq!(settings.static_path.as_deref(), Some(Path::new("/srv/app/static")));
    assert_eq!(settings.log_database_path.as_deref(), Some(Path::new("/var/lib/app/log.sqlite3")));
    assert_eq!((settings.static_prefix.as_str(), settings.wsgi_prefix.as_str()), ("/files/", "/api/"));
    assert_eq!(settings.max_line_bytes, 1 << 20);
    let mut gateway = Gateway::with_max_line_bytes(1 << 20);
    gateway.address = "::1".parse().unwrap();
    gateway.service_timeout = Duration::from_secs(5);
    gateway.max_connections = 100;
    gateway.max_event_streams = 50;
    gateway.metrics = false;
    gateway.hosts = vec![HostRule::Name("kiosk.example".to_owned()), HostRule::Below("lan".to_owned())];
    gateway.origins = ["https://kiosk.example", "http://10.0.0.5:8080"].map(|text| Origin::parse(text).unwrap()).to_vec();
    gateway.proxies = ["unix", "::1", "10.0.0.0/8"].map(|text| ProxyRule::parse(text).unwrap()).to_vec();
    gateway.content_security_policy = "default-src 'self' data:".into();
    gateway.access_log = AccessLog::All;
    assert_eq!(settings.gateway, gateway);
    assert_eq!(gateway.max_body_bytes, 1 << 20);
    let kinds: Vec<_> = settings.services.iter().map(|(name, service)| (name.as_str(), service.kind())).collect();
    assert_eq!(kinds, [("queue", "queue"), ("pool", "pool"), ("volume", "app")]);
    assert_eq!(settings.values()["cover_path"], "$UNSET/covers");
    assert_eq!(settings.values()["sizes_path"], serde_json::json!([1, 2]));
    assert_eq!(settings.values()["path_to_state"], "$STATE");
    assert_eq!(settings.values()["static_path"], "/srv/app/static");
    assert_eq!(settings.values()["volume"]["low"], 0.5);
}

#[test]
fn a_module_type_is_read() {
    let settings = parse(FULL).unwrap();
    let Service::Queue(lists) = &settings.services["queue"] else { panic!("no queue") };
    assert_eq!(lists.bounds, Bounds { max_connections: 500, max_length: 50, max_modules: 60 });
    let clock = &lists.modules["clock"];
    assert_eq!(clock.title.as_deref(), Some("A clock"));
    assert_eq!(clock.process.command, ["/bin/sh", "-c", "exec /srv/app/clock \"$1\"", ""]);
    assert_eq!(clock.process.environment["PATH"], "/opt/bin:/usr/bin:/bin");
    assert_eq!(clock.process.working_directory.as_deref(), Some(Path::new("/")));
    assert_eq!(clock.process.user.as_deref(), Some("root"));
    let defaults = Timeouts::default();
    let expected = Timeouts { connect: Duration::from_millis(500), exit: Duration::from_millis(1500), ..defaults };
    assert_eq!((clock.timeouts, clock.spare_scopes), (expected, 3));
    assert_eq!(clock.args.keys().collect::<Vec<_>>(), ["zone", "size", "anything"]);
    let limits = &clock.process.limits;
    assert_eq!(limits["MemoryMax"], Limit::Scope(ScopeLimit::MemoryMax(Amount::Units(512 << 20))));
    assert_eq!(limits["MemoryHigh"], Limit::Scope(ScopeLimit::MemoryHigh(Amount::Share(Permyriad(2550)))));
    assert_eq!(limits["RuntimeMaxSec"], Limit::Scope(ScopeLimit::RuntimeMax(Some(Duration::from_secs(320)))));
    assert_eq!(limits["OOMPolicy"], Limit::Scope(ScopeLimit::OomPolicy(OomPolicy::Kill)));
    assert_eq!(limits["UMask"], Limit::Process(ProcessLimit::Umask(0o027)));
    assert_eq!(limits.len(), 15);

    let plain = &lists.modules["plain one"];
    assert_eq!(
        (plain.timeouts, plain.spare_scopes, plain.process.command.as_slice()),
        (defaults, 0, ["sh".to_owned()].as_slice())
    );
    let background = &lists.backgrounds["clock"];
    assert_eq!(background.process.command, ["sh", "/srv/app/settings.json"]);
    assert_eq!(background.timeouts.terminate, Duration::from_secs(86_400));
    let restart = background.restart.unwrap();
    assert_eq!((restart.on, restart.delay, restart.limit), (RestartOn::Always, Duration::from_millis(200), 3));
    assert_eq!((clock.restart, plain.restart), (None, None));
    assert!(settings.services["pool"].lists().unwrap().backgrounds.is_empty());
    let Service::App(app) = &settings.services["volume"] else { panic!("no app") };
    assert_eq!(app.process.command, ["sh", "-c", "true"]);
    assert!(settings.services["volume"].lists().is_none());
}

#[test]
fn an_empty_object_is_all_defaults() {
    let settings = Settings::parse("{}", Path::new("/x/settings.json")).unwrap();
    assert!(settings.ports.is_empty() && settings.services.is_empty() && settings.public.is_empty());
    assert_eq!((settings.static_path, settings.log_database_path, settings.name), (None, None, None));
    assert_eq!((settings.static_prefix.as_str(), settings.wsgi_prefix.as_str()), ("/static/", "/"));
    assert_eq!(settings.max_line_bytes, 8 << 20);
    assert_eq!(settings.gateway.address.to_string(), "127.0.0.1");
    assert_eq!(settings.gateway.max_body_bytes, 8 << 20);
}

/// Settings of the original mean what they meant.
#[test]
fn settings_of_the_original() {
    let settings = parse(include_str!("original.json")).unwrap();
    assert_eq!(settings.static_path.as_deref(), Some(Path::new("/home/app/static")));
    assert_eq!(settings.log_database_path.as_deref(), Some(Path::new("/home/app/log.sqlite")));
    assert_eq!(
        settings.public_json(),
        "{\"fg_color\":\"#EBEBEB\",\"bg_color\":\"#675098\",\"name\":\"Baseline é App\",\
         \"ports\":{\"queue\":15580,\"pool\":15581,\"fake\":15599,\"wsgi\":15888},\"not_there\":null}"
    );
}

#[test]
fn effective_settings() {
    let settings = parse(FULL).unwrap();
    let text = settings.effective_json();
    assert_eq!(text, include_str!("full.effective.json").trim_end(), "\n\nfound:\n{text}\n");
    let again = parse(&text).unwrap();
    assert_eq!((again.text(), again.values()), (&*text, settings.values()));
    // All that is read of them, but for where it was written.
    let shown = |settings: &Settings| {
        let shown = format!("{settings:?}");
        shown.replace(&format!("{:?}", settings.text()), "")
    };
    assert_eq!(shown(&again), shown(&settings));
}

#[test]
fn load_reads_the_file_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    std::fs::write(&file, r#"{"a_path": "$SHMOOZE_SETTINGS_DIR/a", "b_path": "$SHMOOZE_SETTINGS", "path_path": "$PATH"}"#)
        .unwrap();
    let settings = Settings::load(Some(&file)).unwrap();
    assert_eq!(settings.file, file);
    assert_eq!(settings.values()["a_path"], folder.path().join("a").to_str().unwrap());
    assert_eq!(settings.values()["b_path"], file.to_str().unwrap());
    assert_eq!(settings.values()["path_path"], std::env::var("PATH").unwrap());
}

#[test]
fn a_link_to_the_settings_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::fs::write(real.join("settings.json"), r#"{"a_path": "$SHMOOZE_SETTINGS_DIR"}"#).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let settings = Settings::load(Some(&link.join("settings.json"))).unwrap();
    assert_eq!(settings.values()["a_path"], link.to_str().unwrap());
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str| Settings::load(Some(&folder.path().join(name))).unwrap_err().to_string();
    let sentence = |name: &str, what: &str| format!("{}: {what}.", folder.path().join(name).display());
    assert_eq!(load("missing.json"), sentence("missing.json", "cannot be read: No such file or directory"));
    assert_eq!(load(""), sentence("", "cannot be read: Is a directory"));
    std::fs::write(folder.path().join("latin1.json"), b"{\"name\": \"\xe9\"}").unwrap();
    assert_eq!(load("latin1.json"), sentence("latin1.json", "is not UTF-8 from byte 11 on"));
}

/// Runs the test below in a process of its own, in `folder`, where the environment names the settings as `named`.
fn load_in_a_child(folder: &Path, named: Option<&str>) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "loading::child", "--nocapture"]).current_dir(folder);
    match named {
        Some(named) => child.env("SHMOOZE_SETTINGS", named),
        None => child.env_remove("SHMOOZE_SETTINGS"),
    };
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| Some(line.split_once("loaded: ")?.1)).unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
#[ignore = "run by the next test, in a process of its own"]
fn child() {
    match Settings::load(None) {
        Ok(settings) => println!("loaded: {} {}", settings.file.display(), settings.values()["a_path"]),
        Err(error) => println!("loaded: {error}"),
    }
}

#[test]
fn the_environment_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let here: PathBuf = folder.path().canonicalize().unwrap();
    std::fs::write(here.join("s.json"), r#"{"a_path": "$SHMOOZE_SETTINGS:$SHMOOZE_SETTINGS_DIR"}"#).unwrap();
    let absolute = here.join("s.json").display().to_string();
    let expected = format!("{absolute} \"{absolute}:{}\"", here.display());
    assert_eq!(load_in_a_child(&here, Some("s.json")), expected);
    assert_eq!(load_in_a_child(&here, Some(&absolute)), expected);
    assert_eq!(load_in_a_child(&here, Some("none.json")), "none.json: cannot be read: No such file or directory.");
    if !Path::new("/etc/shmooze/settings.json").exists() {
        let missing = "/etc/shmooze/settings.json: cannot be read: No such file or directory.";
        assert_eq!(load_in_a_child(&here, None), missing);
        assert_eq!(load_in_a_child(&here, Some("")), missing);
    }
}

/// A module type is looked into by itself; what is wrong with the JSON in it is told as anywhere in the file.
#[test]
fn half_a_character_in_a_module_type() {
    let text = "{\"ports\": {\"queue\": 0},\n\"services\": {\"queue\": {\"kind\": \"queue\", \"modules\": {\n  \"x\": {\"process\": [\"\\ud800\"]}}}}}";
    let error = Settings::parse(text, Path::new("x.json")).unwrap_err();
    let expected = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
    let place = format!("line {}, column {}", expected.line(), expected.column());
    assert_eq!(error.problems.len(), 1, "{error}");
    assert!(error.to_string().starts_with(&format!("x.json: is not JSON at {place}: ")) && expected.line() == 3, "{error}");
}
