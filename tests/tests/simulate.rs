//! `tollgate simulate`, as people and programs run it.

#[path = "hostile/guest.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod guest;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use guest::Guest;
use serde_json::Value as Json;
use tempfile::TempDir;

/// Tokens in and out of each row.
type Tokens = (i128, i128);

/// A trace with the three columns only: the real one where it is there, and always our own.
fn traces(directory: &Path) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = fs::read_to_string(root.join("data/sample_trace.csv")).unwrap();
    let plain: String = sample
        .lines()
        .map(|line| line.splitn(4, ',').take(3).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    let own = directory.join("own.csv");
    fs::write(&own, plain).unwrap();
    let real = root.join("../../shared/data/azure_llm_code_2023.csv");
    [own, real].into_iter().filter(|path| path.exists()).collect()
}

fn tokens(trace: &Path) -> Vec<Tokens> {
    let text = fs::read_to_string(trace).unwrap();
    let cell = |line: &str, index| line.trim_end().split(',').nth(index).unwrap().parse().unwrap();
    text.lines().skip(1).map(|line| (cell(line, 1), cell(line, 2))).collect()
}

/// What a call to gpt-4o costs, in millionths of a dollar: 5 a token in, 15 a token out.
fn cost((input, output): Tokens) -> i128 {
    input * 5 + output * 15
}

