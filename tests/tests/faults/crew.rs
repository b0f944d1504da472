//! A few hosts that are asked this and that, each time until all have answered.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tollgate_tests::embedded::{Answer, Request, What};
use uuid::Uuid;

use crate::ground::{Event, Ground, Process, request};
use crate::journal::Journal;

const SILENCE: Duration = Duration::from_secs(30);

pub struct Crew {
    pub ground: Ground,
    pub journal: Journal,
    hosts: Vec<Process>,
    events: (Sender<Event>, Receiver<Event>),
    asked: u64,
}

impl Crew {
    /// They all start at once.
    pub fn start(ground: Ground, count: usize) -> Self {
        let events = channel();
        let launched: Vec<_> = (0..count).map(|host| ground.launch(host, &events.0)).collect();
        let ready = launched.into_iter().map(|launched| launched.and_then(|host| host.ready()));
        let hosts = ready.collect::<Result<_, _>>().expect("hosts that start");
        Self { ground, journal: Journal::new(), hosts, events, asked: 0 }
    }

    /// A request with a number of its own.
    pub fn request(&mut self, tenant: usize, key: Option<String>, what: What) -> Request {
        self.asked += 1;
        request(self.asked, tenant, key, what)
    }

    /// Asks each of the host that stands beside it, modulo their count, all at once. The answers
    /// come in the order of the requests.
    pub fn ask(&mut self, requests: &[(usize, Request)]) -> Vec<Answer> {
        self.journal.intend(requests.iter().map(|(_, request)| request));
        let count = self.hosts.len();
        for (place, host) in self.hosts.iter_mut().enumerate() {
            let own = requests.iter().filter(|(host, _)| host % count == place);
            host.ask(own.map(|(_, request)| request));
        }
        let mut answers = HashMap::new();
        while answers.len() < requests.len() {
            let event = self.events.1.recv_timeout(SILENCE).expect("all are answered");
            let reply = event.said.expect("a host that runs");
            self.journal.acknowledge(std::slice::from_ref(&reply));
            answers.insert(reply.number, reply.answer);
        }
        let answer = |(_, request): &(usize, Request)| answers.remove(&request.number);
        requests.iter().map(answer).collect::<Option<_>>().expect("an answer to each")
    }

    /// Asks one thing of the first host.
    pub fn ask_one(&mut self, tenant: usize, key: Option<String>, what: What) -> Answer {
        let request = self.request(tenant, key, what);
        self.ask(&[(0, request)]).remove(0)
    }

    /// How many requests there were.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Kills them all, and starts as many.
    pub fn replace(&mut self) {
        for host in &mut self.hosts {
            host.kill();
        }
        for place in 0..self.hosts.len() {
            // Its end is the last that is heard of each.
            while self.events.1.recv_timeout(SILENCE).expect("their ends").said.is_some() {}
            self.hosts[place] = self.ground.start(place, &self.events.0).expect("a host");
        }
    }
}

/// The reservation's id.
pub fn reserved(answer: &Answer) -> Uuid {
    match answer {
        Answer::Reserved { id, .. } => *id,
        other => panic!("{other:?}"),
    }
}
