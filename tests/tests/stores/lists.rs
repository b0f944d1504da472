//! What lists and pages hold.

use tollgate_host::store::{HoldRow, Need, Place, RunQuery, Store, Write};
use uuid::Uuid;

use super::conformance::{BORN, born, committed, hold, id, run, usage, write};

pub async fn what_is_due_is_found_in_the_order_of_its_time<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let hold = |number, expires_at| HoldRow { expires_at, ..hold(number) };
    let holds = vec![hold(1, 30), hold(2, 10), hold(3, 20), hold(4, 40)];
    let new_holds = holds;
    let head = committed(store, Write { new_holds, ..write(&tenant, BORN, 1) }).await;
    let due = async |due| {
        let need = Need { due: Some(due), ..Need::head(tenant.clone()) };
        let found = store.read(&[need]).await.expect("found").remove(0);
        let ids: Vec<Uuid> = found.due.iter().map(|row| row.id).collect();
        (ids, found.next_expiry)
    };
    assert_eq!(due(9).await, (vec![], Some(10)));
    assert_eq!(due(20).await, (vec![id(2), id(3)], Some(30)));
    assert_eq!(due(50).await, (vec![id(2), id(3), id(1), id(4)], None));
    // What is held longer is due later.
    let longer = vec![hold(2, 60)];
    committed(store, Write { holds: longer, ..write(&tenant, head, 2) }).await;
    assert_eq!(due(50).await, (vec![id(3), id(1), id(4)], Some(60)));
    let other = born(store, "zen").await;
    let both = [other, tenant.clone()];
    // The clock of either store is past all that.
    assert_eq!(store.overdue(&both).await, Ok(vec![tenant]));
}

pub async fn history_is_read_in_order_page_by_page<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let mut head = BORN;
    for stamp in 1..4_u8 {
        let at = u128::from(stamp) * 10;
        let usages = vec![usage(at, 9), usage(at, 1)];
        head = committed(store, Write { usages, ..write(&tenant, head, stamp.into()) }).await;
    }
    let (mut read, mut after) = (Vec::new(), Place::before(20));
    loop {
        let page = store.usages(&tenant, after, 3).await.expect("a page");
        let Some((last, _)) = page.last() else { break };
        after = *last;
        read.extend(page.into_iter().map(|(place, row)| (place.version, row.id)));
    }
    let expected = [(2, usage(20, 9)), (2, usage(20, 1)), (3, usage(30, 9)), (3, usage(30, 1))];
    assert_eq!(read, expected.map(|(version, row)| (version, row.id)));
    // One of them by its identifier.
    let need = Need { usages: vec![usage(20, 1).id], ..Need::head(tenant.clone()) };
    let found = store.read(&[need]).await.expect("found").remove(0);
    assert_eq!(found.usages, [usage(20, 1)]);
}

pub async fn lists_hold_what_was_written_and_no_other_tenants<S: Store>(store: &S) {
    let (tenant, other) = (born(store, "acme").await, born(store, "zen").await);
    let runs = vec![run("ana", 10, None), run("ben", 20, None), run("ana", 30, None)];
    let holds = vec![hold(5), hold(3), hold(4)];
    let head = committed(store, Write { runs, new_holds: holds, ..write(&tenant, BORN, 1) }).await;
    let ended = vec![run("ana", 10, Some(25))];
    committed(store, Write { runs: ended, ..write(&tenant, head, 2) }).await;
    let listed = async |tenant, query| {
        let runs = store.runs(tenant, &query).await.expect("runs");
        runs.iter().map(|run| (run.started_at, run.ended_at)).collect::<Vec<_>>()
    };
    let all = || RunQuery { began: 0..99, ..RunQuery::first(9) };
    let of = |user: &str| RunQuery { user: Some(user.into()), ..all() };
    let ana = [(10, Some(25)), (30, None)];
    assert_eq!(listed(&tenant, of("ana")).await, ana);
    assert_eq!(listed(&tenant, RunQuery { began: 10..30, ..of("ana") }).await, ana[..1]);
    assert_eq!(listed(&tenant, RunQuery { is_active: true, ..of("ana") }).await, ana[1..]);
    let everybody = [ana[0], (20, None), ana[1]];
    assert_eq!(listed(&tenant, all()).await, everybody);
    assert_eq!(listed(&tenant, RunQuery { began: 11..30, ..all() }).await, everybody[1..2]);
    assert_eq!(listed(&tenant, RunQuery { is_active: true, ..all() }).await, everybody[1..]);
    for query in [all(), of("ana"), RunQuery { is_active: true, ..all() }] {
        let (mut read, mut after) = (Vec::new(), Uuid::nil());
        loop {
            let page = RunQuery { limit: 1, after, ..query.clone() };
            let page = store.runs(&tenant, &page).await.expect("a page");
            let [run] = &page[..] else { break assert!(page.is_empty()) };
            after = run.id;
            read.push((run.started_at, run.ended_at));
        }
        assert_eq!(read, listed(&tenant, query).await);
    }
    assert!(listed(&other, all()).await.is_empty());
    for (tenant, user, expected) in [
        (&tenant, None, 2),
        (&tenant, Some("ana"), 1),
        (&tenant, Some("zoe"), 0),
        (&other, None, 0),
    ] {
        assert_eq!(store.active_runs(tenant, user).await, Ok(expected), "{user:?}");
    }
    let holds = async |after, limit| {
        let holds = store.holds(&tenant, id(after), limit).await.expect("holds");
        holds.iter().map(|hold| hold.id).collect::<Vec<_>>()
    };
    assert_eq!(holds(0, 2).await, [id(3), id(4)]);
    assert_eq!(holds(4, 2).await, [id(5)]);
    assert!(store.holds(&other, id(0), 9).await.expect("none").is_empty());
}
