//! What a test meant to ask and what it was told, written down outside of the system. An intent is
//! on the disk before its request is sent; an answer is written once it has come.

use std::collections::{HashMap, hash_map::Entry};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};

use serde::{Deserialize, Serialize};
use tollgate_tests::embedded::{Answer, Reply, Request, Trouble};

/// The journal of a test.
pub struct Journal {
    file: File,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Intent(Request),
    Answer(Reply),
}

/// What stands in a journal.
pub struct Account {
    pub intents: Vec<Request>,
    /// The last word on each; where the same was asked twice, all answers were the same.
    pub answers: HashMap<u64, Answer>,
}

impl Journal {
    pub fn new() -> Self {
        Self { file: tempfile::tempfile().expect("a journal") }
    }

    /// Before these are sent.
    pub fn intend<'a>(&mut self, requests: impl IntoIterator<Item = &'a Request>) {
        let mut text = Vec::new();
        for request in requests {
            line(&mut text, &Line::Intent(request.clone()));
        }
        self.file.write_all(&text).expect("written down");
        self.file.sync_data().expect("on the disk");
    }

    /// After these have come.
    pub fn acknowledge(&mut self, replies: &[Reply]) {
        let mut text = Vec::new();
        for reply in replies {
            line(&mut text, &Line::Answer(reply.clone()));
        }
        self.file.write_all(&text).expect("written down");
    }

    /// Reads it all.
    pub fn account(&mut self) -> Account {
        self.file.rewind().expect("its beginning");
        let (mut intents, mut answers) = (Vec::new(), HashMap::new());
        for text in BufReader::new(&self.file).lines() {
            match serde_json::from_str(&text.expect("a line")).expect("a line of the journal") {
                Line::Intent(request) => intents.push(request),
                Line::Answer(Reply { number, answer }) => match answers.entry(number) {
                    Entry::Vacant(entry) => {
                        entry.insert(answer);
                    }
                    Entry::Occupied(mut entry) if matches!(entry.get(), Answer::None(..)) => {
                        entry.insert(answer);
                    }
                    Entry::Occupied(entry) => {
                        let told = matches!(answer, Answer::None(..)) || *entry.get() == answer;
                        assert!(told, "asked again: {answer:?}, before: {:?}", entry.get());
                    }
                },
            }
        }
        Account { intents, answers }
    }
}

impl Account {
    /// What a request was answered, if it was.
    pub fn told(&self, request: &Request) -> Option<&Answer> {
        self.answers.get(&request.number).filter(|answer| !matches!(answer, Answer::None(..)))
    }

    /// Whether it may have had an effect that nobody was told of.
    pub fn unknown(&self, request: &Request) -> bool {
        match self.answers.get(&request.number) {
            None => true,
            Some(Answer::None(trouble, _)) => *trouble == Trouble::Lost,
            Some(_) => false,
        }
    }
}

fn line(text: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *text, line).expect("a line is JSON");
    text.push(b'\n');
}
