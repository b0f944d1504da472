//! Provider drift: what a provider invoiced for a day, beside what was computed of it. Whoever has the
//! invoice brings the figure; people are told once for each provider, model and day.

use chrono::{NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Money};

use super::book::Book;
use super::host::{Host, HostError};
use super::matters;
use super::notices::{NoticeBody, Told};
use super::operation::{Operation, Outcome};
use super::rollup::{GRAINS_MS, follow};
use super::tariff::Tariff;
use crate::store::{Store, Tenant};

const DAY_MS: i64 = 86_400_000;

/// So long after a day its invoice may be brought: until then what was told of it can be over, and be so
/// again.
const DAYS: i64 = 45;

/// What a provider invoiced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoiced {
    /// Who did, as calls name it.
    pub provider: String,
    /// For which model; none: for all of them.
    pub model: Option<String>,
    /// For which day, in UTC.
    pub day: NaiveDate,
    /// How much; zero or more.
    pub money: Money,
}

/// What was invoiced beside what was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What the provider says.
    pub invoiced: Invoiced,
    /// What calls of that day cost, in the invoice's currency.
    pub computed: Money,
    /// Whether they lie further apart than they may.
    pub exceeds: bool,
}

impl Invoiced {
    /// What of calls it is for.
    pub(super) fn dimensions(&self) -> Vec<Dimension> {
        let own =
            |name: &str, value: &String| Dimension { name: name.into(), value: value.clone() };
        let model = self.model.iter().map(|model| own("model", model));
        model.chain([own("provider", &self.provider)]).collect()
    }

    /// Under this key people are told of it.
    pub(super) fn notice(&self) -> String {
        let Self { provider, model, day, .. } = self;
        format!("provider_drift:{provider}:{}:{day}", model.as_deref().unwrap_or("*"))
    }

    /// From when on until when its day is.
    pub(super) fn span(&self) -> (Instant, Instant) {
        let opened = self.day.and_time(NaiveTime::MIN).and_utc().timestamp_millis();
        (opened, opened.saturating_add(DAY_MS))
    }

    /// When what was told of it is over in any case.
    fn closes(&self) -> Instant {
        self.span().1.saturating_add(DAYS * DAY_MS)
    }

    fn check(&self, at: Instant) -> Result<(), HostError> {
        let day = self.day;
        if self.span().0 > at {
            return Err(HostError::Malformed(format!(
                "`{day}` has not begun: compare what was invoiced for it"
            )));
        }
        if self.closes() <= at {
            return Err(HostError::Malformed(format!(
                "`{day}` is over for more than {DAYS} days: compare later ones"
            )));
        }
        Ok(())
    }
}

impl Book {
    /// Says which invoices drift, and of which that is over.
    pub fn reconcile(&mut self, drifts: &[Drift]) -> Result<Outcome, HostError> {
        let at = self.at();
        drifts.iter().try_for_each(|drift| drift.invoiced.check(at))?;
        self.touched = true;
        for drift in drifts {
            let (key, whose) = (drift.invoiced.notice(), drift.invoiced.dimensions());
            if drift.exceeds {
                let (opened, closes) = drift.invoiced.span();
                let notice = self.judge.word(key.clone(), &matters::drifted(drift), whose.clone());
                let notice = NoticeBody { period: Some((opened, Some(closes))), ..notice };
                let told = Told { policy: String::new(), key, period: Some((opened, whose)) };
                let notices = &mut self.judge.records.notices;
                notices.raise(told, Some(drift.invoiced.closes()), at, || notice);
            } else {
                self.judge.records.notices.resolve("", &key, &whose);
            }
        }
        Ok(Outcome::Reconciled)
    }
}

/// Compares an invoice with what was computed up to now, and has people told where they lie further
/// apart than this fraction of what was invoiced; or that this is over.
pub async fn drift<S: Store>(
    host: &Host,
    store: &S,
    tenant: &Tenant,
    invoiced: &Invoiced,
    threshold: Decimal,
) -> Result<Drift, HostError> {
    if threshold.is_negative() || threshold > Decimal::ONE {
        return Err(HostError::Malformed(format!(
            "the threshold {threshold} is not a fraction: write 0.05 for 5 %"
        )));
    }
    let Money { amount, currency } = invoiced.money;
    let computed = computed(store, tenant, invoiced).await?;
    let apart = amount.checked_sub(computed)?;
    let apart = if apart.is_negative() { apart.negated() } else { apart };
    let drift = Drift {
        invoiced: invoiced.clone(),
        computed: Money::new(computed, currency),
        exceeds: apart.cmp_product(amount, threshold).is_gt(),
    };
    let drifts = vec![drift.clone()];
    host.ask(tenant, None, Operation::Reconcile { drifts }).await?;
    Ok(drift)
}

/// What calls of the day cost, of those that the invoice is for.
async fn computed<S: Store>(
    store: &S,
    tenant: &Tenant,
    invoiced: &Invoiced,
) -> Result<Decimal, HostError> {
    follow(store, tenant).await?;
    let (opened, closes) = invoiced.span();
    let [_, grain] = GRAINS_MS;
    let rows = store.rollups(tenant, "model", None, grain, opened..closes).await?;
    let meter = Tariff::Cost.meter(invoiced.money.currency);
    let is_meant = |values: &str| match serde_json::from_str::<[String; 2]>(values) {
        Ok([model, provider]) => {
            provider == invoiced.provider && invoiced.model.as_ref().is_none_or(|own| *own == model)
        }
        Err(_) => false,
    };
    let meant = rows.iter().filter(|row| row.meter == meter && is_meant(&row.values));
    // Beyond bounds rows stand at the greatest amount, and so does what they come to.
    Ok(meant.map(|row| row.amount).fold(Decimal::ZERO, Decimal::saturating_add))
}
