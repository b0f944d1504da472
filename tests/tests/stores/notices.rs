//! What people are told is kept, handed over once, and tried by one at a time.

use futures_util::future::join_all;
use tollgate_host::store::{
    ChannelRow, DeliveryRow, DeliveryState, NoticeRow, Owner, Past, Portion, Store, Tenant, Written,
};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::conformance::{BORN, born, id, write};

fn notice(number: u128) -> NoticeRow {
    NoticeRow {
        id: id(number),
        severity: "warning".into(),
        body: b"\0told".to_vec(),
        is_over: false,
    }
}

fn delivery(tenant: &Tenant, notice: u128, channel: &str, due_at: Instant) -> DeliveryRow {
    DeliveryRow {
        tenant: tenant.clone(),
        notice: id(notice),
        channel_of: Owner::Platform,
        channel: channel.into(),
        state: DeliveryState::Waits,
        attempts: 0,
        due_at,
        error: None,
    }
}

/// So many of a channel, and in all; of an owner as many channels as there are.
fn some(of_channel: u32, in_all: u32) -> Portion {
    Portion { channels_of_owner: 99, of_channel, in_all }
}

/// A tenant with these notices, raised at 10.
async fn told<S: Store>(store: &S, name: &str, numbers: &[u128]) -> Tenant {
    let tenant = born(store, name).await;
    let mut raised = write(&tenant, BORN, 1);
    raised.notices = numbers.iter().map(|number| notice(*number)).collect();
    assert_eq!(store.write(&[raised]).await, [Ok(Written::Committed)]);
    tenant
}

pub async fn a_notice_is_kept_until_it_is_over_or_seen<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1, 2, 3]).await;
    let zen = told(store, "zen", &[1]).await;
    // In the batch that ends it, and of one that is gone: nothing hangs on that.
    let mut next = write(&acme, write(&acme, BORN, 1).next, 2);
    next.turned = vec![(id(2), true), (id(99), true)];
    next.notices = vec![NoticeRow { is_over: true, ..notice(4) }];
    assert_eq!(store.write(&[next]).await, [Ok(Written::Committed)]);
    assert_eq!(store.acknowledge(&acme, id(3), "ana", 77).await, Ok(true));
    assert_eq!(store.acknowledge(&acme, id(3), "ben", 78).await, Ok(false));
    assert_eq!(store.acknowledge(&zen, id(3), "ben", 78).await, Ok(false));
    let all = store.notices(&acme, None, false, 9).await.expect("a page");
    let states: Vec<_> =
        all.iter().map(|own| (own.id, own.at, own.over_at, own.acknowledged.clone())).collect();
    let seen = Some((77, "ana".to_owned()));
    let wanted = [
        (id(4), 20, Some(20), None),
        (id(3), 10, None, seen),
        (id(2), 10, Some(20), None),
        (id(1), 10, None, None),
    ];
    assert_eq!(states, wanted);
    assert!(all.iter().all(|own| own.body == b"\0told" && own.severity == "warning"));
    let ids = |page: Vec<tollgate_host::store::KeptNotice>| -> Vec<Uuid> {
        page.into_iter().map(|own| own.id).collect()
    };
    assert_eq!(ids(store.notices(&acme, None, true, 9).await.expect("a page")), [id(1)]);
    assert_eq!(ids(store.notices(&acme, Some(id(3)), false, 1).await.expect("a page")), [id(2)]);
    assert_eq!(ids(store.notices_after(&acme, id(2), 9).await.expect("a page")), [id(3), id(4)]);
    assert_eq!(store.notice(&zen, id(2)).await, Ok(None));
    // Old ones go with what became of them.
    assert_eq!(store.forget(&acme, Past::Notices, Instant::MIN..20, 9).await, Ok(false));
    assert_eq!(ids(store.notices(&acme, None, false, 9).await.expect("a page")), [id(4)]);
    assert_eq!(ids(store.notices(&zen, None, false, 9).await.expect("a page")), [id(1)]);
}

pub async fn a_notice_is_handed_over_once_however_many_do<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1, 2]).await;
    assert_eq!(store.new_notices(9).await.expect("some").len(), 2);
    let deliveries = ["a", "b"].map(|name| delivery(&acme, 1, name, 5));
    let all = (0..8).map(|_| store.hand_over(&acme, id(1), &deliveries));
    assert!(join_all(all).await.into_iter().all(|handed| handed.is_ok()));
    let left = store.new_notices(9).await.expect("some");
    assert_eq!(left.iter().map(|own| own.id).collect::<Vec<_>>(), [id(2)]);
    let kept = store.deliveries(&acme, None, false, 9).await.expect("a page");
    assert_eq!(kept, deliveries);
    // One that goes nowhere is handed over as well.
    store.hand_over(&acme, id(2), &[]).await.expect("handed over");
    assert_eq!(store.new_notices(9).await, Ok(Vec::new()));
}

