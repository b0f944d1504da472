//! A tenant's month as anyone would keep it on paper, beside hosts that do: whatever is asked, in
//! whatever order and of whichever host, both say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tollgate_host::engine::{
    Call, Host, HostError, Operation, Outcome, Recorded, Report, Setup, verify,
};
use tollgate_host::store::{Closure, SqliteStore};
use uuid::Uuid;

use crate::house::{House, acme, ask, call, limited, reserve_of, sqlite};
use crate::run;

const LIMIT: i64 = 1_000;
const TTL_MS: i64 = 5 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

#[derive(Clone, Debug)]
enum Step {
    Reserve(i64),
    /// Which of those that were reserved, whether it is still open or not.
    Settle(usize, i64),
    Release(usize),
    Extend(usize, i64),
    /// So much, so many days ago.
    Record(i64, i64),
    /// Which of those that were booked.
    Void(usize),
    /// So many hours pass.
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..600_i64).prop_map(Step::Reserve),
        2 => (0..8_usize, 0..700_i64).prop_map(|(which, amount)| Step::Settle(which, amount)),
        1 => (0..8_usize).prop_map(Step::Release),
        1 => (0..8_usize, 0..300_i64).prop_map(|(which, amount)| Step::Extend(which, amount)),
        1 => (1..300_i64, 0..40_i64).prop_map(|(amount, days)| Step::Record(amount, days)),
        1 => (0..8_usize).prop_map(Step::Void),
        2 => (0..200_i64).prop_map(Step::Wait),
    ]
}

/// On paper.
#[derive(Default)]
struct Paper {
    now: i64,
    used: BTreeMap<(i64, i64), i64>,
    reserved: Vec<Reserved>,
    booked: Vec<Booked>,
}

struct Reserved {
    id: Uuid,
    /// Of each month.
    holds: Vec<((i64, i64), i64)>,
    expires_at: i64,
    ended: Option<Closure>,
}

struct Booked {
    usage: Uuid,
    parts: Vec<((i64, i64), i64)>,
    voided: bool,
}

impl Paper {
    fn month(&self) -> (i64, i64) {
        month(self.now)
    }

    fn expire(&mut self) {
        for own in &mut self.reserved {
            if own.ended.is_none() && own.expires_at <= self.now {
                own.ended = Some(Closure::Expired);
            }
        }
    }

    fn fits(&self, amount: i64) -> bool {
        let month = self.month();
        let open = self.reserved.iter().filter(|own| own.ended.is_none());
        let held: i64 =
            open.flat_map(|own| &own.holds).filter(|(own, _)| *own == month).map(|(_, n)| n).sum();
        // What asks for nothing is asked like all else.
        self.used.get(&month).copied().unwrap_or_default() + held + amount <= LIMIT
    }

    /// Use fills what is held, the oldest first, and the rest lands in this month.
    fn settle(&mut self, which: usize, mut amount: i64) -> Vec<((i64, i64), i64)> {
        let this = self.month();
        let own = &mut self.reserved[which];
        let holds = if own.ended.is_none() { std::mem::take(&mut own.holds) } else { Vec::new() };
        own.ended = Some(Closure::Settled);
        let mut parts = Vec::new();
        for (month, held) in holds {
            parts.push((month, amount.min(held)));
            amount -= amount.min(held);
        }
        parts.push((this, amount));
        self.add(&parts, 1);
        parts
    }

    fn add(&mut self, parts: &[((i64, i64), i64)], sign: i64) {
        for (month, amount) in parts {
            *self.used.entry(*month).or_default() += sign * amount;
        }
    }
}

/// Year and month, in UTC.
fn month(at_ms: i64) -> (i64, i64) {
    let days = at_ms.div_euclid(DAY_MS);
    let (mut year, mut left) = (1970, days);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    loop {
        let length = 365 + i64::from(leap(year));
        if left < length {
            break;
        }
        left -= length;
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if left < length {
            return (year, month);
        }
        left -= length;
    }
    unreachable!("a day beyond its year")
}

fn tokens(amount: i64) -> Call {
    let amount = u32::try_from(amount).expect("an amount");
    call(&[("model", "gpt-4o")], &[("llm_tokens", amount), ("llm_tokens.input", amount)])
}

struct Both {
    house: House<SqliteStore>,
    hosts: Vec<Host>,
    turn: usize,
    paper: Paper,
}

impl Both {
    async fn ask(&mut self, operation: Operation) -> Result<Outcome, HostError> {
        self.turn += 1;
        ask(&self.hosts[self.turn % self.hosts.len()], operation).await
    }

