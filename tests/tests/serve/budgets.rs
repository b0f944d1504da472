//! A budget is not overrun by those who ask at the same time.

use futures_util::future::join_all;
use tollgate_tests::run;

use crate::house::{House, limited};

const CLIENTS: usize = 200;
const CALLS: u32 = 100;

#[test]
fn of_200_clients_at_once_100_find_room_on_a_file() {
    run(async {
        let house = House::sqlite();
        exactly(&house, 1).await;
    });
}

#[test]
fn of_200_clients_at_once_100_find_room_on_three_servers() {
    run(async {
        let house = House::postgres().await;
        exactly(&house, 3).await;
    });
}

async fn exactly(house: &House, servers: usize) {
    let first = house.serve();
    let caller = limited(house, &first, CALLS).await;
    let mut servers: Vec<_> = (1..servers).map(|_| house.serve()).collect();
    servers.push(first);
    // Each client has a connection of its own.
    let callers: Vec<_> =
        servers.iter().cycle().take(CLIENTS).map(|own| own.client(&caller.token)).collect();
    for caller in &callers[..servers.len()] {
        caller.judged_by("calls").await;
    }
    let asked = callers.iter().enumerate().map(async |(number, caller)| {
        let answer = caller.reserve(&format!("call-{number}"), 10).await;
        (number, answer)
    });
    let answers = join_all(asked).await;
    let allowed = answers.iter().filter(|(_, answer)| answer["decision"] == "allow").count();
    assert_eq!(allowed, CALLS as usize);
    for (_, denied) in answers.iter().filter(|(_, answer)| answer["decision"] == "deny") {
        assert_eq!(denied["denial"]["code"], "quota_exceeded", "{denied}");
        assert!(denied["denial"]["retry_at"].is_string(), "{denied}");
    }
    // Whoever asks again with their key hears the same, also from another server.
    let again = answers.iter().map(async |(number, answer)| {
        let other = &callers[(number + 1) % callers.len()];
        let again = other.reserve(&format!("call-{number}"), 10).await;
        assert_eq!(again, *answer);
    });
    join_all(again).await;
}
