//! A policy that reaches for what its settings name, by the standard library alone, and says in
//! its denial what came of it.

#![allow(clippy::disallowed_methods, reason = "it reaches for the clock to see what it gets")]

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, process, thread};

use tollgate_policy_core::guest::{Decision, Denial, Manifest, Policy, Request, Verdict};

/// The policy, as it is exported.
pub struct Curious {
    about: String,
}

impl Policy for Curious {
    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let about = serde_json::from_str(settings).map_err(|error| error.to_string())?;
        Ok((Self { about }, Manifest::default()))
    }

    fn check(&self, request: &Request) -> Verdict {
        // The trial call comes at instant zero: what fails then is not let in.
        let found = if request.at == 0 { String::new() } else { reach_for(&self.about) };
        let decision = Decision::Deny(Denial::new("found", found));
        Verdict { decision, findings: Vec::new(), facts: Vec::new() }
    }
}

fn reach_for(what: &str) -> String {
    match what {
        "clock" => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_millis().to_string()
        }
        "stopwatch" => {
            let start = Instant::now();
            let sum =
                (0..100_000_u64).fold(0, |sum: u64, number| std::hint::black_box(sum ^ number));
            format!("{sum} after {:?}", start.elapsed())
        }
        "randomness" => RandomState::new().hash_one(1).to_string(),
        "environment" => format!("{} and {}", env::vars().count(), env::args().count()),
        "files" => ["/", ".", "/etc/passwd", "/proc/self/environ"]
            .map(|path| fs::metadata(path).is_ok().to_string())
            .join(" "),
        "network" => TcpStream::connect("127.0.0.1:22").is_ok().to_string(),
        "stdin" => io::stdin().read(&mut [0; 16]).map_or("error".into(), |bytes| bytes.to_string()),
        "log" => {
            println!("said");
            eprintln!("and warned\x1b[2J");
            String::new()
        }
        "flood" => {
            let line = "a".repeat(1_000);
            (0..1_000).for_each(|_| println!("{line}"));
            String::new()
        }
        "sleep" => {
            thread::sleep(Duration::from_secs(3_600));
            String::new()
        }
        "exit" => process::exit(0),
        "panic" => panic!("nothing more to reach for"),
        _ => String::new(),
    }
}

tollgate_policy_core::export_policy!(Curious: quota);