    async fn take(&mut self, step: &Step) {
        self.paper.now = self.house.at();
        self.paper.expire();
        match *step {
            Step::Wait(hours) => self.house.advance(hours * 3_600_000),
            Step::Reserve(amount) => {
                let fits = self.paper.fits(amount);
                let outcome = self.ask(reserve_of(tokens(amount), TTL_MS)).await;
                let outcome = outcome.expect("an answer");
                let id = match outcome {
                    Outcome::Reserved(reserved) => Some(reserved.id),
                    _ => None,
                };
                assert_eq!(id.is_some(), fits, "{amount} at {:?}", self.paper.used);
                if let Some(id) = id {
                    let holds = vec![(self.paper.month(), amount)];
                    let expires_at = self.paper.now + TTL_MS;
                    self.paper.reserved.push(Reserved { id, holds, expires_at, ended: None });
                }
            }
            Step::Settle(which, amount) => {
                let Some(own) = self.paper.reserved.get(which) else { return };
                let (id, ended) = (own.id, own.ended);
                let used = tokens(amount).quantities;
                let outcome = self.ask(Operation::Settle { id, used }).await;
                match ended {
                    None | Some(Closure::Expired) => {
                        let Ok(Outcome::Settled(Recorded { usage, late, .. })) = outcome else {
                            panic!("{outcome:?}")
                        };
                        assert_eq!(late, ended.is_some());
                        let parts = self.paper.settle(which, amount);
                        self.paper.booked.push(Booked { usage, parts, voided: false });
                    }
                    Some(how) => assert_eq!(outcome, Err(HostError::Ended { id, how })),
                }
            }
            Step::Release(which) => {
                let Some(own) = self.paper.reserved.get_mut(which) else { return };
                let (id, ended) = (own.id, own.ended);
                own.ended = ended.or(Some(Closure::Released));
                let outcome = self.ask(Operation::Release { id }).await;
                match ended {
                    None => assert_eq!(outcome, Ok(Outcome::Released)),
                    Some(how) => assert_eq!(outcome, Err(HostError::Ended { id, how })),
                }
            }
            Step::Extend(which, amount) => {
                let fits = self.paper.fits(amount);
                let (now, month) = (self.paper.now, self.paper.month());
                let Some(own) = self.paper.reserved.get(which) else { return };
                let (id, ended) = (own.id, own.ended);
                let more = tokens(amount).quantities;
                let outcome = self.ask(Operation::Extend { id, more, ttl_ms: TTL_MS }).await;
                match (ended, outcome) {
                    (None, Ok(Outcome::Extended { .. })) if fits => {
                        let own = &mut self.paper.reserved[which];
                        own.holds.push((month, amount));
                        own.expires_at = now + TTL_MS;
                    }
                    (None, Ok(Outcome::Denied(_))) if !fits => {}
                    (Some(how), outcome) => {
                        assert_eq!(outcome, Err(HostError::Ended { id, how }));
                    }
                    (_, outcome) => panic!("{outcome:?}, and fits: {fits}"),
                }
            }
            Step::Record(amount, days) => {
                let used_at = self.paper.now - days * DAY_MS;
                let report = Report { call: tokens(amount), used_at: Some(used_at) };
                let outcome = self.ask(Operation::Record { reports: vec![report] }).await;
                let Ok(Outcome::Recorded(recorded)) = outcome else { panic!("{outcome:?}") };
                let parts = vec![(month(used_at), amount)];
                self.paper.add(&parts, 1);
                let usage = recorded[0].usage;
                self.paper.booked.push(Booked { usage, parts, voided: false });
            }
            Step::Void(which) => {
                let Some(own) = self.paper.booked.get_mut(which) else { return };
                let (usage, voided) = (own.usage, own.voided);
                let parts = own.parts.clone();
                own.voided = true;
                let reason = "told wrongly".into();
                let outcome = self.ask(Operation::Void { usage, reason }).await;
                if voided {
                    let how = Closure::Voided;
                    assert_eq!(outcome, Err(HostError::Ended { id: usage, how }));
                } else {
                    assert!(matches!(outcome, Ok(Outcome::Voided { .. })), "{outcome:?}");
                    self.paper.add(&parts, -1);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn hosts_say_what_a_month_on_paper_says(steps in prop::collection::vec(step(), 1..50)) {
        run(async move {
            let house = sqlite().await;
            let limits = format!(r#"[{{"meter":"llm_tokens","period":"month","limit":{LIMIT}}}]"#);
            let setup: Arc<Setup> = limited(&limits).into();
            let hosts = vec![house.host(&setup).await, house.host(&setup).await];
            let mut both = Both { house, hosts, turn: 0, paper: Paper::default() };
            for step in &steps {
                both.take(step).await;
            }
            let differences = verify(&*both.house.store, &acme(), None).await;
            assert_eq!(differences, Ok(Vec::new()));
        });
    }
}
