//! `tollgate policy`, as people and programs run it.

#[path = "hostile/guest.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod guest;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use guest::{Guest, later};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tollgate_host::engine::{Call, Host};
use tollgate_host::registry::Registry;
use tollgate_host::store::{Durability, SqliteStore, Tenant};
use tollgate_tests::embedded::{clock_ms, sandbox};
use uuid::Uuid;

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
        self.run(&[&["policy"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .current_dir(self.directory.path())
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

#[test]
fn check_tells_programs_what_is_wrong() {
    let shell = Shell::new();
    shell.write("trap.wasm", Guest { check: "(unreachable)", ..Guest::default() }.component());
    let output = shell.policy(&["check", "trap.wasm", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["accepted"], false);
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.starts_with("`trap.wasm` is refused: in a trial call of `quota`"), "{reason}");
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
    let error = shell.error(&on(&["list"]));
    assert!(error.contains("there is no file `ledger.db`"), "{error}");
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

const ON: [&str; 2] = ["--store", "ledger.db"];

fn limit_of(tokens: u32) -> String {
    format!(r#"{{"limits":[{{"meter":"llm_tokens","period":"day","limit":{tokens}}}]}}"#)
}

/// A host beside the commands judges by what they bound.
async fn judge(shell: &Shell, acme: &Tenant, rival: &Tenant) {
    let (path, clock) = (shell.directory.path().join("ledger.db"), Arc::new(clock_ms));
    let store = SqliteStore::open(&path, Durability::Required, clock.clone()).await;
    let store = Arc::new(store.expect("the store"));
    let registry =
        Registry::new(Arc::clone(&store), sandbox(&shell.directory.path().join("cache")));
    let random = Arc::new(|| Uuid::new_v4().as_u128());
    let host: Host = Host::builder(store, clock, random).start().await.expect("a host");
    registry.follow_tenants().await.expect("followed");
    registry.bring(&host).await.expect("brought");
    assert_eq!(registry.troubles(), []);
    let tokens =
        |count: u32| Call::of([("user", "ana")]).asking("llm_tokens", count).expect("a call");
    let minute = Duration::from_secs(60);
    for count in [3, 7] {
        let asked = host.reserve(acme, None, tokens(count), minute).await;
        asked.expect("an answer").expect("allowed");
    }
    for _ in 0..10 {
        let asked = host.reserve(rival, None, tokens(1), minute).await;
        let denied = asked.expect("an answer").expect_err("it fails");
        assert_eq!(denied.denial.code, "policy_trapped");
    }
}

#[test]
fn what_candidates_said_is_reported_and_what_failed_is_let_back() {
    let shell = Shell::new();
    let said = |arguments: &[&str]| shell.said(&[arguments, &ON].concat());
    let json = |arguments: &[&str]| -> Json {
        serde_json::from_str(&said(&[arguments, &["--json"]].concat())).unwrap()
    };
    let (acme, rival): (Tenant, Tenant) = ("acme".parse().unwrap(), "rival".parse().unwrap());
    shell.write("ten.json", limit_of(10));
    shell.write("five.json", limit_of(5));
    shell.write(
        "trap.wasm",
        Guest { check: &later("(unreachable)"), ..Guest::default() }.component(),
    );
    said(&["push", "house", "quota", "--settings", "ten.json"]);
    said(&["bind", "house"]);
    said(&["push", "house", "quota", "--settings", "five.json"]);
    said(&["bind", "house", "--shadow"]);
    said(&["tenant", "--tenant", "acme", "--time-zone", "UTC"]);
    said(&["push", "own", "trap.wasm", "--tenant", "rival"]);
    said(&["bind", "own", "--tenant", "rival"]);
    tokio::runtime::Runtime::new().unwrap().block_on(judge(&shell, &acme, &rival));

    let report = json(&["shadow-report", "house", "--tenant", "acme"]);
    assert_eq!((&report[0]["agreed"], &report[0]["diverged"]), (&json!(1), &json!(1)), "{report}");
    assert_eq!(report.as_array().map(Vec::len), Some(1));
    let words = said(&["shadow-report"]);
    for expected in [
        "`*/house@2` in shadow, beside `*/house@1`: calls allowed and denied\n",
        "        11  said the same\n",
        "         1  did not, of which 0 failed\n",
        "         1  allowed -> quota_exceeded",
        "  acme  user=ana\n",
    ] {
        assert!(words.contains(expected), "`{expected}` in\n{words}");
    }
    // Without `--since` of the last day.
    let diff = json(&["diff", "*/house@1", "*/house@2", "--tenant", "acme"]);
    assert_eq!(diff["settings"][0]["path"], ".limits[0].limit");
    assert_eq!(
        (&diff["replay"]["decisions"], &diff["replay"]["differences"]),
        (&json!(2), &json!(1))
    );
    let words = said(&["diff", "*/house@1", "*/house@2"]);
    assert!(words.contains("users most hit: ana (1)"), "{words}");
    // Of several tenants, each judged by its own.
    for (tenants, decisions) in [
        (&["--tenant", "acme", "--tenant", "rival"][..], 12),
        (&["--tenant", "rival"], 10),
        (&[], 12),
    ] {
        let output = shell.run(&[&["replay", "--json"], tenants, &ON].concat());
        let told: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&told["decisions"], &told["differences"]), (&json!(decisions), &json!(0)));
    }
    let out = said(&["quarantined"]);
    assert!(
        out.starts_with("rival: `rival/own@1` since ") && out.ends_with("policy_trapped\n"),
        "{out}"
    );
    let error = shell.error(&[&["let-back", "own", "--tenant", "acme"], &ON[..]].concat());
    assert!(error.contains("policy `own` of tenant `acme` is in no quarantine"), "{error}");
    let back = said(&["let-back", "own", "--tenant", "rival"]);
    assert_eq!(back, "`rival/own@1` is asked again\n");
    assert_eq!(said(&["quarantined"]), "");
}

#[test]
fn who_signs_is_set_and_what_is_bound_is_signed_by_them() {
    let shell = Shell::new();
    let said = |arguments: &[&str]| shell.said(&[arguments, &ON].concat());
    let error = |arguments: &[&str]| shell.error(&[arguments, &ON].concat());
    let component = Guest::default().component();
    shell.write("own.wasm", &component);
    let digest = format!("sha256:{}", tollgate_host::sandbox::digest(&component));
    let (ana, bob) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
    let hex = |key: &SigningKey| -> String {
        key.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    shell.write("ana.key", hex(&ana));
    shell.write("ana.sig", ana.sign(digest.as_bytes()).to_bytes());
    shell.write("bob.sig", bob.sign(digest.as_bytes()).to_bytes());
    said(&["push", "own", "own.wasm"]);
    let set = said(&["signing", "--key", "ana", "--public", "ana.key", "--required", "true"]);
    let shown =
        format!("  signed by `ana` {}\n  a signature is required\n  as of version 1\n", hex(&ana));
    assert_eq!(set, shown);
    // What was pushed before counts no longer, until it is signed.
    assert!(error(&["bind", "own@1"]).contains("`own` is not taken: it has no signature"));
    assert!(error(&["push", "own", "own.wasm"]).contains("it has no signature"));
    assert!(
        error(&["push", "own", "own.wasm", "--signed", "bob.sig"]).contains("of none of the keys")
    );
    let other = error(&["push", "own", "own.wasm", "--digest", "sha256:00", "--signed", "ana.sig"]);
    assert!(other.contains(&format!("{digest}, and not sha256:00")), "{other}");
    let pushed = said(&["push", "own", "own.wasm", "--digest", &digest, "--signed", "ana.sig"]);
    assert!(pushed.starts_with("`*/own@2` is new"), "{pushed}");
    said(&["bind", "own"]);
    // A key that was taken away vouches for nothing that is bound from then on, or counts for more.
    said(&["unbind", "own"]);
    said(&["bind", "own", "--shadow"]);
    said(&["signing", "--remove", "ana"]);
    assert!(error(&["promote", "own"]).contains("of none of the keys"));
    said(&["unbind", "own"]);
    assert!(error(&["bind", "own"]).contains("of none of the keys"));
    assert!(error(&["rollback", "--to", "2"]).contains("of none of the keys"));
    assert!(error(&["signing", "--remove", "ana"]).contains("there is no key `ana`"));
    said(&["signing", "--required", "false"]);
    said(&["bind", "own"]);
}

#[test]
fn policies_are_asked_in_the_order_that_is_set() {
    let shell = Shell::new();
    let said = |arguments: &[&str]| shell.said(&[arguments, &ON].concat());
    shell.write("ten.json", limit_of(10));
    for name in ["one", "two", "three"] {
        said(&["push", name, "quota", "--settings", "ten.json"]);
        said(&["bind", name]);
    }
    said(&["bind", "two@1", "--shadow"]);
    let order = said(&["order", "three", "two", "one"]);
    assert_eq!(
        order,
        "  */three@1\n  */two@1\n  */two@1, in shadow\n  */one@1\n  as of version 5\n"
    );
    for wrong in [&["one", "two"][..], &["one", "two", "three", "four"], &["one", "one", "two"]] {
        let error = shell.error(&[&["order"], wrong, &ON].concat());
        assert!(error.contains("names each of them once: `three`, `two`, `one`"), "{error}");
    }
}
