//! A storm: many callers who reserve and then settle, release or forget, on hosts that a test
//! kills and starts. Whoever asked with a key asks again until there is an answer; who asked
//! without one never learns what became of it.

#![allow(clippy::disallowed_methods, reason = "it measures how soon something serves again")]

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tollgate_tests::embedded::{Answer, Reply, Request, Trouble, What};
use uuid::Uuid;

use crate::ground::{Event, Ground, Process, request, reserve, settle};
use crate::journal::Journal;

/// However ill it goes, somebody is answered in that time.
const SILENCE: Duration = Duration::from_secs(30);

/// One in so many requests with a key is asked once more in the end.
const REPEATED: u64 = 16;

pub struct Storm {
    ground: Ground,
    pub journal: Journal,
    events: (Sender<Event>, Receiver<Event>),
    hosts: Vec<Host>,
    /// Asked, by their number, and of which host.
    waiting: HashMap<u64, (Request, usize)>,
    /// To be sent for the first time, and again.
    fresh: Vec<Request>,
    again: Vec<Request>,
    asked: u64,
    pub answered: usize,
    /// The last one asked of those that were answered.
    newest: u64,
    /// So many times a host could not tell what became of a request.
    pub lost: usize,
    /// Nobody begins anything new.
    ending: bool,
    /// A share of what was answered under a key.
    sample: Vec<(Request, Answer)>,
    random: u64,
}

struct Host {
    process: Option<Process>,
    answered: usize,
}

impl Storm {
    /// Starts hosts, and so many callers of each tenant.
    pub fn begin(ground: Ground, hosts: usize, callers: usize) -> Self {
        let mut storm = Self {
            journal: Journal::new(),
            events: channel(),
            hosts: Vec::new(),
            waiting: HashMap::new(),
            fresh: Vec::new(),
            again: Vec::new(),
            asked: 0,
            answered: 0,
            newest: 0,
            lost: 0,
            ending: false,
            sample: Vec::new(),
            random: 1,
            ground,
        };
        for _ in 0..hosts {
            storm.start();
        }
        for _ in 0..callers {
            (0..storm.ground.tenants).for_each(|tenant| storm.another(tenant));
        }
        storm
    }

    /// A host more. Its number is that of its start.
    pub fn start(&mut self) -> usize {
        let host = self.hosts.len();
        let process = self.ground.start(host, &self.events.0).expect("a host that starts");
        self.hosts.push(Host { process: Some(process), answered: 0 });
        host
    }

    /// Lets it go on until so many more were answered.
    pub fn go_on(&mut self, answers: usize) {
        let until = self.answered + answers;
        while self.answered < until {
            self.step();
        }
    }

    /// Kills a host, and hears what it still had said.
    pub fn kill(&mut self, host: usize) {
        self.hosts[host].process.as_mut().expect("a host that runs").kill();
        while self.hosts[host].process.is_some() {
            self.hear();
        }
    }

    /// How long it took until this host gave its first answer, from then on.
    pub fn first_answer_of(&mut self, host: usize, from: Instant) -> Duration {
        while self.hosts[host].answered == 0 {
            self.step();
        }
        from.elapsed()
    }

    /// How long it takes from now on until something is answered that is asked from now on.
    pub fn next_answer(&mut self) -> Duration {
        let (from, before) = (Instant::now(), self.asked);
        while self.newest <= before {
            self.step();
        }
        from.elapsed()
    }

    /// So many answers were this host's.
    pub fn answered_by(&self, host: usize) -> usize {
        self.hosts[host].answered
    }

    /// Any host that runs.
    pub fn any_host(&mut self) -> usize {
        let running: Vec<usize> =
            (0..self.hosts.len()).filter(|host| self.hosts[*host].process.is_some()).collect();
        running[self.draw(running.len() as u64) as usize]
    }

