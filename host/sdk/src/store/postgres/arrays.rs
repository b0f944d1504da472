//! Rows as the arrays that statements unnest: one element a row in each.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use uuid::Uuid;

use crate::store::rows::{Need, Write};

type Statement = Query<'static, Postgres, PgArguments>;

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name { $($column: Vec<$ty>),* }

        impl $name {
            /// Binds the columns in the order in which they stand above.
            pub fn bind(self, statement: Statement) -> Statement {
                statement$(.bind(self.$column))*
            }
        }
    };
}

columns! {
    /// The parameters of `write.sql`.
    Writes {
        tenants: String,
        versions: i64,
        stamps: i64,
        next_stamps: i64,
        instants: i64,
        row_counts: i64,

        counter_places: i64,
        counters: i64,
        counter_values: String,
        counter_opened: i64,
        counter_used: rust_decimal::Decimal,
        counter_held: rust_decimal::Decimal,

        hold_places: i64,
        hold_ids: Uuid,
        hold_expiries: i64,
        hold_bodies: Vec<u8>,

        closure_places: i64,
        closure_ids: Uuid,
        closure_hows: i16,
        closure_bodies: Vec<u8>,
        closure_held: bool,

        key_places: i64,
        key_operations: String,
        keys: String,
        key_hashes: Vec<u8>,
        key_answers: Vec<u8>,

        record_places: i64,
        record_kinds: String,
        record_names: String,
        record_bodies: Option<Vec<u8>>,

        decision_places: i64,
        decision_ordinals: i32,
        decision_ids: Uuid,
        decision_allowed: bool,
        decision_bodies: Vec<u8>,

        usage_places: i64,
        usage_ordinals: i32,
        usage_ids: Uuid,
        usage_instants: i64,
        usage_late: bool,
        usage_bodies: Vec<u8>,

        entry_places: i64,
        entry_ordinals: i32,
        entry_ids: Uuid,
        entry_accounts: String,
        entry_kinds: String,
        entry_amounts: rust_decimal::Decimal,
        entry_currencies: String,
        entry_bodies: Vec<u8>,
    }
}

columns! {
    /// The parameters of `read.sql`.
    Needs {
        tenants: String,
        records: bool,

        counter_places: i64,
        counters: i64,
        counter_values: String,
        counter_opened: i64,

        hold_places: i64,
        hold_ids: Uuid,

        key_places: i64,
        key_operations: String,
        keys: String,
    }
}

impl Writes {
    pub fn of(writes: &[Write]) -> Self {
        let mut columns = Self::default();
        for (place, write) in (1..).zip(writes) {
            columns.push(place, write);
        }
        columns
    }

    fn push(&mut self, place: i64, write: &Write) {
        self.tenants.push(write.tenant.as_str().to_owned());
        self.versions.push(write.expected.version);
        self.stamps.push(write.expected.stamp);
        self.next_stamps.push(write.next.stamp);
        self.instants.push(write.next.at);
        self.row_counts.push(row_count(write));
        for row in &write.counters {
            self.counter_places.push(place);
            self.counters.push(row.counter);
            self.counter_values.push(row.values.clone());
            self.counter_opened.push(row.opened);
            self.counter_used.push(row.total.used.into());
            self.counter_held.push(row.total.held.into());
        }
        for row in &write.holds {
            self.hold_places.push(place);
            self.hold_ids.push(row.id);
            self.hold_expiries.push(row.expires_at);
            self.hold_bodies.push(row.body.clone());
        }
        for row in &write.closures {
            self.closure_places.push(place);
            self.closure_ids.push(row.id);
            self.closure_hows.push(row.how.code());
            self.closure_bodies.push(row.body.clone());
            self.closure_held.push(row.held);
        }
        for row in &write.keys {
            self.key_places.push(place);
            self.key_operations.push(row.operation.clone());
            self.keys.push(row.key.clone());
            self.key_hashes.push(row.hash.to_vec());
            self.key_answers.push(row.answer.clone());
        }
        for row in &write.records {
            self.record_places.push(place);
            self.record_kinds.push(row.kind.clone());
            self.record_names.push(row.name.clone());
            self.record_bodies.push(row.body.clone());
        }
        for (ordinal, row) in (0..).zip(&write.decisions) {
            self.decision_places.push(place);
            self.decision_ordinals.push(ordinal);
            self.decision_ids.push(row.id);
            self.decision_allowed.push(row.allowed);
            self.decision_bodies.push(row.body.clone());
        }
        for (ordinal, row) in (0..).zip(&write.usages) {
            self.usage_places.push(place);
            self.usage_ordinals.push(ordinal);
            self.usage_ids.push(row.id);
            self.usage_instants.push(row.used_at);
            self.usage_late.push(row.late);
            self.usage_bodies.push(row.body.clone());
        }
        for (ordinal, row) in (0..).zip(&write.entries) {
            self.entry_places.push(place);
            self.entry_ordinals.push(ordinal);
            self.entry_ids.push(row.id);
            self.entry_accounts.push(row.account.clone());
            self.entry_kinds.push(row.kind.clone());
            self.entry_amounts.push(row.amount.into());
            self.entry_currencies.push(row.currency.clone());
            self.entry_bodies.push(row.body.clone());
        }
    }
}

/// How many rows `write.sql` must count for this batch: its own among them, records not.
fn row_count(write: &Write) -> i64 {
    let held = write.closures.iter().filter(|closure| closure.held).count();
    let rows = 1
        + write.counters.len()
        + write.holds.len()
        + held
        + write.closures.len()
        + write.keys.len()
        + write.decisions.len()
        + write.usages.len()
        + write.entries.len();
    i64::try_from(rows).unwrap_or(i64::MAX)
}

impl Needs {
    pub fn of(needs: &[Need]) -> Self {
        let mut columns = Self::default();
        for (place, need) in (1..).zip(needs) {
            columns.tenants.push(need.tenant.as_str().to_owned());
            columns.records.push(need.records);
            for since in &need.counters {
                columns.counter_places.push(place);
                columns.counters.push(since.counter);
                columns.counter_values.push(since.values.clone());
                columns.counter_opened.push(since.opened);
            }
            for id in &need.holds {
                columns.hold_places.push(place);
                columns.hold_ids.push(*id);
            }
            for (operation, key) in &need.keys {
                columns.key_places.push(place);
                columns.key_operations.push(operation.clone());
                columns.keys.push(key.clone());
            }
        }
        columns
    }
}