pub async fn a_delivery_is_tried_by_one_at_a_time<S: Store>(store: &S) {
    let numbers: Vec<u128> = (1..=20).collect();
    let acme = told(store, "acme", &numbers).await;
    for number in &numbers {
        let due = delivery(&acme, *number, "ops", 100);
        store.hand_over(&acme, id(*number), &[due]).await.expect("handed over");
    }
    assert_eq!(store.take_due(99, 500, &[], some(99, 99)).await, Ok(Vec::new()));
    let taken = join_all((0..8).map(|_| store.take_due(100, 500, &[], some(99, 4)))).await;
    let mut taken: Vec<DeliveryRow> =
        taken.into_iter().flat_map(|some| some.expect("some")).collect();
    // Whoever found all locked by others took nothing; what is left is taken after that.
    taken.extend(store.take_due(100, 500, &[], some(99, 99)).await.expect("the rest"));
    taken.sort_by_key(|own| own.notice);
    let notices: Vec<u128> = taken.iter().map(|own| own.notice.as_u128()).collect();
    assert_eq!(notices, numbers);
    assert!(taken.iter().all(|own| own.attempts == 1 && own.due_at == 500));
    // Who took so long that another one tried has no say.
    let slow = DeliveryRow { state: DeliveryState::GivenUp, ..taken[0].clone() };
    let again = store.take_due(500, 900, &[], some(99, 99)).await.expect("all of them");
    assert_eq!(again.len(), 20);
    assert_eq!(store.tried(1, &slow).await, Ok(false));
    let mut second = again.into_iter().find(|own| own.notice == id(1)).expect("the first");
    (second.state, second.error) = (DeliveryState::GivenUp, Some("410 🦀".into()));
    assert_eq!(store.tried(2, &second).await, Ok(true));
    assert_eq!(store.tried(2, &second).await, Ok(false));
    assert_eq!(store.deliveries(&acme, None, true, 9).await, Ok(vec![second.clone()]));
    assert_eq!(store.replay(&acme, Some(id(2)), None, 901).await, Ok(0));
    let theirs = Owner::Tenant(acme.clone());
    assert_eq!(store.replay(&acme, None, Some(&theirs), 901).await, Ok(0));
    assert_eq!(store.replay(&acme, None, Some(&Owner::Platform), 901).await, Ok(1));
    let third = store.take_due(901, 950, &[], some(99, 1)).await.expect("the first due");
    assert_eq!(third.len(), 1);
    let page = store.deliveries(&acme, Some(id(3)), false, 1).await.expect("a page");
    assert_eq!(page.iter().map(|own| own.notice).collect::<Vec<_>>(), [id(2)]);
}

pub async fn no_channel_holds_up_another<S: Store>(store: &S) {
    let numbers: Vec<u128> = (1..=20).collect();
    let acme = told(store, "acme", &numbers).await;
    for number in &numbers {
        let channel = if *number < 20 { "flooded" } else { "quiet" };
        let due = delivery(&acme, *number, channel, 100);
        store.hand_over(&acme, id(*number), &[due]).await.expect("handed over");
    }
    let mut taken = store.take_due(100, 500, &[], some(3, 99)).await.expect("some");
    taken.sort_by_key(|own| own.notice);
    let notices: Vec<u128> = taken.iter().map(|own| own.notice.as_u128()).collect();
    assert_eq!(notices, [1, 2, 3, 20]);
    store.put_off(&Owner::Platform, "flooded", 100, 300).await.expect("put off");
    assert_eq!(store.take_due(299, 500, &[], some(99, 99)).await, Ok(Vec::new()));
    assert_eq!(store.take_due(300, 900, &[], some(99, 99)).await.expect("the rest").len(), 16);
    // One that was taken and not tried has as many tries left.
    let mut untried = taken[0].clone();
    (untried.attempts, untried.due_at) = (0, 301);
    assert_eq!(store.tried(1, &untried).await, Ok(true));
    let again = store.take_due(301, 900, &[], some(99, 99)).await.expect("that one");
    assert_eq!((again.len(), again[0].attempts), (1, 1));
}

pub async fn what_goes_over_a_busy_channel_is_not_taken<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1, 2]).await;
    let theirs = Owner::Tenant(acme.clone());
    let ours = delivery(&acme, 1, "o'ps", 100);
    let other = DeliveryRow { channel_of: theirs.clone(), ..delivery(&acme, 2, "o'ps", 100) };
    for own in [&ours, &other] {
        store.hand_over(&acme, own.notice, std::slice::from_ref(own)).await.expect("handed over");
    }
    let busy = [(Owner::Platform, "o'ps".to_owned()), (theirs, "quiet".to_owned())];
    let taken = store.take_due(100, 500, &busy, some(99, 99)).await.expect("some");
    assert_eq!(taken, [DeliveryRow { attempts: 1, due_at: 500, ..other }]);
    let taken = store.take_due(100, 500, &[], some(99, 99)).await.expect("some");
    assert_eq!(taken, [DeliveryRow { attempts: 1, due_at: 500, ..ours }]);
}

