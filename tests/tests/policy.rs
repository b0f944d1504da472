//! `tollgate policy`, as people and programs run it.

#[path = "hostile/guest.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod guest;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use guest::Guest;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

struct Shell {
    directory: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn policy(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .current_dir(self.directory.path())
            .arg("policy")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.policy(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a failure says; nothing goes to stdout.
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.policy(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn inspect_shows_what_a_component_is() {
    let shell = Shell::new();
    let settings = json!({ "limits": [
        { "meter": "llm_tokens", "period": "day", "per": "user", "limit": 1000 },
        { "meter": "cost.usd", "period": "month", "limit": "12.50" },
    ] });
    shell.write("limits.json", settings.to_string());
    let quota = tollgate_plugins::standard("quota").unwrap();
    shell.write("quota.wasm", quota);

    let json = shell.said(&["inspect", "quota.wasm", "--settings", "limits.json", "--json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["name"], "tollgate-quota");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["world"], "quota-policy");
    assert_eq!(json["wit_version"], "0.1.0");
    assert_eq!(json["abilities"], json!(["quota"]));
    let interfaces = json!(["tollgate:policy/policy@0.1.0", "tollgate:policy/quota@0.1.0"]);
    assert_eq!(json["exports"], interfaces);
    assert_eq!(json["imports"], json!(["tollgate:policy/types@0.1.0"]));
    assert_eq!(json["digest"], tollgate_host::sandbox::digest(quota));
    assert_eq!(json["component_bytes"], quota.len());
    assert_eq!(json["frozen"], true);
    assert!(json["compile_ms"].is_u64());
    assert_eq!(json["settings_schema"]["type"], "object");
    assert_eq!(
        json["counters"],
        json!([
            { "meter": "llm_tokens", "window": "calendar:day", "per": ["user"], "limit": "1000" },
            { "meter": "cost.usd", "window": "calendar:month", "per": [], "limit": "12.5" },
        ])
    );

    let words = shell.said(&["inspect", "quota.wasm", "--settings", "limits.json"]);
    for expected in [
        "name          tollgate-quota",
        "world         quota-policy",
        "llm_tokens over calendar:day for each user: limit 1000",
        "cost.usd over calendar:month for each the tenant: limit 12.5",
        "\"$schema\"",
    ] {
        assert!(words.contains(expected), "`{expected}` in\n{words}");
    }
}

#[test]
fn every_standard_component_is_known_by_its_name() {
    let shell = Shell::new();
    for (name, world) in [
        ("quota", "quota-policy"),
        ("pricing", "pricing-policy"),
        ("alerts", "alert-policy"),
        ("estimate", "estimator"),
    ] {
        let json: Json = serde_json::from_str(&shell.said(&["inspect", name, "--json"])).unwrap();
        assert_eq!((json["world"].as_str(), json["frozen"].as_bool()), (Some(world), Some(true)));
        assert_eq!(json["imports"], json!(["tollgate:policy/types@0.1.0"]), "{name}");
    }
}

#[test]
fn check_accepts_what_may_serve() {
    let shell = Shell::new();
    let component = Guest::default().component();
    shell.write("healthy.wasm", &component);
    let digest = tollgate_host::sandbox::digest(&component);
    let said = shell.said(&["check", "healthy.wasm"]);
    assert_eq!(said, format!("accepted: healthy.wasm with digest sha256:{digest}\n"));
    let json: Json =
        serde_json::from_str(&shell.said(&["check", "healthy.wasm", "--json"])).unwrap();
    assert_eq!(json, json!({ "accepted": true, "digest": digest }));
}

#[test]
fn check_says_what_is_wrong_and_what_to_do() {
    let shell = Shell::new();
    shell.write("trap.wasm", Guest { check: "(unreachable)", ..Guest::default() }.component());
    shell.write("loop.wasm", Guest { check: "(loop (br 0))", ..Guest::default() }.component());
    shell.write("module.wasm", wat::parse_str("(module)").unwrap());
    shell.write("empty.wasm", wat::parse_str("(component)").unwrap());
    shell.write("text.wasm", "not a component");
    shell.write("settings.json", r#"{"limits": [{"meter": "llm_tokens"}]}"#);
    shell.write("broken.json", "{");
    let cases: [(&[&str], &str); 9] = [
        (&["trap.wasm"], "`trap.wasm` is refused: in a trial call of `quota`, the policy trapped"),
        (&["loop.wasm"], "ran out of fuel"),
        (&["module.wasm"], "wrap it with `wasm-tools component new`"),
        (&["empty.wasm"], "does not export `tollgate:policy/policy@0.1.0`"),
        (&["text.wasm"], "not a WebAssembly component"),
        (&["absent.wasm"], "`absent.wasm`"),
        (&["quota", "--settings", "settings.json"], "`quota` is refused: the policy refused"),
        (&["quota", "--settings", "broken.json"], "`broken.json` is not JSON"),
        (&["quota", "--settings", "absent.json"], "cannot read `absent.json`"),
    ];
    for (arguments, expected) in cases {
        for verb in ["check", "inspect"] {
            let error = shell.error(&[&[verb], arguments].concat());
            assert!(error.starts_with("error: "), "{error}");
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }
}