fn millionths(amount: &Json) -> i128 {
    let (whole, fraction) = amount.as_str().unwrap().split_once('.').unwrap();
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

struct Shell {
    directory: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn program(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .args(arguments)
            .current_dir(self.directory.path())
            .output()
            .unwrap()
    }

    fn run(&self, trace: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .env("TOLLGATE_CACHE", self.path("cache"))
            .current_dir(self.directory.path())
            .args(["simulate", "--trace"])
            .arg(trace)
            .args(arguments)
            .output()
            .unwrap()
    }

    fn report(&self, trace: &Path, arguments: &[&str]) -> Json {
        let output = self.run(trace, &[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a simulation that must fail says. Nothing is half done: it prints no report.
    fn error(&self, trace: &Path, arguments: &[&str]) -> String {
        let output = self.run(trace, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The error of a config over a trace of one row.
    fn config_error(&self, config: &str) -> String {
        self.write("config.toml", config);
        let trace = self.write("one.csv", ONE_ROW);
        self.error(&trace, &["--config", "config.toml"])
    }
}

const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
const ONE_ROW: &str =
    "TIMESTAMP,ContextTokens,GeneratedTokens,Model\n2023-11-16 18:17:03.97,10,10,gpt-4o\n";

#[test]
fn without_a_limit_the_cost_is_the_sum_of_tokens_times_price_to_the_last_digit() {
    let shell = Shell::new();
    for trace in traces(shell.directory.path()) {
        let report = shell.report(&trace, &["--model", "gpt-4o"]);
        let rows = tokens(&trace);
        let expected: i128 = rows.iter().copied().map(cost).sum();
        assert_eq!(millionths(&report["cost"][0]["amount"]), expected);
        assert_eq!(report["cost"][0]["currency"], "USD");
        assert_eq!(report["allowed"], rows.len());
        assert_eq!(report["denied"], 0);
        assert_eq!(report["input_tokens"], rows.iter().map(|row| row.0 as u64).sum::<u64>());
        assert_eq!(report["output_tokens"], rows.iter().map(|row| row.1 as u64).sum::<u64>());
        if trace.ends_with("azure_llm_code_2023.csv") {
            assert_eq!(report["cost"][0]["amount"], "93.98831");
        }
    }
}

#[test]
fn under_a_limit_exactly_those_calls_are_allowed_that_fit_in_order() {
    let shell = Shell::new();
    for trace in traces(shell.directory.path()) {
        // The own trace spans two months, of which the second has a budget of its own.
        let months: Vec<String> = fs::read_to_string(&trace)
            .unwrap()
            .lines()
            .skip(1)
            .map(|line| line[..7].to_owned())
            .collect();
        let limit = 20_000_000;
        let (mut allowed, mut sum) = (0, std::collections::BTreeMap::<&str, i128>::new());
        for (month, row) in months.iter().zip(tokens(&trace)) {
            let used = sum.entry(month).or_default();
            if *used + cost(row) <= limit {
                *used += cost(row);
                allowed += 1;
            }
        }
        let report = shell.report(&trace, &["--model", "gpt-4o", "--monthly-limit", "20"]);
        assert_eq!(report["allowed"], allowed);
        assert_eq!(millionths(&report["cost"][0]["amount"]), sum.values().sum::<i128>());
        assert_eq!(report["denied_by"]["quota_exceeded"], report["denied"]);
        assert_eq!(report["disabled"], Json::Array(Vec::new()));
        assert_eq!(report["notices"], Json::Array(Vec::new()));
        if trace.ends_with("azure_llm_code_2023.csv") {
            assert_eq!((allowed, &report["cost"][0]["amount"]), (1_924, &"19.999945".into()));
        }
    }
}

#[test]
fn limits_of_any_meter_stand_as_flags() {
    let shell = Shell::new();
    let rows: String =
        (0..10).map(|second| format!("2023-11-16 18:17:{second:02},10,10\n")).collect();
    let trace = shell.write("trace.csv", format!("{HEADER}\n{rows}"));
    let flags =
        ["--model", "gpt-4", "--limit", "llm_requests=7/day", "--limit", "llm_tokens=100/hour"];
    assert_eq!(shell.report(&trace, &flags)["allowed"], 5);
    let error = shell.error(&trace, &["--model", "gpt-4", "--limit", "llm_requests=7/fortnight"]);
    assert!(error.contains("`fortnight`"), "{error}");
}

#[test]
fn two_runs_print_the_same_bytes_except_for_timings() {
    let shell = Shell::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (trace, config) = (root.join("data/sample_trace.csv"), root.join("data/demo.toml"));
    let run = || {
        let mut report = shell.report(&trace, &["--config", config.to_str().unwrap()]);
        let object = report.as_object_mut().unwrap();
        assert!(object.remove("decision_us").is_some());
        assert!(object.remove("decisions_per_second").is_some());
        report.to_string()
    };
    assert_eq!(run(), run());
}

#[test]
fn line_ends_of_either_kind_and_a_missing_last_one_change_nothing() {
    let shell = Shell::new();
    let sum = |text: String| {
        let trace = shell.write("trace.csv", text);
        shell.report(&trace, &["--model", "gpt-4o"])["cost"].clone()
    };
    let rows = ["2023-11-16 18:17:03.97,4808,10", "2023-11-16 18:17:04.03,3180,8"];
    let unix = sum(format!("{HEADER}\n{}\n{}\n", rows[0], rows[1]));
    assert_eq!(unix[0]["amount"], "0.04021");
    assert_eq!(sum(format!("{HEADER}\r\n{}\r\n{}\r\n", rows[0], rows[1])), unix);
    assert_eq!(sum(format!("{HEADER}\r\n{}\r\n{}", rows[0], rows[1])), unix);
}

#[test]
fn a_bad_trace_is_an_error_that_names_file_and_line() {
    let shell = Shell::new();
    let good = "2023-11-16 18:17:03.97,10,10";
    for (rows, flags, words) in [
        (
            format!("{HEADER}\n{good}\nnonsense\n"),
            &["--model", "gpt-4o"][..],
            "line 3: the row cannot be read",
        ),
        (
            format!("{HEADER}\n{good}\n2023-11-16 18:17:03,1,1\n"),
            &["--model", "gpt-4o"],
            "line 3: ",
        ),
        (
            format!("{HEADER}\n{good}\n"),
            &["--model", "gpt-5-nonsense"],
            "line 2: model `gpt-5-nonsense` is not in price list `seed`",
        ),
        (
            format!("{HEADER}\n{good}\n"),
            &["--model", "x", "--prices", "catalog"],
            "line 2: model `x` has no rates in the host's catalog",
        ),
        (format!("{HEADER}\n{good}\n"), &[], "line 2: the row names no model"),
        (String::new(), &["--model", "gpt-4o"], "no column `TIMESTAMP`"),
    ] {
        let trace = shell.write("trace.csv", rows);
        let error = shell.error(&trace, flags);
        assert!(error.contains("trace.csv`: ") && error.contains(words), "{error}");
    }
    let error = shell.error(&shell.path("nowhere.csv"), &["--model", "gpt-4o"]);
    assert!(error.contains("cannot read `") && error.contains("nowhere.csv"), "{error}");
}

#[test]
fn a_bad_config_is_an_error_that_names_the_policy_and_says_what_is_wrong() {
    let shell = Shell::new();
    for (config, words) in [
        ("policies = 1", "config.toml`: "),
        ("[[policies]]\ncomponent = 'quotas'", "`quotas` is not a standard component"),
        ("[[policies]]\ncomponent = 'gone.wasm'", "gone.wasm`"),
        (
            "[[policies]]\ncomponent = 'quota'\nsettings = { warning_threshold = 80 }",
            "`warning_threshold` 80 is not a fraction",
        ),
        (
            "[[policies]]\ncomponent = 'quota'\nsettings = { limits = 5 }",
            "policy `quota` is refused: the settings do not fit the policy's schema: at `/",
        ),
        (
            "[[policies]]\ncomponent = 'pricing'\nsettings = { prices = 'free' }",
            "policy `pricing` is refused: the settings do not fit the policy's schema: at `/prices`: ",
        ),
        (
            "[[policies]]\ncomponent = 'pricing'\n[[policies]]\ncomponent = 'pricing'",
            "both `pricing` and `pricing` price",
        ),
        ("time_zone = 'Mars'", "Mars"),
    ] {
        let error = shell.config_error(config);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_component_that_is_refused_ends_the_simulation_before_it_began() {
    let shell = Shell::new();
    let config = "[[policies]]\nname = 'guard'\ncomponent = 'guest.wasm'";
    for (component, words) in [
        (b"".to_vec(), "this is not a WebAssembly component"),
        (wat::parse_str("(module)").unwrap(), "this is a core module and not a component"),
        (wat::parse_str("(component)").unwrap(), "does not export `tollgate:policy/policy@0.1.0`"),
        (
            Guest { configure: "(loop $l (br $l))", ..Guest::default() }.component(),
            "ran out of fuel",
        ),
        (
            Guest { check: "unreachable", ..Guest::default() }.component(),
            "in a trial call of `quota`, the policy trapped",
        ),
    ] {
        shell.write("guest.wasm", component);
        let error = shell.config_error(config);
        assert!(error.contains("policy `guard` is refused") && error.contains(words), "{error}");
    }
}

#[test]
fn a_component_that_would_keep_the_compiler_busy_is_refused() {
    let shell = Shell::new();
    shell.write("bomb.wasm", guest::bomb(1_000, 1_000));
    let error = shell.config_error(
        "[sandbox]\ncompile_cpu_seconds = 2\n[[policies]]\nname = 'guard'\ncomponent = 'bomb.wasm'",
    );
    assert!(
        error.contains("policy `guard` is refused: compiling was stopped after 2 s"),
        "{error}"
    );
    let error = shell.config_error("[sandbox]\ncompile_seconds = 'long'");
    assert!(error.contains("config.toml") && error.contains("expected u64"), "{error}");
}

#[test]
fn a_policy_that_is_paid_out_in_service_names_the_line_and_itself() {
    let shell = Shell::new();
    let config = "default_model = 'gpt-4o'\n[[policies]]\nname = 'guard'\ncomponent = 'guest.wasm'";
    // A trial call has the instant zero; a call of the trace has not.
    for (check, words) in [
        (guest::later("unreachable"), "the policy trapped"),
        (guest::later("(loop $l (br $l))"), "ran out of fuel"),
        (
            guest::later(
                "(if (i32.eq (memory.grow (i32.const 16384)) (i32.const -1)) (then unreachable))",
            ),
            "asked for more memory",
        ),
        (
            guest::later(
                "(drop (memory.grow (i32.const 200)))
                (i32.store (global.get $message) (i32.const 65536))
                (i32.store offset=4 (global.get $message) (i32.const 10000000))",
            ),
            "returned more than it may",
        ),
    ] {
        shell.write("guest.wasm", Guest { check: &check, ..Guest::default() }.component());
        let error = shell.config_error(config);
        assert!(error.contains("line 2: policy `guard`: ") && error.contains(words), "{error}");
    }
}

/// So many calls of one user on one day, of 10 tokens each.
fn one_day(calls: u32) -> String {
    let row = |second: u32| {
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        format!("2023-11-16 {hour:02}:{minute:02}:{:02},8,2,gpt-4o,ana\n", second % 60)
    };
    format!("{HEADER},Model,User\n") + &(0..calls).map(row).collect::<String>()
}

#[test]
fn the_standard_limits_hold_where_none_is_named() {
    let shell = Shell::new();
    shell.write(
        "config.toml",
        "[[policies]]\ncomponent = 'pricing'\nsettings = { prices = 'seed' }\n\
         [[policies]]\ncomponent = 'quota'\n[[policies]]\ncomponent = 'alerts'\n",
    );
    let trace = shell.write("trace.csv", one_day(1_003));
    let report = shell.report(&trace, &["--config", "config.toml"]);
    assert_eq!((&report["allowed"], &report["denied"]), (&1_000.into(), &3.into()));
    assert_eq!(report["denied_by"], serde_json::json!({ "quota_exceeded": 3 }));
    let keys: Vec<&str> =
        report["notices"].as_array().unwrap().iter().filter_map(|it| it["key"].as_str()).collect();
    let kinds = ["quota_approaching", "quota_at_limit", "quota_exceeded"];
    assert_eq!(keys, kinds.map(|kind| format!("{kind}:llm_requests:calendar:day:user")));
}

#[test]
fn an_agents_own_record_limits_it() {
    let shell = Shell::new();
    shell.write(
        "config.toml",
        "[[policies]]\ncomponent = 'quota'\n\
         [agents.ana]\nrate_limits = { enabled = true, period = 'day', max_messages = 7 }\n\
         [agents.ben]\nrate_limits = { enabled = false, max_messages = 7 }\n",
    );
    let trace = |agent: &str| {
        shell.write("trace.csv", one_day(10).replace("User", "Agent").replace("ana", agent))
    };
    for (agent, allowed) in [("ana", 7), ("ben", 10), ("cleo", 10)] {
        let report = shell.report(&trace(agent), &["--config", "config.toml"]);
        assert_eq!(report["allowed"], allowed, "{agent}");
    }
}

#[test]
fn a_tenant_has_the_limits_of_its_own_part_of_the_file() {
    let shell = Shell::new();
    let limit = |number: u32| {
        format!(
            "component = 'quota'\nsettings = {{ limits = [{{ meter = 'llm_requests', limit = {number}, period = 'total' }}] }}\n"
        )
    };
    shell.write(
        "config.toml",
        format!(
            "default_model = 'gpt-4o'\n[[policies]]\n{}[[tenants.acme.policies]]\n{}[tenants.zen]\n",
            limit(1),
            limit(2)
        ),
    );
    let rows: String =
        (0..4).map(|second| format!("2023-11-16 18:17:{second:02},10,10\n")).collect();
    let trace = shell.write("trace.csv", format!("{HEADER}\n{rows}"));
    let allowed = |tenant: &str| {
        shell.report(&trace, &["--config", "config.toml", "--tenant", tenant])["allowed"].clone()
    };
    assert_eq!(allowed("zen"), 1);
    assert_eq!(allowed("acme"), 2);
    let error = shell.error(&trace, &["--config", "config.toml", "--tenant", "nobody"]);
    assert!(error.contains("no tenant `nobody`"), "{error}");
}

/// On a ledger of one's own, of either kind, with what `tollgate verify` then says of it.
#[test]
fn a_trace_runs_on_a_ledger_that_stays_and_holds() {
    let shell = Shell::new();
    let trace = shell.write("trace.csv", SHORT);
    let postgres = tollgate_tests::postgres::Cluster::shared();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = runtime.block_on(postgres.database());
    let (socket, database) = (options.get_socket().unwrap(), options.get_database().unwrap());
    let encoded = socket.to_str().unwrap().replace('/', "%2F");
    let file = shell.path("ledger.db");
    let stores =
        [format!("postgres://postgres@{encoded}/{database}"), file.to_str().unwrap().to_owned()];
    let flags = ["--model", "gpt-4o", "--limit", "llm_tokens=3000/day"];
    let without = shell.report(&trace, &flags);
    assert_eq!((&without["allowed"], &without["denied"]), (&2.into(), &1.into()));
    for store in &stores {
        let with = shell.report(&trace, &[&flags[..], &["--store", store]].concat());
        for figure in ["allowed", "denied_by", "cost"] {
            assert_eq!(with[figure], without[figure], "{figure}");
        }
        // The same tenant once more: time there has gone on.
        let words = shell.error(&trace, &[&flags[..], &["--store", store]].concat());
        assert!(words.contains("name a new one with `--tenant`"), "{words}");
        let other = ["--store", store, "--tenant", "other"];
        let other = shell.report(&trace, &[&flags[..], &other].concat());
        assert_eq!(other["cost"], without["cost"]);
        let erase = ["erase", "--store", store, "--tenant", "other", "--dimension", "model"];
        let erased = shell.program(&[&erase[..], &["gpt-4o", "--json"]].concat());
        let told: serde_json::Value = serde_json::from_slice(&erased.stdout).unwrap();
        assert!(told["pseudonym"].as_str().unwrap().starts_with("erased-"), "{told}");
        let verified = shell.program(&["verify", "--store", store]);
        assert!(verified.status.success());
        assert_eq!(String::from_utf8_lossy(&verified.stdout), "0 differences\n");
    }
    let pool = runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        sqlx::SqlitePool::connect_with(options).await.unwrap()
    });
    // What others keep is not old because a trace is of another time.
    runtime.block_on(async {
        let key = "INSERT INTO idempotency VALUES ('default', 'reserve', 'k', x'', x'', 0)";
        sqlx::query(key).execute(&pool).await.unwrap();
    });
    shell.report(&trace, &[&flags[..], &["--store", &stores[1], "--tenant", "third"]].concat());
    // A ledger that somebody wrote to.
    runtime.block_on(async {
        let keys = sqlx::query_scalar("SELECT count(*) FROM idempotency WHERE key = 'k'");
        let keys: i64 = keys.fetch_one(&pool).await.unwrap();
        assert_eq!(keys, 1);
        let set = "UPDATE account SET balance = '5' WHERE tenant_id = 'default'";
        assert_eq!(sqlx::query(set).execute(&pool).await.unwrap().rows_affected(), 1);
    });
    let found = shell.program(&["verify", "--store", &stores[1]]);
    assert_eq!(found.status.code(), Some(1));
    let words = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(words.contains("account `cost` in USD stands at 5"), "{words}");
    let repaired = shell.program(&["verify", "--repair", "--store", &stores[1]]);
    assert_eq!(repaired.status.code(), Some(1), "it tells what it found");
    assert!(shell.program(&["verify", "--store", &stores[1]]).status.success());
    let acts = shell.program(&["audit", "--store", &stores[1]]).stdout;
    let last = String::from_utf8_lossy(&acts).lines().next().unwrap_or_default().to_owned();
    assert!(last.contains("\"ledger.repair\"") && last.contains("\"done\""), "{last}");
    let nowhere = shell.program(&["verify", "--store", "nowhere.db"]);
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("no file `nowhere.db`"));
}

const SHORT: &str = "TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46,1000,100
2023-11-16 18:15:50,1500,100
2023-11-16 18:15:51,400,100
";
