//! What people are told: notices as they are kept, the channels that they go over, and what became of
//! each on its way.

pub(super) mod statements;

use std::future::Future;

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{Owner, StoreError, Tenant};

/// A notice as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptNotice {
    /// Whom it is about.
    pub tenant: Tenant,
    /// Its own; identifiers are in the order of instants.
    pub id: Uuid,
    /// When it was raised.
    pub at: Instant,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// What the engine keeps of it.
    pub body: Vec<u8>,
    /// When it was over; none: it is not.
    pub over_at: Option<Instant>,
    /// When somebody said that they have seen it, and who.
    pub acknowledged: Option<(Instant, String)>,
}

/// A channel that notices go over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRow {
    /// Whose: the platform's hear of all tenants.
    pub owner: Owner,
    /// As people call it.
    pub name: String,
    /// What it is: JSON.
    pub body: String,
}

/// What became of a notice on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is still to be delivered.
    Waits,
    /// It was.
    Delivered,
    /// It will not be, unless it is asked for anew.
    GivenUp,
}

impl DeliveryState {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::Waits => 1,
            Self::Delivered => 2,
            Self::GivenUp => 3,
        }
    }

    pub(super) fn read(code: i16) -> Option<Self> {
        [Self::Waits, Self::Delivered, Self::GivenUp].into_iter().find(|own| own.code() == code)
    }
}

/// A notice on its way over a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Whom the notice is about.
    pub tenant: Tenant,
    /// Which notice.
    pub notice: Uuid,
    /// Whose channel.
    pub channel_of: Owner,
    /// Which one.
    pub channel: String,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried: of two who try it, the later one has the word.
    pub attempts: i32,
    /// When it is to be tried next.
    pub due_at: Instant,
    /// Why it was not delivered, in words.
    pub error: Option<String>,
}

/// How much is taken at a time of what is due, so that nobody's channels hold up those of others.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// So many channels of one owner, those that are busy among them; who has waited longest first.
    pub channels_of_owner: u32,
    /// So many deliveries of a channel.
    pub of_channel: u32,
    /// So many deliveries in all.
    pub in_all: u32,
}

/// Keeps what people are told. Nothing here moves a head: no decision depends on it.
pub trait NoticeStore: Send + Sync + 'static {
    /// A tenant's notices, the last first, from before one of them: a page. Open ones are neither over
    /// nor acknowledged.
    fn notices(
        &self,
        tenant: &Tenant,
        before: Option<Uuid>,
        open: bool,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<KeptNotice>, StoreError>> + Send;

    /// A tenant's notices in their order, after one of them: a page.
    fn notices_after(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<KeptNotice>, StoreError>> + Send;

    /// One of them.
    fn notice(
        &self,
        tenant: &Tenant,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<KeptNotice>, StoreError>> + Send;

    /// Somebody has seen it; false: there is none that was not acknowledged before.
    fn acknowledge(
        &self,
        tenant: &Tenant,
        id: Uuid,
        who: &str,
        at: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps a channel, in place of the one of its name.
    fn put_channel(
        &self,
        channel: &ChannelRow,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes a channel; false: there is none.
    fn remove_channel(
        &self,
        owner: &Owner,
        name: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// An owner's channels, in the order of their names.
    fn channels(
        &self,
        owner: &Owner,
    ) -> impl Future<Output = Result<Vec<ChannelRow>, StoreError>> + Send;

    /// Notices of any tenant that were handed to no channel yet: some of them.
    fn new_notices(
        &self,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<KeptNotice>, StoreError>> + Send;

    /// Hands a notice to channels: once, however many hosts do.
    fn hand_over(
        &self,
        tenant: &Tenant,
        notice: Uuid,
        deliveries: &[DeliveryRow],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes some deliveries that are due, each for one try: until then nobody else takes them; of
    /// channels that are busy none.
    fn take_due(
        &self,
        now: Instant,
        until: Instant,
        busy: &[(Owner, String)],
        portion: Portion,
    ) -> impl Future<Output = Result<Vec<DeliveryRow>, StoreError>> + Send;

    /// What became of the how-manieth try; false: somebody else has tried since.
    fn tried(
        &self,
        attempt: i32,
        delivery: &DeliveryRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Puts off all that is due of a channel.
    fn put_off(
        &self,
        channel_of: &Owner,
        channel: &str,
        now: Instant,
        until: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Gives up what is due of a channel and was raised before an instant, and says why: how many.
    fn give_up(
        &self,
        channel_of: &Owner,
        channel: &str,
        now: Instant,
        raised_before: Instant,
        words: &str,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// A tenant's deliveries, the last notices first, from before one of them: a page of whole
    /// notices. Of those that were given up, or all.
    fn deliveries(
        &self,
        tenant: &Tenant,
        before: Option<Uuid>,
        given_up: bool,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<DeliveryRow>, StoreError>> + Send;

    /// Tries deliveries of a tenant anew that were given up, of one notice or of all, over an owner's
    /// channels or all: how many.
    fn replay(
        &self,
        tenant: &Tenant,
        notice: Option<Uuid>,
        channel_of: Option<&Owner>,
        now: Instant,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Takes a duty for a tenant until then, unless somebody has it: up to when it was done.
    fn take_duty(
        &self,
        tenant: &Tenant,
        name: &str,
        now: Instant,
        until: Instant,
    ) -> impl Future<Output = Result<Option<Instant>, StoreError>> + Send;

    /// What was taken until then is done up to another instant, and anybody may take it again; unless
    /// somebody has.
    fn did_duty(
        &self,
        tenant: &Tenant,
        name: &str,
        taken_until: Instant,
        done_at: Instant,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