    /// Waits for all that are on their way, and asks a share of them once more: they are answered
    /// as they were.
    pub fn end(&mut self) {
        self.ending = true;
        while !(self.waiting.is_empty() && self.fresh.is_empty() && self.again.is_empty()) {
            self.step();
        }
        let sample = std::mem::take(&mut self.sample);
        let before = self.answered;
        self.again = sample.iter().map(|(request, _)| request.clone()).collect();
        while self.answered < before + sample.len() {
            self.step();
        }
        let now: HashMap<u64, Answer> =
            self.sample.drain(..).map(|(request, answer)| (request.number, answer)).collect();
        for (request, answer) in sample {
            assert_eq!(now.get(&request.number), Some(&answer), "{request:?}");
        }
    }

    fn step(&mut self) {
        self.send();
        self.hear();
    }

    fn send(&mut self) {
        self.journal.intend(&self.fresh);
        self.again.append(&mut self.fresh);
        if self.again.is_empty() {
            return;
        }
        let host = self.any_host();
        let process = self.hosts[host].process.as_mut().expect("a host that runs");
        process.ask(&self.again);
        let sent = self.again.drain(..).map(|request| (request.number, (request, host)));
        self.waiting.extend(sent);
    }

    /// Waits for an event, and takes those that have come with it.
    fn hear(&mut self) {
        let first = self.events.1.recv_timeout(SILENCE).expect("somebody is answered");
        let more: Vec<Event> = self.events.1.try_iter().take(512).collect();
        let mut written = Vec::new();
        for Event { host, said } in std::iter::once(first).chain(more) {
            match said {
                Some(reply) => written.extend(self.answer(host, reply)),
                None => self.gone(host),
            }
        }
        self.journal.acknowledge(&written);
    }

    /// What belongs into the journal is returned.
    fn answer(&mut self, host: usize, reply: Reply) -> Option<Reply> {
        let Reply { number, answer } = &reply;
        let (request, _) = self.waiting.remove(number).expect("an answer to what was asked");
        let tenant = request.tenant[1..].parse().expect("a tenant's number");
        if let Answer::None(trouble, words) = answer {
            let passes = matches!(trouble, Trouble::Unavailable | Trouble::Lost);
            assert!(passes, "{request:?}: {trouble:?}: {words}");
            self.lost += usize::from(*trouble == Trouble::Lost);
            if request.key.is_some() {
                self.again.push(request);
                return None;
            }
            self.another(tenant);
            return Some(reply);
        }
        self.hosts[host].answered += 1;
        self.answered += 1;
        self.newest = self.newest.max(*number);
        match (&request.what, answer) {
            (What::Reserve { .. }, Answer::Reserved { id, .. }) if !self.ending => {
                self.finish(tenant, *id);
            }
            _ => self.another(tenant),
        }
        if request.key.is_some() && number % REPEATED == 0 {
            self.sample.push((request, answer.clone()));
        }
        Some(reply)
    }

    fn gone(&mut self, host: usize) {
        self.hosts[host].process = None;
        let lost: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, (_, of))| *of == host)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            let Some((request, _)) = self.waiting.remove(&number) else { continue };
            if request.key.is_some() {
                self.again.push(request);
            } else {
                let tenant = request.tenant[1..].parse().expect("a tenant's number");
                self.another(tenant);
            }
        }
    }

    /// A caller goes on to its next call.
    fn another(&mut self, tenant: usize) {
        if !self.ending {
            self.push(tenant, reserve(amount(tenant)));
        }
    }

    /// A caller's call has gone ahead.
    fn finish(&mut self, tenant: usize, id: Uuid) {
        match self.draw(10) {
            0..7 => {
                let used = self.draw(amount(tenant) + 1);
                self.push(tenant, settle(id, used));
            }
            7..9 => self.push(tenant, What::Release { id }),
            _ => self.another(tenant),
        }
    }

    fn push(&mut self, tenant: usize, what: What) {
        self.asked += 1;
        let number = self.asked;
        // One in eight has no key.
        let key = (self.draw(8) != 0).then(|| format!("key {number}"));
        self.fresh.push(request(number, tenant, key, what));
    }

    /// A number below this one. The same storm draws the same numbers.
    pub fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }
}

/// What a tenant asks for, always: so the judge knows it of a reservation nobody was told of.
fn amount(tenant: usize) -> u64 {
    10 + 7 * tenant as u64
}
