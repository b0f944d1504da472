//! `tollgate replay`, as people and programs run it: on the trace of the demo, kept in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

struct Shell {
    directory: TempDir,
}

impl Shell {
    /// With the demo's decisions in `ledger.db`, of tenant `acme`.
    fn with_the_demo() -> Self {
        let shell = Self { directory: tempfile::tempdir().unwrap() };
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let (trace, config) = (data.join("sample_trace.csv"), data.join("demo.toml"));
        let output = shell.run(&[
            "simulate",
            "--trace",
            trace.to_str().unwrap(),
            "--config",
            config.to_str().unwrap(),
            "--store",
            "ledger.db",
            "--tenant",
            "acme",
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        shell
    }

    fn write(&self, name: &str, settings: &Json) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, settings.to_string()).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .current_dir(self.directory.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(&[arguments, &["--store", "ledger.db"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.said(&[arguments, &["--json"]].concat())).unwrap()
    }
}

fn count(report: &Json, from: &str, to: &str) -> u64 {
    let flips = report["flips"].as_array().unwrap();
    let own = flips.iter().filter(|own| own["from"] == from && own["to"] == to);
    own.map(|own| own["count"].as_u64().unwrap()).sum()
}

#[test]
fn the_demo_is_judged_again_to_the_same_end_and_candidates_are_compared() {
    let shell = Shell::with_the_demo();
    let same = shell.json(&["replay"]);
    assert_eq!((&same["decisions"], &same["differences"]), (&json!(5_000), &json!(0)));
    assert_eq!((&same["unreadable"], &same["flips"]), (&json!(0), &json!([])));
    let words = shell.said(&["replay", "--tenant", "acme"]);
    assert!(words.starts_with("5000 decisions judged again, "), "{words}");
    assert!(words.contains("\n0 come out otherwise\n"), "{words}");

    // The demo's limits, one of them halved.
    let limits = |tokens: u64| {
        json!({ "limits": [
            { "meter": "cost.usd", "period": "month", "per": "agent", "limit": 9 },
            { "meter": "llm_tokens", "period": "day", "per": "user", "limit": tokens },
            { "meter": "llm_requests", "period": "hour", "limit": 300 },
            { "meter": "cost.usd", "period": "total", "limit": 52 },
        ] })
    };
    shell.write("same.json", &limits(1_000_000));
    shell.write("half.json", &limits(500_000));
    let candidate = ["replay", "--component", "quota", "--policy", "quota", "--settings"];
    let with = |settings| shell.json(&[&candidate[..], &[settings]].concat());
    let unchanged = with("same.json");
    assert_eq!(unchanged["differences"], 0);
    let judged = unchanged["decisions"].as_u64().unwrap() + unchanged["unasked"].as_u64().unwrap();
    assert_eq!(judged, 5_000);
    let half = with("half.json");
    let denied = count(&half, "allowed", "quota_exceeded");
    assert!(denied > 100, "{half}");
    assert_eq!(half["differences"], denied);
    assert!(half["newly_denied"]["USD"].is_string() && half["newly_allowed"] == json!({}));
    let ana = &half["users"][0];
    assert!(ana["value"] == "ana" && ana["count"].as_u64().unwrap() > 10, "{half}");
    let words = shell.said(&[&candidate[..], &["half.json"]].concat());
    for expected in [
        "allowed -> quota_exceeded",
        "users most hit: ana (",
        "were refused before any policy was asked",
        "Limit: 500000",
    ] {
        assert!(words.contains(expected), "`{expected}` in\n{words}");
    }

    // As revisions, and the difference between them.
    for settings in ["same.json", "half.json"] {
        shell.said(&["policy", "push", "quota", "quota", "--settings", settings]);
    }
    let by_revision = shell.json(&["replay", "--revision", "quota@2"]);
    assert_eq!(by_revision["flips"], half["flips"]);
    let diff = ["policy", "diff", "quota@1", "quota@2", "--since", "2025-10-01"];
    let told = shell.json(&diff);
    let change = json!([{ "path": ".limits[1].limit", "from": 1_000_000, "to": 500_000 }]);
    assert_eq!((&told["component_differs"], &told["settings"]), (&json!(false), &change));
    assert_eq!(told["replay"]["flips"], half["flips"]);
    let words = shell.said(&diff);
    assert!(words.starts_with(".limits[1].limit  1000000 -> 500000\n"), "{words}");
    // Of the last day nothing is there; what changed is told nevertheless.
    let words = shell.said(&["policy", "diff", "quota@1", "quota@2"]);
    assert!(words.contains("nothing was decided then"), "{words}");

    // In a stretch of time.
    let day = shell.json(&["replay", "--since", "2025-10-31", "--until", "2025-11-01"]);
    let decisions = day["decisions"].as_u64().unwrap();
    assert!(decisions > 0 && decisions < 5_000, "{day}");

    for (arguments, expected) in [
        (&["replay", "--since", "2030-01-01"][..], "nothing was decided then"),
        (&["replay", "--since", "yesterday"], "`yesterday` is no time"),
        (&["replay", "--since", "2025-11-01", "--until", "2025-10-01"], "is not before"),
        (&["replay", "--revision", "quota@9"], "there is no revision `*/quota@9`"),
        (&["replay", "--revision", "nothing"], "there is no policy `nothing` of the platform"),
        (&["replay", "--component", "quota"], "--policy"),
        (&["replay", "--tenant", "nobody"], "nothing was decided then"),
    ] {
        let output = shell.run(&[arguments, &["--store", "ledger.db"]].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(expected), "{arguments:?}: {words}");
        assert!(output.stdout.is_empty());
    }
    let output = shell.run(&["replay", "--store", "absent.db"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("there is no file `absent.db`"), "{words}");
}
