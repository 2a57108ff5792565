//! Schema and parser give the same verdict, save for what a schema cannot say.

use serde_json::Value;

use super::{FULL, parse, put, schema};

const CLOCK: &str = "/services/queue/modules/clock";

/// What stands at a place of the full settings, and who refuses it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Nobody.
    Good,
    /// Schema and parser.
    Bad,
    /// The parser alone: it depends on another key, or on arithmetic.
    Beyond,
}
use Verdict::{Bad, Beyond, Good};

/// `(place, value, verdict)`; a place that starts with `.` is within the clock.
#[rustfmt::skip]
const CASES: &[(&str, &str, Verdict)] = &[
    ("/other", "null", Good), ("/other_path", "5", Good), ("/$schema", "\"docs/settings.schema.json\"", Good),
    ("/name", "\"\"", Good), ("/name", "null", Bad), ("/name", "[]", Bad),
    ("/ports", "[]", Bad), ("/ports", "null", Bad), ("/ports", "{}", Beyond),
    ("/ports/Any Name", "1", Good), ("/ports/x", "65535", Good), ("/ports/x", "5000.0", Good), ("/ports/x", "5e3", Good),
    ("/ports/x", "0", Bad), ("/ports/x", "65536", Bad), ("/ports/x", "-1", Bad), ("/ports/x", "\"80\"", Bad),
    ("/ports/x", "80.5", Bad), ("/ports/x", "1e300", Bad), ("/ports/x", "true", Bad), ("/ports/x", "15580", Beyond),
    ("/public", "[]", Good), ("/public", "{}", Bad), ("/public", "[5]", Bad), ("/public", "\"name\"", Bad),
    ("/static_path", "\"relative\"", Good), ("/static_path", "\"\"", Bad), ("/static_path", "null", Bad),
    ("/static_path", "\"a\\u0000b\"", Bad), ("/log_database_path", "5", Bad), ("/log_database_path", "\"\"", Bad),
    ("/static_prefix", "\"/\"", Good), ("/static_prefix", "\"/a/b/\"", Good), ("/static_prefix", "\"//\"", Good),
    ("/static_prefix", "\"/a\\nb/\"", Good), ("/static_prefix", "\"\"", Bad), ("/static_prefix", "\"/a\"", Bad),
    ("/wsgi_prefix", "\"a/\"", Bad), ("/wsgi_prefix", "5", Bad),
    ("/max_line_bytes", "1024", Good), ("/max_line_bytes", "1073741824", Good), ("/max_line_bytes", "1023", Bad),
    ("/max_line_bytes", "1073741825", Bad), ("/max_line_bytes", "\"8M\"", Bad), ("/max_line_bytes", "1024.5", Bad),
    ("/gateway", "{}", Good), ("/gateway", "[]", Bad), ("/gateway/x", "5", Bad), ("/gateway/address", "\"0.0.0.0\"", Good),
    ("/gateway/address", "\"localhost\"", Bad), ("/gateway/address", "\"127.0.0.1:80\"", Bad), ("/gateway/address", "5", Bad),
    ("/gateway/max_body_bytes", "1024", Good), ("/gateway/max_body_bytes", "0", Bad), ("/gateway/max_connections", "0", Bad),
    ("/gateway/max_connections", "1000000", Good), ("/gateway/max_connections", "1000001", Bad),
    ("/gateway/metrics", "false", Good), ("/gateway/metrics", "1", Bad), ("/gateway/metrics", "null", Bad),
    ("/gateway/max_event_streams", "1", Good), ("/gateway/max_event_streams", "0", Bad),
    ("/gateway/service_timeout", "1", Good), ("/gateway/idle_timeout", "0", Bad), ("/gateway/header_timeout", "86400001", Bad),
    ("/gateway/hosts", "[]", Good), ("/gateway/hosts", "\"a\"", Bad), ("/gateway/hosts", r#"["*", "a_b-c", ".A.b."]"#, Good),
    ("/gateway/hosts", "[\"127.0.0.1\"]", Good), ("/gateway/hosts", "[\"[::1]\"]", Bad), ("/gateway/hosts", "[\"\"]", Bad),
    ("/gateway/hosts", "[\"*.a\"]", Bad), ("/gateway/hosts", "[\"a:80\"]", Bad), ("/gateway/hosts", "[\"a\\n\"]", Bad),
    ("/gateway/hosts", "[\"é\"]", Bad), ("/gateway/hosts", "[null]", Bad), ("/gateway/origins", "{}", Bad),
    ("/gateway/origins", r#"["http://a", "HTTPS://[::1]:65535", "app://-", "http://a.b.:080"]"#, Good),
    ("/gateway/origins", "[\"http://a/\"]", Bad), ("/gateway/origins", "[\"http://a:\"]", Bad), ("/gateway/origins", "[\"a\"]", Bad),
    ("/gateway/origins", "[\"http://a:65536\"]", Bad), ("/gateway/origins", "[\"http://[::g]\"]", Bad), ("/gateway/origins", "[\"*\"]", Bad),
    ("/gateway/origins", "[\"http://[1]\"]", Beyond), ("/gateway/origins", "[5]", Bad),
    ("/gateway/proxies", r#"["unix", "127.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::1", "2001:DB8::/32", "::ffff:1.2.3.4", "::/0"]"#, Good),
    ("/gateway/proxies", "\"unix\"", Bad), ("/gateway/proxies", "[\"localhost\"]", Bad), ("/gateway/proxies", "[\"10.0.0.0/33\"]", Bad),
    ("/gateway/proxies", "[\"::/129\"]", Bad), ("/gateway/proxies", "[\"[::1]\"]", Bad), ("/gateway/proxies", "[\"10.0.0/8\"]", Bad),
    ("/gateway/proxies", "[\"10.0.0.0/08\"]", Good), ("/gateway/proxies", "[\"10.1.0.0/8\"]", Beyond), ("/gateway/proxies", "[\":1:/8\"]", Beyond),
    ("/gateway/content_security_policy", "\"\"", Good), ("/gateway/content_security_policy", "\"default-src *\"", Good),
    ("/gateway/content_security_policy", "\"a\\nb\"", Bad), ("/gateway/content_security_policy", "\"é\"", Bad),
    ("/gateway/content_security_policy", "null", Bad), ("/gateway/content_security_policy", "\"a\\u007f\"", Bad),
    ("/gateway/access_log", "\"none\"", Good), ("/gateway/access_log", "\"All\"", Bad), ("/gateway/access_log", "true", Bad),
    ("/services", "{}", Good), ("/services", "[]", Bad), ("/services/queue", "null", Bad), ("/services/queue", "{}", Bad),
    ("/services/nlp", r#"{"kind": "queue"}"#, Good), ("/services/other", r#"{"kind": "queue"}"#, Beyond),
    ("/services/gateway", r#"{"kind": "queue"}"#, Bad), ("/services/launcher", r#"{"kind": "queue"}"#, Bad),
    ("/services/wsgi", r#"{"kind": "queue"}"#, Bad), ("/services/Nlp", r#"{"kind": "queue"}"#, Bad),
    ("/services/0", r#"{"kind": "queue"}"#, Bad), ("/services/", r#"{"kind": "queue"}"#, Bad),
    ("/services/a23456789012345678901234567890123", r#"{"kind": "queue"}"#, Bad),
    ("/services/nlp", r#"{"kind": "pool", "modules": {}}"#, Good), ("/services/nlp", r#"{"kind": "pool", "backgrounds": {}}"#, Bad),
    ("/services/nlp", r#"{"kind": "app", "process": ["a"]}"#, Good), ("/services/nlp", r#"{"kind": "app"}"#, Bad),
    ("/services/nlp", r#"{"kind": "app", "process": ["a"], "timeouts": {}}"#, Bad), ("/services/nlp", r#"{"kind": "Queue"}"#, Bad),
    ("/services/queue/max_length", "1", Good), ("/services/queue/max_length", "0", Bad), ("/services/queue/max_length", "\"5\"", Bad),
    ("/services/queue/max_connections", "1000000", Good), ("/services/queue/max_connections", "1000001", Bad),
    ("/services/pool/max_modules", "5.0", Good), ("/services/pool/max_modules", "5.5", Bad), ("/services/pool/max_length", "5", Bad),
    ("/services/volume/max_connections", "5", Bad), ("/services/nlp", r#"{"kind": 5}"#, Bad), ("/services/queue/module", "{}", Bad), ("/services/queue/modules", "[]", Bad),
    ("/services/queue/restore", "true", Good), ("/services/queue/restore", "0", Bad), ("/services/queue/restore", "\"yes\"", Bad),
    ("/services/nlp", r#"{"kind": "pool", "restore": false}"#, Good), ("/services/nlp", r#"{"kind": "pool", "restore": null}"#, Bad),
    ("/services/nlp", r#"{"kind": "app", "process": ["a"], "restore": true}"#, Bad),
    ("/services/queue/backgrounds", "{}", Good), ("/services/queue/backgrounds", "5", Bad),
    ("/services/queue/modules/é 1", r#"{"process": ["a"]}"#, Good), ("/services/queue/modules/", r#"{"process": ["a"]}"#, Bad),
    ("/services/queue/modules/a\tb", r#"{"process": ["a"]}"#, Bad), ("/services/queue/modules/x", "{}", Bad),
    ("/services/queue/modules/x", "[\"a\"]", Bad), ("./unknown", "1", Bad), ("./title", "\"\"", Good), ("./title", "5", Bad),
    ("./process", "[]", Bad), ("./process", "\"a\"", Bad), ("./process", "[\"\"]", Bad), ("./process", "[\"a\", \"\"]", Good),
    ("./process", "[\"a\", 5]", Bad), ("./process", "[5]", Bad), ("./process", "[\"a\\u0000\"]", Bad), ("./process", "[\"a\", \"\\u0000\"]", Bad),
    ("./environment", "{}", Good), ("./environment", "[]", Bad), ("./environment/X", "\"\"", Good), ("./environment/X", "5", Bad),
    ("./environment/X", "\"\\u0000\"", Bad), ("./environment/", "\"x\"", Bad), ("./environment/A=B", "\"x\"", Bad),
    ("./working_directory", "\"$HOME/x\"", Good), ("./working_directory", "\"/x\"", Good), ("./working_directory", "\"x\"", Bad),
    ("./working_directory", "\"\"", Bad), ("./working_directory", "5", Bad), ("./working_directory", "\"/\\u0000\"", Bad),
    ("./user", "\"nobody\"", Good), ("./user", "\"\"", Bad), ("./user", "0", Bad), ("./user", "\"a\\u0000\"", Bad),
    ("./timeouts", "{}", Good), ("./timeouts", "[]", Bad), ("./timeouts/exit", "1", Good), ("./timeouts/exit", "86400000", Good),
    ("./timeouts/exit", "0", Bad), ("./timeouts/exit", "86400001", Bad), ("./timeouts/exit", "\"3s\"", Bad),
    ("./timeouts/exit", "1.5", Bad), ("./timeouts/exit", "3e3", Good), ("./timeouts/exit", "null", Bad), ("./timeouts/quit", "5", Bad),
    ("./restart", "{}", Bad), ("/services/queue/backgrounds/clock/restart", "{}", Good), ("/services/pool/modules/lamp/restart", "null", Bad),
    ("/services/pool/modules/lamp/restart/on", "\"always\"", Good), ("/services/pool/modules/lamp/restart/on", "\"no\"", Bad),
    ("/services/pool/modules/lamp/restart/limit", "0", Bad), ("/services/pool/modules/lamp/restart/limit", "1000", Good),
    ("/services/pool/modules/lamp/restart/limit", "1001", Bad), ("/services/pool/modules/lamp/restart/window", "0", Bad),
    ("/services/pool/modules/lamp/restart/window", "86400000", Good), ("/services/pool/modules/lamp/restart/delay", "1.5", Bad),
    ("/services/pool/modules/lamp/restart/max_delay", "89999", Beyond), ("/services/pool/modules/lamp/restart/max_delay", "90000", Good),
    ("/services/pool/modules/lamp/restart/burst", "5", Bad), ("/services/pool/modules/lamp/restart", "[]", Bad),
    ("./spare_scopes", "0", Good), ("./spare_scopes", "16", Good), ("./spare_scopes", "4.0", Good), ("./spare_scopes", "17", Bad),
    ("./spare_scopes", "-1", Bad), ("./spare_scopes", "0.5", Bad), ("./spare_scopes", "\"4\"", Bad), ("./spare_scopes", "null", Bad),
    ("./args", "{}", Good), ("./args", "[]", Bad), ("./args/x", "{}", Good), ("./args/x", "5", Bad), ("./args/x", r#"{"titel": ""}"#, Bad),
    ("./args/x", r#"{"title": 5}"#, Bad), ("./args/x", r#"{"description": 5}"#, Bad), ("./args/x", r#"{"type": "text"}"#, Bad),
    ("./args/x", r#"{"type": "array", "default": []}"#, Good), ("./args/x", r#"{"type": "array", "default": {}}"#, Beyond),
    ("./args/x", r#"{"type": "object", "default": {}}"#, Good), ("./args/x", r#"{"type": "boolean", "default": 0}"#, Beyond),
    ("./args/x", r#"{"type": "number", "default": 0.5}"#, Good), ("./args/x", r#"{"type": "integer", "default": 0.5}"#, Beyond),
    ("./args/x", r#"{"type": "integer", "default": 2.0}"#, Good), ("./args/x", r#"{"type": "string", "default": null}"#, Beyond),
    ("./args/x", r#"{"enum": []}"#, Bad), ("./args/x", r#"{"enum": {}}"#, Bad), ("./args/x", r#"{"enum": [1, "a"]}"#, Good),
    ("./args/x", r#"{"enum": [1, "a"], "type": "string"}"#, Beyond), ("./args/x", r#"{"enum": [1, 2], "default": 3}"#, Beyond),
    ("./limits", "{}", Good), ("./limits", "[]", Bad), ("./limits/MemoryMx", "5", Bad), ("./limits/memorymax", "5", Bad),
    ("./limits/MemoryMax", "1", Good), ("./limits/MemoryMax", "1e9", Good), ("./limits/MemoryMax", "0", Bad), ("./limits/MemoryMax", "-1", Bad),
    ("./limits/MemoryMax", "\"1.5G\"", Good), ("./limits/MemoryMax", "\"1024B\"", Good), ("./limits/MemoryMax", "\"infinity\"", Good),
    ("./limits/MemoryMax", "\"100%\"", Good), ("./limits/MemoryMax", "\"100.00%\"", Good), ("./limits/MemoryMax", "\"100.01%\"", Bad),
    ("./limits/MemoryMax", "\"0.01%\"", Good), ("./limits/MemoryMax", "\"0.001%\"", Bad), ("./limits/MemoryMax", "\"0%\"", Bad),
    ("./limits/MemoryMax", "\"0M\"", Bad), ("./limits/MemoryMax", "\"1MB\"", Bad), ("./limits/MemoryMax", "\"1m\"", Bad),
    ("./limits/MemoryMax", "\"\"", Bad), ("./limits/MemoryMax", "null", Bad), ("./limits/MemoryMax", "\"99999999999E\"", Beyond),
    ("./limits/MemoryMax", "\"0.1B\"", Beyond), ("./limits/MemoryMax", "18446744073709551615", Bad), ("./limits/MemoryMax", "1.5", Bad),
    ("./limits/MemoryHigh", "\"1K\"", Good), ("./limits/MemoryHigh", "\"0\"", Bad), ("./limits/MemorySwapMax", "\"0\"", Good),
    ("./limits/MemorySwapMax", "\"0%\"", Good), ("./limits/MemorySwapMax", "\"1Q\"", Bad),
    ("./limits/TasksMax", "\"10\"", Good), ("./limits/TasksMax", "\"10%\"", Good), ("./limits/TasksMax", "\"10K\"", Bad), ("./limits/TasksMax", "\"0\"", Bad),
    ("./limits/CPUQuota", "\"0.5%\"", Good), ("./limits/CPUQuota", "\"1000%\"", Good), ("./limits/CPUQuota", "\"0%\"", Bad),
    ("./limits/CPUQuota", "50", Bad), ("./limits/CPUQuota", "\"50\"", Bad), ("./limits/CPUQuota", "\"infinity\"", Bad),
    ("./limits/CPUQuota", "\"99999999999%\"", Beyond),
    ("./limits/CPUWeight", "1", Good), ("./limits/CPUWeight", "10000", Good), ("./limits/CPUWeight", "0", Bad), ("./limits/CPUWeight", "10001", Bad),
    ("./limits/CPUWeight", "\"0100\"", Good), ("./limits/IOWeight", "\"10001\"", Bad), ("./limits/IOWeight", "\"0\"", Bad),
    ("./limits/RuntimeMaxSec", "0.5", Good), ("./limits/RuntimeMaxSec", "0.000001", Good), ("./limits/RuntimeMaxSec", "1000000000000", Good),
    ("./limits/RuntimeMaxSec", "0.0000009", Bad), ("./limits/RuntimeMaxSec", "1000000000001", Bad), ("./limits/RuntimeMaxSec", "0", Bad),
    ("./limits/RuntimeMaxSec", "\"infinity\"", Good), ("./limits/RuntimeMaxSec", "\"1h30min\"", Good), ("./limits/RuntimeMaxSec", "\" 2 weeks 1 d \"", Good),
    ("./limits/RuntimeMaxSec", "\"7µs\"", Good), ("./limits/RuntimeMaxSec", "\"0s\"", Bad), ("./limits/RuntimeMaxSec", "\"\"", Bad),
    ("./limits/RuntimeMaxSec", "\" \"", Bad), ("./limits/RuntimeMaxSec", "\"5 parsecs\"", Bad), ("./limits/RuntimeMaxSec", "\"1.s\"", Bad),
    ("./limits/RuntimeMaxSec", "\"99999999999y\"", Beyond),
    ("./limits/OOMPolicy", "\"stop\"", Good), ("./limits/OOMPolicy", "\"continue\"", Good), ("./limits/OOMPolicy", "\"Kill\"", Bad), ("./limits/OOMPolicy", "5", Bad),
    ("./limits/LimitNOFILE", "\"infinity\"", Good), ("./limits/LimitNOFILE", "\"5:infinity\"", Good), ("./limits/LimitNOFILE", "\"infinity:5\"", Beyond),
    ("./limits/LimitNOFILE", "\"6:5\"", Beyond), ("./limits/LimitNOFILE", "\"5:\"", Bad), ("./limits/LimitNOFILE", "\"5:6:7\"", Bad),
    ("./limits/LimitNOFILE", "\"1K\"", Bad), ("./limits/LimitNOFILE", "-1", Bad), ("./limits/LimitNOFILE", "1.5", Bad), ("./limits/LimitNOFILE", "[1,2]", Bad),
    ("./limits/LimitNOFILE", "18446744073709551615", Bad), ("./limits/LimitSTACK", "\"8M:16M\"", Good), ("./limits/LimitCORE", "\"1.5K\"", Good),
    ("./limits/LimitFSIZE", "\"x\"", Bad), ("./limits/LimitDATA", "5", Good), ("./limits/LimitLOCKS", "5", Good), ("./limits/LimitMEMLOCK", "\"64K\"", Good),
    ("./limits/LimitMSGQUEUE", "5", Good), ("./limits/LimitNICE", "40", Good), ("./limits/LimitNPROC", "\"5:6\"", Good), ("./limits/LimitRSS", "5", Good),
    ("./limits/LimitRTPRIO", "5", Good), ("./limits/LimitSIGPENDING", "5", Good), ("./limits/LimitCPU", "\"1min:2min\"", Good),
    ("./limits/LimitCPU", "\"min\"", Bad), ("./limits/LimitCPU", "60", Good), ("./limits/LimitRTTIME", "\"5ms\"", Good), ("./limits/LimitRTTIME", "\"-5\"", Bad),
    ("./limits/Nice", "-20", Good), ("./limits/Nice", "\"-20\"", Good), ("./limits/Nice", "\"+19\"", Good), ("./limits/Nice", "19.0", Good),
    ("./limits/Nice", "-21", Bad), ("./limits/Nice", "20", Bad), ("./limits/Nice", "\"20\"", Bad), ("./limits/Nice", "\"--5\"", Bad), ("./limits/Nice", "\"+-5\"", Bad),
    ("./limits/Nice", "0.5", Bad), ("./limits/Nice", "1e300", Bad), ("./limits/Nice", "\"\"", Bad), ("./limits/OOMScoreAdjust", "-1000", Good),
    ("./limits/OOMScoreAdjust", "\"1000\"", Good), ("./limits/OOMScoreAdjust", "1001", Bad), ("./limits/OOMScoreAdjust", "\"-1001\"", Bad),
    ("./limits/UMask", "\"0\"", Good), ("./limits/UMask", "\"777\"", Good), ("./limits/UMask", "\"00777\"", Good), ("./limits/UMask", "\"1000\"", Bad),
    ("./limits/UMask", "\"8\"", Bad), ("./limits/UMask", "22", Bad), ("./limits/UMask", "\"\"", Bad),
];

#[test]
fn schema_and_parser_give_the_same_verdict() {
    let schema = schema();
    let mut wrong = Vec::new();
    for (place, value, verdict) in CASES {
        let pointer = place.strip_prefix('.').map_or_else(|| (*place).to_owned(), |place| format!("{CLOCK}{place}"));
        let mut whole: Value = serde_json::from_str(FULL).unwrap();
        put(&mut whole, &pointer, serde_json::from_str(value).unwrap());
        let found = match (schema.is_valid(&whole), parse(&whole.to_string()).is_ok()) {
            (true, true) => Some(Good),
            (false, false) => Some(Bad),
            (true, false) => Some(Beyond),
            (false, true) => None,
        };
        if found != Some(*verdict) {
            wrong.push(format!("{place} = {value}: {verdict:?} expected, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whole_files() {
    let schema = schema();
    for (text, good) in [
        ("{}", true),
        (FULL, true),
        (include_str!("original.json"), true),
        (include_str!("wrong.json"), false),
        ("[]", false),
        ("null", false),
        ("5", false),
    ] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(schema.is_valid(&value), good, "{text}");
        assert_eq!(parse(text).is_ok(), good, "{text}");
    }
}

/// Every limit of the table is in the schema, and the other way round.
#[test]
fn the_same_limits() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/settings.schema.json")).unwrap();
    let named: Vec<&str> = schema["$defs"]["limits"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut known: Vec<&str> = shmooze::settings::Limit::names().collect();
    known.sort_unstable();
    let mut sorted = named.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, known);
}

/// The defaults that the schema tells are those of the parser.
#[test]
fn the_same_defaults() {
    fn defaults(properties: &Value) -> Vec<(String, Value)> {
        let told = properties.as_object().unwrap().iter();
        told.filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone()))).collect()
    }
    let schema: Value = serde_json::from_str(include_str!("../../docs/settings.schema.json")).unwrap();
    let text = r#"{"ports": {"pool": 1}, "services": {"pool": {"kind": "pool", "modules": {"a": {"process": ["a"]}}}}}"#;
    let effective: Value = serde_json::from_str(&parse(text).unwrap().effective_json()).unwrap();
    for (of_schema, of_settings, number) in [
        ("/properties", "", 3),
        ("/$defs/gateway/properties", "/gateway", 12),
        ("/$defs/module_type/properties", "/services/pool/modules/a", 1),
        ("/$defs/module_type/properties/timeouts/properties", "/services/pool/modules/a/timeouts", 4),
    ] {
        let told = defaults(schema.pointer(of_schema).unwrap());
        assert_eq!(told.len(), number, "{of_schema}");
        for (key, default) in told {
            assert_eq!(effective.pointer(&format!("{of_settings}/{key}")), Some(&default), "{of_settings}/{key}");
        }
    }
}
