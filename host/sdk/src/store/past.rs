//! What may be forgotten once it is old enough, and where it stands.

/// A kind of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Decisions, and the batches that they were taken in.
    Decisions,
    /// Usages, and entries of the ledger.
    Ledger,
    /// How reservations ended, by when they did.
    Closures,
    /// Idempotency keys.
    Keys,
    /// Notices, and what became of them on their way.
    Notices,
    /// Roll-ups of a grouping and a grain.
    RollUps {
        /// By which dimensions.
        grouping: &'static str,
        /// How wide they are, in ms.
        grain_ms: i64,
    },
}

/// A table, and the columns of its key.
pub struct Table {
    pub name: &'static str,
    key: &'static str,
}

const fn table(name: &'static str, key: &'static str) -> Table {
    Table { name, key }
}

impl Past {
    /// What Postgres divides by months.
    pub(super) const DIVIDED: [Self; 2] = [Self::Decisions, Self::Ledger];

    /// Where it stands.
    pub(super) fn tables(self) -> &'static [Table] {
        const DECISIONS: [Table; 1] = [table("batch", "tenant_id, at, version, stamp")];
        const LEDGER: [Table; 2] =
            [table("entry", "tenant_id, at, id"), table("usage", "tenant_id, at, id")];
        const CLOSURES: [Table; 1] = [table("closure", "tenant_id, id")];
        const KEYS: [Table; 1] = [table("idempotency", "tenant_id, operation, key")];
        const NOTICES: [Table; 2] = [
            table("delivery", "tenant_id, notice, channel_of, channel"),
            table("notice", "tenant_id, id"),
        ];
        const ROLL_UPS: [Table; 1] = [table(
            "rollup",
            "tenant_id, grouping_name, grain_ms, opened, dimension_values, meter",
        )];
        match self {
            Self::Decisions => &DECISIONS,
            Self::Ledger => &LEDGER,
            Self::Closures => &CLOSURES,
            Self::Keys => &KEYS,
            Self::Notices => &NOTICES,
            Self::RollUps { .. } => &ROLL_UPS,
        }
    }

    /// Statements that delete a few rows each. `$1` is whose, `$2` and `$3` from when until when,
    /// `$4` how many; of closures and notices `$5` is the first identifier of `$3`, of roll-ups `$5` and `$6`
    /// say which. What is divided stands in the tables of this suffix.
    pub(super) fn deletions(self, suffix: &str) -> impl Iterator<Item = String> {
        let (which, suffix) = match self {
            Self::Decisions | Self::Ledger => ("at >= $2 AND at < $3", suffix.to_owned()),
            Self::Keys => ("at >= $2 AND at < $3", String::new()),
            // Identifiers begin with when notices were raised: so the key is enough.
            Self::Notices => ("at >= $2 AND at < $3 AND {id} < $5", String::new()),
            // Whatever ended before an instant began before it: so the key is enough.
            Self::Closures => ("at >= $2 AND at < $3 AND id < $5", String::new()),
            Self::RollUps { .. } => (
                "opened >= $2 AND opened < $3 AND grouping_name = $5 AND grain_ms = $6",
                String::new(),
            ),
        };
        self.tables().iter().map(move |Table { name, key }| {
            let name = format!("{name}{suffix}");
            let which = which.replace("{id}", if name == "delivery" { "notice" } else { "id" });
            format!(
                "DELETE FROM {name} WHERE tenant_id = $1 AND ({key}) IN \
                 (SELECT {key} FROM {name} WHERE tenant_id = $1 AND {which} LIMIT $4)"
            )
        })
    }
}