/// Who has waited longest comes first; what is busy counts.
pub async fn an_owner_with_many_channels_has_a_few_of_them_at_a_time<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1, 2, 3, 4, 5]).await;
    let theirs = Owner::Tenant(acme.clone());
    for (number, channel, due_at) in [(1, "a", 90), (2, "b", 80), (3, "c", 70), (4, "d", 60)] {
        let own =
            DeliveryRow { channel_of: theirs.clone(), ..delivery(&acme, number, channel, due_at) };
        store.hand_over(&acme, id(number), &[own]).await.expect("handed over");
    }
    store.hand_over(&acme, id(5), &[delivery(&acme, 5, "z", 100)]).await.expect("handed over");
    let portion = Portion { channels_of_owner: 2, ..some(99, 99) };
    let take = async |busy: &[(&Owner, &str)]| {
        let busy: Vec<_> =
            busy.iter().map(|(owner, name)| ((*owner).clone(), (*name).to_owned())).collect();
        let taken = store.take_due(100, 500, &busy, portion).await.expect("some");
        let mut channels: Vec<String> = taken.into_iter().map(|own| own.channel).collect();
        channels.sort_unstable();
        channels
    };
    assert_eq!(take(&[(&theirs, "d"), (&theirs, "x"), (&Owner::Platform, "y")]).await, ["z"]);
    assert_eq!(take(&[(&theirs, "d")]).await, ["c"]);
    assert_eq!(take(&[]).await, ["b", "d"]);
    assert_eq!(take(&[]).await, ["a"]);
}

/// What a person has tried anew has its own day.
pub async fn what_is_replayed_is_as_old_as_that<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1]).await;
    let own = delivery(&acme, 1, "ops", 100);
    store.hand_over(&acme, id(1), &[own]).await.expect("handed over");
    let give_up = async |now, before| {
        store.give_up(&Owner::Platform, "ops", now, before, "gone").await.expect("an answer")
    };
    assert_eq!(give_up(100, 100).await, 1);
    assert_eq!(store.replay(&acme, None, None, 200).await, Ok(1));
    assert_eq!(give_up(300, 200).await, 0);
    assert_eq!(give_up(300, 201).await, 1);
}

pub async fn what_is_due_of_a_channel_is_given_up_by_its_age<S: Store>(store: &S) {
    let acme = told(store, "acme", &[1, 2, 3]).await;
    let at = store.notice(&acme, id(1)).await.expect("an answer").expect("a notice").at;
    for (number, channel, due_at) in [(1, "ops", 100), (2, "ops", 101), (3, "other", 100)] {
        let own = delivery(&acme, number, channel, due_at);
        store.hand_over(&acme, id(number), &[own]).await.expect("handed over");
    }
    let give_up = async |before| store.give_up(&Owner::Platform, "ops", 100, before, "gone").await;
    assert_eq!(give_up(at).await, Ok(0));
    assert_eq!(give_up(at + 1).await, Ok(1));
    assert_eq!(give_up(at + 1).await, Ok(0));
    let gone = store.deliveries(&acme, None, true, 9).await.expect("a page");
    let gone: Vec<_> = gone.iter().map(|own| (own.notice, own.error.as_deref())).collect();
    assert_eq!(gone, [(id(1), Some("gone"))]);
}

pub async fn channels_are_their_owners_and_replaced_by_name<S: Store>(store: &S) {
    let acme: Owner = Owner::Tenant("acme".parse().expect("a name"));
    let channel = |owner: &Owner, name: &str, body: &str| ChannelRow {
        owner: owner.clone(),
        name: name.into(),
        body: body.into(),
    };
    let (ours, other) = (channel(&Owner::Platform, "ops", "{}"), channel(&acme, "ops", "[1]"));
    for row in [&channel(&acme, "ops", "[]"), &ours, &other, &channel(&acme, "a", "é")] {
        store.put_channel(row).await.expect("kept");
    }
    assert_eq!(store.channels(&Owner::Platform).await, Ok(vec![ours]));
    assert_eq!(store.channels(&acme).await, Ok(vec![channel(&acme, "a", "é"), other]));
    assert_eq!(store.remove_channel(&acme, "ops").await, Ok(true));
    assert_eq!(store.remove_channel(&acme, "ops").await, Ok(false));
    assert_eq!(store.channels(&Owner::Platform).await.expect("a list").len(), 1);
}

pub async fn a_duty_is_one_hosts_until_it_is_done_or_its_time_is_over<S: Store>(store: &S) {
    let acme: Tenant = "acme".parse().expect("a name");
    let taken = join_all((0..8).map(|_| store.take_duty(&acme, "look", 100, 200))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(|own| own.expect("an answer")).collect();
    assert_eq!(taken, [Instant::MIN]);
    assert_eq!(store.take_duty(&acme, "look", 199, 300).await, Ok(None));
    assert_eq!(store.take_duty(&acme, "another", 199, 300).await, Ok(Some(Instant::MIN)));
    // Who had it is gone.
    assert_eq!(store.take_duty(&acme, "look", 200, 300).await, Ok(Some(Instant::MIN)));
    // Who took too long has no say.
    store.did_duty(&acme, "look", 200, 150).await.expect("too late");
    assert_eq!(store.take_duty(&acme, "look", 299, 400).await, Ok(None));
    store.did_duty(&acme, "look", 300, 250).await.expect("done");
    assert_eq!(store.take_duty(&acme, "look", 251, 300).await, Ok(Some(250)));
}
