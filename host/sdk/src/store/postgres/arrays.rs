//! Rows as the arrays that statements unnest: one element a row in each.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use crate::store::rows::{DUE_MAX, LatestKey, Need, Write};

type Statement<'a> = Query<'a, Postgres, PgArguments>;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name<'a> { $($column: Vec<$ty>),* }

        impl<'a> $name<'a> {
            /// Binds the columns in the order in which they stand above.
            pub fn bind(self, statement: Statement<'a>) -> Statement<'a> {
                statement$(.bind(self.$column))*
            }
        }
    };
}

columns! {
    /// The parameters of `write.sql`, but for the last one.
    Writes {
        tenants: &'a str,
        versions: i64,
        stamps: i64,
        next_stamps: i64,
        instants: i64,
        moves: bool,
        allowed: String,
        denied: String,
        bodies: &'a [u8],
        row_counts: i64,

        latest_places: i64,
        latest_per: &'a str,
        latest_values: &'a str,
        latest_totals: String,
        latest_is_new: bool,

        counter_places: i64,
        counters: i64,
        counter_values: &'a str,
        counter_opened: i64,
        counter_used: rust_decimal::Decimal,
        counter_held: rust_decimal::Decimal,

        account_places: i64,
        accounts: &'a str,
        account_currencies: &'a str,
        account_balances: rust_decimal::Decimal,
        account_held: rust_decimal::Decimal,
        account_is_new: bool,

        hold_places: i64,
        hold_ids: Uuid,
        hold_expiries: i64,
        hold_bodies: &'a [u8],
        hold_is_new: bool,

        closure_places: i64,
        closure_ids: Uuid,
        closure_held: bool,
        closure_hows: i16,
        closure_bodies: &'a [u8],

        run_places: i64,
        run_ids: Uuid,
        run_users: &'a str,
        run_started: i64,
        run_ended: Option<i64>,
        run_bodies: &'a [u8],

        key_places: i64,
        key_operations: &'a str,
        keys: &'a str,
        key_hashes: &'a [u8],
        key_answers: &'a [u8],

        record_places: i64,
        record_kinds: &'a str,
        record_names: &'a str,
        record_bodies: Option<&'a [u8]>,

        usage_places: i64,
        usage_ordinals: i32,
        usage_ids: Uuid,
        usage_reservations: Option<Uuid>,
        usage_instants: i64,
        usage_late: bool,
        usage_overshoot: bool,
        usage_bodies: &'a [u8],

        entry_places: i64,
        entry_ordinals: i32,
        entry_ids: Uuid,
        entry_usages: Option<Uuid>,
        entry_accounts: &'a str,
        entry_kinds: &'a str,
        entry_amounts: rust_decimal::Decimal,
        entry_currencies: &'a str,
        entry_bodies: &'a [u8],

        notice_places: i64,
        notices: Uuid,
        notice_severities: &'a str,
        notice_bodies: &'a [u8],
        notice_is_over: bool,

        turned_places: i64,
        turned: Uuid,
        turned_is_over: bool,
    }
}

columns! {
    /// The parameters of `read.sql`, but for the last one.
    Needs {
        tenants: &'a str,
        whole: bool,
        due: Option<Instant>,

        counter_places: i64,
        counters: i64,
        counter_values: &'a str,
        counter_opened: i64,

        latest_places: i64,
        latest_per: &'a str,
        latest_values: &'a str,

        hold_places: i64,
        hold_ids: Uuid,

        key_places: i64,
        key_operations: &'a str,
        keys: &'a str,
    }
}

impl<'a> Writes<'a> {
    pub fn of(writes: &'a [Write]) -> Self {
        let mut columns = Self::default();
        for (place, write) in (1..).zip(writes) {
            columns.push(place, write);
        }
        columns
    }

