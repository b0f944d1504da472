//! For a Postgres that is distributed by tenants: one of them a statement.

use std::sync::Arc;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tollgate_host::engine::{Random, Retention, upkeep};
use tollgate_host::store::{
    Carry, Durability, Head, Locked, Need, Pages, Past, Place, PostgresStore, Store, StoreError,
    Tenant, Write, Written,
};
use tollgate_tests::postgres::Cluster;

use crate::conformance::{BORN, born, full, hold, key, write};

pub const TENANTS: [&str; 3] = ["tenant-a", "tenant-b", "tenant-c"];

fn name_several(statements: &[String]) -> Vec<&String> {
    let several =
        |told: &&String| TENANTS.iter().filter(|tenant| told.contains(**tenant)).count() > 1;
    statements.iter().filter(several).collect()
}

/// All that takes many tenants, and all that is kept up.
pub async fn do_all(store: &PostgresStore, tenants: &[Tenant], heads: &[Head]) -> Vec<Head> {
    let needs: Vec<Need> = tenants.iter().cloned().map(Need::head).collect();
    let found = store.read(&needs).await.expect("found");
    assert!(found.iter().map(|found| found.head).eq(heads.iter().copied()));
    let one = |(tenant, head): (&Tenant, &Head)| Write {
        new_holds: vec![hold(77)],
        keys: vec![key("another")],
        ..write(tenant, *head, 5)
    };
    let mut writes: Vec<Write> = tenants.iter().zip(heads).map(one).collect();
    // One is refused, and so written once more.
    writes[1].new_holds.push(hold(77));
    let written = store.write(&writes).await;
    assert!(matches!(
        written[..],
        [Ok(Written::Committed), Err(StoreError::Refused(_)), Ok(Written::Committed)]
    ));
    assert_eq!(store.overdue(tenants).await, Ok(tenants.to_vec()));
    let random: Random = Arc::new(|| 5);
    let kept = Some(std::time::Duration::from_secs(86_400));
    let retention = Retention { decisions: kept, ledger: kept, ..Retention::default() };
    upkeep(store, &retention, &random).await.expect("upkeep");
    for tenant in tenants {
        let carry = Carry {
            tenant: tenant.clone(),
            from: i64::MIN,
            until: 10,
            counters: full(tenant).counters,
            accounts: full(tenant).accounts,
        };
        let _ = store.carry(&carry).await.expect("an answer");
        store.forget(tenant, Past::Ledger, 0..9, 9).await.expect("forgotten");
        store.usages(tenant, Place::before(0), 9).await.expect("usages");
        store.lock(tenant).await.expect("locked").release().await;
    }
    let found = store.read(&needs).await.expect("found");
    found.iter().map(|found| found.head).collect()
}

#[test]
fn no_statement_names_two_tenants_where_they_stand_apart() {
    super::run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let options = cluster.database().await;
        // One statement at a time, so that the log tells one after the other.
        let store = PostgresStore::connect(options.clone(), 2, Durability::Required).await;
        let together = store.expect("the store");
        let apart = together.clone().one_tenant_a_statement();
        let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
        let mut tenants = Vec::new();
        for name in TENANTS {
            tenants.push(born(&together, name).await);
        }
        let writes: Vec<Write> = tenants.iter().map(full).collect();
        assert_eq!(apart.write(&writes).await, vec![Ok(Written::Committed); 3]);
        let heads = vec![writes[0].leaves(); 3];
        assert_ne!(heads[0], BORN);
        let heads = do_all(&apart, &tenants, &heads).await;
        let statements = log.told(&mut connection).await;
        let about = statements.iter().filter(|told| told.contains(TENANTS[1])).count();
        assert!(about > 20, "{about} of {}", statements.len());
        assert_eq!(name_several(&statements), Vec::<&String>::new());
        // Otherwise they do, and it is seen.
        let needs: Vec<Need> = tenants.iter().cloned().map(Need::head).collect();
        together.read(&needs).await.expect("found");
        together.overdue(&tenants).await.expect("an answer");
        let next = |(tenant, head): (&Tenant, &Head)| Write {
            new_holds: vec![hold(78)],
            ..write(tenant, *head, 6)
        };
        let writes: Vec<Write> = tenants.iter().zip(&heads).map(next).collect();
        assert_eq!(together.write(&writes).await, vec![Ok(Written::Committed); 3]);
        assert_eq!(name_several(&log.told(&mut connection).await).len(), 3);
    });
}
