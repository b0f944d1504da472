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
        (
            &["quota", "--settings", "settings.json"],
            "`quota` is refused: the settings do not fit the policy's schema: at `/limits/0`: ",
        ),
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

/// As a platform team would, from the first policy to the way back.
#[test]
fn policies_are_pushed_bound_and_rolled_back() {
    let shell = Shell::new();
    let on = |arguments: &[&'static str]| {
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend(["--store", "ledger.db"]);
        all
    };
    let said = |arguments: &[&'static str]| shell.said(&on(arguments));
    let json = |arguments: &[&'static str]| -> Json {
        serde_json::from_str(&said(&[arguments, &["--json"]].concat())).unwrap()
    };
    shell.write("ten.json", r#"{"limits":[{"meter":"llm_tokens","period":"day","limit":10}]}"#);
    shell.write("five.json", r#"{"limits":[{"meter":"llm_tokens","period":"day","limit":5}]}"#);
    shell.write("bad.json", r#"{"limits":[{"meter":"llm_tokens"}]}"#);
    assert_eq!(said(&["list"]), "");
    let pushed = json(&["push", "house", "quota", "--settings", "ten.json", "-m", "as agreed"]);
    assert_eq!((&pushed["revision"], &pushed["new"]), (&json!("*/house@1"), &json!(true)));
    assert_eq!(
        said(&["push", "house", "quota", "--settings", "ten.json"]),
        "`*/house@1` is just that\n"
    );
    said(&["push", "house", "quota", "--settings", "five.json", "--author", "ana"]);
    let listed = said(&["list"]);
    assert!(listed.starts_with("*/house@1") && listed.contains("as agreed"), "{listed}");
    assert!(listed.lines().nth(1).unwrap().contains("ana"), "{listed}");
    let first = json(&["bind", "house@1"]);
    assert_eq!(first["version"], 1);
    assert_eq!(first["bound"]["policies"][0]["revision"], 1);
    assert_eq!(said(&["bind", "house", "--expect", "1"]), "  */house@2\n  as of version 2\n");
    let error = shell.error(&on(&["bind", "house@1", "--expect", "1"]));
    assert!(error.contains("version 1 was to change and 2 stands"), "{error}");
    assert_eq!(said(&["rollback"]), "  */house@1\n  as of version 3\n");
    let error = shell.error(&on(&["rollback", "--to", "0"]));
    assert!(error.contains("there is no version 0"), "{error}");
    let history = said(&["history"]);
    let versions: Vec<&str> =
        history.lines().filter(|line| line.starts_with("version")).map(|line| &line[..9]).collect();
    assert_eq!(versions, ["version 3", "version 2", "version 1"]);
    // A tenant, its plan, and a policy of its own.
    let tenant =
        said(&["tenant", "--tenant", "acme", "--plan", "gold", "--time-zone", "Europe/Berlin"]);
    assert_eq!(tenant, "  on plan `gold`\n  as of version 1\n");
    shell.write(
        "bounds.json",
        r#"{"language":"pt","proposals":[{"meter":"llm_tokens","window":"calendar:day","least":"1","most":"9"}]}"#,
    );
    said(&["tenant", "--tenant", "zen", "--time-zone", "Asia/Kolkata"]);
    said(&["tenant", "--tenant", "zen", "--settings", "bounds.json"]);
    let zen = &json(&["show", "--tenant", "zen"])["bound"]["tenant"];
    assert_eq!((&zen["time_zone"], &zen["language"]), (&json!("Asia/Kolkata"), &json!("pt")));
    assert_eq!(zen["proposals"][0]["most"], "9");
    shell.write("bounds.json", r#"{"proposal":[]}"#);
    let error = shell.error(&on(&["tenant", "--tenant", "zen", "--settings", "bounds.json"]));
    assert!(error.contains("`bounds.json`") && error.contains("`proposal`"), "{error}");
    said(&["push", "own", "quota", "--settings", "five.json", "--tenant", "acme"]);
    let bound = said(&["bind", "own", "--tenant", "acme", "--failing-open"]);
    assert_eq!(bound, "  acme/own@1, open where it fails\n  on plan `gold`\n  as of version 2\n");
    assert_eq!(
        json(&["show", "--tenant", "acme"])["bound"]["tenant"]["time_zone"],
        "Europe/Berlin"
    );
    // A candidate, for nobody, for some, for all; and one that is not taken.
    let candidate = said(&["bind", "house@2", "--shadow"]);
    assert_eq!(candidate, "  */house@1\n  */house@2, in shadow\n  as of version 4\n");
    let candidate = said(&["bind", "house@2", "--canary", "10%", "--by", "agent"]);
    assert_eq!(
        candidate,
        "  */house@1\n  */house@2, for 10 % of each `agent`\n  as of version 5\n"
    );
    let mode = &json(&["show"])["bound"]["policies"][1]["mode"];
    assert_eq!(*mode, json!({ "canary": { "percent": 10, "by": "agent" } }));
    assert_eq!(said(&["promote", "house"]), "  */house@2\n  as of version 6\n");
    said(&["bind", "house@1", "--shadow"]);
    assert_eq!(said(&["withdraw", "house"]), "  */house@2\n  as of version 8\n");
    said(&["rollback", "--to", "3"]);
    assert_eq!(said(&["shadow-report"]), "no candidate was asked then\n");
    assert_eq!(said(&["quarantined"]), "");
    // One of the platform's in the tenant's own place.
    let bound = said(&["bind", "*/house@2", "--tenant", "acme"]);
    assert!(bound.contains("  */house@2\n"), "{bound}");
    said(&["unbind", "house", "--tenant", "acme"]);
    assert_eq!(said(&["bind", "house", "--plan", "gold"]), "  */house@2\n  as of version 1\n");
    assert_eq!(said(&["unbind", "house", "--plan", "gold"]), "  as of version 2\n");
    for (arguments, expected) in [
        (
            &["push", "house", "quota", "--settings", "bad.json"][..],
            "`house` is refused: the settings do not fit the policy's schema: at `/limits/0`: ",
        ),
        (&["push", "a b", "quota"], "`a b` is not a policy's name"),
        (&["bind", "nothing"], "there is no policy `nothing` of the platform: push it first"),
        (&["bind", "house@9"], "there is no revision `*/house@9`"),
        (&["bind", "house@no"], "write `POLICY` or `POLICY@NUMBER`"),
        (&["unbind", "nothing"], "no policy `nothing` is bound there"),
        (&["tenant"], "name the tenant with `--tenant`"),
        (&["bind", "house@2", "--canary", "101%"], "101 % is no share"),
        (&["bind", "house@2", "--canary", "-1"], "unexpected argument"),
        (&["bind", "house@2", "--canary", "a tenth"], "`a tenth` is no share"),
        (&["promote", "house"], "`house` has no candidate there"),
        (&["withdraw", "house"], "`house` has no candidate there"),
        (&["let-back", "house", "--tenant", "acme"], "there is no tenant `acme`"),
        (&["let-back", "house"], "name the tenant"),
        (&["diff", "house@1", "house@9"], "there is no revision `*/house@9`"),
    ] {
        let output = shell.policy(&on(arguments));
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(expected), "{arguments:?}: {words}");
    }
    assert_eq!(json(&["show"])["version"], 9);
}