    fn push(&mut self, place: i64, write: &'a Write) {
        self.tenants.push(write.tenant.as_str());
        self.versions.push(write.expected.version);
        self.stamps.push(write.expected.stamp);
        self.next_stamps.push(write.next.stamp);
        self.instants.push(write.next.at);
        self.moves.push(write.moves());
        self.allowed.push(array(&write.allowed));
        self.denied.push(array(&write.denied));
        self.bodies.push(&write.body);
        self.row_counts.push(row_count(write));
        for (row, is_new) in told_apart(&write.new_latest, &write.latest) {
            self.latest_places.push(place);
            self.latest_per.push(&row.key.per);
            self.latest_values.push(&row.key.values);
            self.latest_totals.push(row.written());
            self.latest_is_new.push(is_new);
        }
        for row in &write.counters {
            self.counter_places.push(place);
            self.counters.push(row.counter);
            self.counter_values.push(&row.values);
            self.counter_opened.push(row.opened);
            self.counter_used.push(row.total.used.into());
            self.counter_held.push(row.total.held.into());
        }
        for (row, is_new) in told_apart(&write.new_accounts, &write.accounts) {
            self.account_places.push(place);
            self.accounts.push(&row.account);
            self.account_currencies.push(&row.currency);
            self.account_balances.push(row.balance.into());
            self.account_held.push(row.held.into());
            self.account_is_new.push(is_new);
        }
        for (row, is_new) in told_apart(&write.new_holds, &write.holds) {
            self.hold_places.push(place);
            self.hold_ids.push(row.id);
            self.hold_expiries.push(row.expires_at);
            self.hold_bodies.push(&row.body);
            self.hold_is_new.push(is_new);
        }
        for row in &write.closures {
            self.closure_places.push(place);
            self.closure_ids.push(row.id);
            self.closure_held.push(row.held);
            self.closure_hows.push(row.how.code());
            self.closure_bodies.push(&row.body);
        }
        for row in &write.runs {
            self.run_places.push(place);
            self.run_ids.push(row.id);
            self.run_users.push(&row.user);
            self.run_started.push(row.started_at);
            self.run_ended.push(row.ended_at);
            self.run_bodies.push(&row.body);
        }
        for row in &write.keys {
            self.key_places.push(place);
            self.key_operations.push(&row.operation);
            self.keys.push(&row.key);
            self.key_hashes.push(&row.hash);
            self.key_answers.push(&row.answer);
        }
        for row in &write.records {
            self.record_places.push(place);
            self.record_kinds.push(&row.kind);
            self.record_names.push(&row.name);
            self.record_bodies.push(row.body.as_deref());
        }
        self.push_events(place, write);
    }

    fn push_events(&mut self, place: i64, write: &'a Write) {
        for (ordinal, row) in (0..).zip(&write.usages) {
            self.usage_places.push(place);
            self.usage_ordinals.push(ordinal);
            self.usage_ids.push(row.id);
            self.usage_reservations.push(row.reservation);
            self.usage_instants.push(row.used_at);
            self.usage_late.push(row.late);
            self.usage_overshoot.push(row.overshoot);
            self.usage_bodies.push(&row.body);
        }
        for (ordinal, row) in (0..).zip(&write.entries) {
            self.entry_places.push(place);
            self.entry_ordinals.push(ordinal);
            self.entry_ids.push(row.id);
            self.entry_usages.push(row.usage);
            self.entry_accounts.push(&row.account);
            self.entry_kinds.push(&row.kind);
            self.entry_amounts.push(row.amount.into());
            self.entry_currencies.push(&row.currency);
            self.entry_bodies.push(&row.body);
        }
        for row in &write.notices {
            self.notice_places.push(place);
            self.notices.push(row.id);
            self.notice_severities.push(&row.severity);
            self.notice_bodies.push(&row.body);
            self.notice_is_over.push(row.is_over);
        }
        for (id, is_over) in &write.turned {
            self.turned_places.push(place);
            self.turned.push(*id);
            self.turned_is_over.push(*is_over);
        }
    }
}

fn told_apart<'a, T>(new: &'a [T], known: &'a [T]) -> impl Iterator<Item = (&'a T, bool)> {
    new.iter().map(|row| (row, true)).chain(known.iter().map(|row| (row, false)))
}

/// An array as a value of another array, which Postgres reads as text.
fn array(ids: &[Uuid]) -> String {
    let mut text = String::with_capacity(2 + ids.len() * 37);
    text.push('{');
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
    }
    text.push('}');
    text
}

/// How many rows `write.sql` must count for this batch: with its own and the head's; of records
/// their changes. Notices that turn may be gone.
fn row_count(write: &Write) -> i64 {
    let held = write.closures.iter().filter(|closure| closure.held).count();
    let rows = 1
        + usize::from(write.moves())
        + write.new_latest.len()
        + write.latest.len()
        + write.counters.len()
        + write.new_accounts.len()
        + write.accounts.len()
        + write.new_holds.len()
        + write.holds.len()
        + held
        + write.closures.len()
        + write.runs.len()
        + write.keys.len()
        + write.records.len()
        + write.usages.len()
        + write.entries.len()
        + write.notices.len();
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Binds the parameters of `read.sql`.
pub fn bind_needs<'a>(needs: &'a [Need], statement: Statement<'a>) -> Statement<'a> {
    let mut columns = Needs::default();
    for (place, need) in (1..).zip(needs) {
        columns.tenants.push(need.tenant.as_str());
        columns.whole.push(need.whole);
        columns.due.push(need.due);
        for since in &need.counters {
            columns.counter_places.push(place);
            columns.counters.push(since.counter);
            columns.counter_values.push(&since.values);
            columns.counter_opened.push(since.opened);
        }
        for LatestKey { per, values } in &need.latest {
            columns.latest_places.push(place);
            columns.latest_per.push(per);
            columns.latest_values.push(values);
        }
        for id in &need.holds {
            columns.hold_places.push(place);
            columns.hold_ids.push(*id);
        }
        for (operation, key) in &need.keys {
            columns.key_places.push(place);
            columns.key_operations.push(operation);
            columns.keys.push(key);
        }
    }
    columns.bind(statement).bind(i64::try_from(DUE_MAX).unwrap_or(i64::MAX))
}
