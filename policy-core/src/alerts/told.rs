//! What follows from one observation.

use std::collections::BTreeSet;

use crate::contract::{Action, Notice};

pub struct Told {
    actions: Vec<Action>,
    /// Whether what is over is said as well.
    is_scheduled: bool,
    held: BTreeSet<String>,
    over: BTreeSet<String>,
}

impl Told {
    pub fn new(is_scheduled: bool) -> Self {
        let (actions, held, over) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { actions, is_scheduled, held, over }
    }

    pub fn is_scheduled(&self) -> bool {
        self.is_scheduled
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn raise(
        &mut self,
        key: impl Into<String>,
        counter: u32,
        severity: &str,
        (title, body): (String, String),
    ) {
        let (key, severity) = (key.into(), severity.into());
        let counter = Some(counter);
        self.act(Action::Raise(Notice { key, counter, severity, title, body, facts: Vec::new() }));
    }

    /// Whether what this key is about is so, or worse. Two limits on one counter share their keys:
    /// what one of them holds is not over.
    pub fn stands(&mut self, key: impl Into<String>, holds: bool) {
        if self.is_scheduled {
            let keys = if holds { &mut self.held } else { &mut self.over };
            keys.insert(key.into());
        }
    }

    pub fn into_actions(mut self) -> Vec<Action> {
        let over = self.over.difference(&self.held).cloned();
        self.actions.extend(over.map(Action::Resolve));
        self.actions
    }
}
