//! What who runs the service does by command: settings, a look at all that it needs, and what is
//! written down of that.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value as Json;
use tollgate_tests::postgres::Cluster;
use tollgate_tests::run;

use crate::house::{House, town};

/// How a command ended, and what it said, to either side.
fn said(house: &House, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = house.command(arguments).output().expect("a run");
    let said = [stdout, stderr].concat();
    (status.success(), String::from_utf8(said).expect("text"))
}

fn settings(house: &House, text: &str) -> String {
    let file = house.path().join("tollgate.toml");
    std::fs::write(&file, text).expect("a file");
    file.display().to_string()
}

#[test]
fn doctor_is_told_what_the_service_is_told() {
    run(async {
        let house = House::sqlite();
        town(&house.serve()).await;
        let taken = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let taken = taken.local_addr().expect("an address");
        let doctor = |text: &str| said(&house, &["doctor", "--config", &settings(&house, text)]);

        let (is_well, words) = doctor("listen = \"127.0.0.1:0\"");
        assert!(is_well && words.contains("`127.0.0.1:0` is free"), "{words}");
        let (is_well, words) = doctor(&format!("listen = \"{taken}\""));
        assert!(is_well && words.contains(&format!("`{taken}` is in use")), "{words}");
        for (text, named) in [
            ("listen = \"nowhere\"", "cannot listen on `nowhere`"),
            ("smtp = \"gopher://x\"\nmail_from = \"a@b.example\"", "`--smtp`"),
            ("requests = 5", "there is no setting `requests`"),
            ("keep_keys = \"soon\"", "no length of time"),
        ] {
            let (is_well, words) = doctor(text);
            assert!(!is_well && words.contains(named), "{text}: {words}");
        }
    });
}

#[test]
fn a_postgres_that_may_lose_something_serves_only_who_says_so() {
    run(async {
        let cluster = Cluster::start(&["fsync=off", "full_page_writes=off"]);
        let house = House::on(&cluster).await;
        let (is_well, words) = said(&house, &["token", "list"]);
        assert!(!is_well && words.contains("`fsync`, `full_page_writes` off"), "{words}");
        let (is_well, words) = said(&house, &["token", "list", "--waive-durability"]);
        assert!(is_well, "{words}");
        house.serve_with(&["--waive-durability"]);
    });
}

#[test]
fn what_is_only_looked_at_must_be_there() {
    let house = House::sqlite();
    for looking in [
        &["token", "list"][..],
        &["policy", "list"],
        &["policy", "show"],
        &["audit"],
        &["notices", "channels"],
        &["verify"],
    ] {
        let (is_well, words) = said(&house, looking);
        assert!(!is_well && words.contains("there is no file"), "{looking:?}: {words}");
        assert!(!std::path::Path::new(&house.store).exists(), "{looking:?}");
    }
}

/// All acts that were written down, the last first, each with its outcome.
pub fn acts(house: &House) -> Vec<(String, String)> {
    let told = house.run(&["audit"]);
    let lines = told.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    let text = |own: &Json| own.as_str().unwrap_or_default().to_owned();
    lines.map(|act: Json| (text(&act["act"]), text(&act["outcome"]))).collect()
}
