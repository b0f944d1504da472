//! The routes of the API: who may take them, and where they lead.

use axum::http::Method;

use super::route::Route;
use super::{calls, tenants, usage};
use crate::access::Role;
use crate::stores::Stores;

/// Those who ask before calls, and report after them.
const CALLERS: &[Role] = &[Role::Admin, Role::Operator, Role::Tenant, Role::Ingest];
/// Everybody.
const ALL: &[Role] = &Role::ALL;
/// Those who look after it all.
const PLATFORM: &[Role] = &[Role::Admin, Role::Operator];
/// All but those who only report.
const LOOKERS: &[Role] = &[Role::Admin, Role::Operator, Role::Tenant, Role::Read];

/// All of them.
pub fn routes<S: Stores>() -> Vec<Route<S>> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        Route::new(
            post.clone(),
            "/v1/reservations",
            CALLERS,
            "May this call go ahead? What it needs is held until it is settled or released.",
            calls::reserve,
        ),
        Route::new(
            post.clone(),
            "/v1/reservations/{id}/settle",
            CALLERS,
            "This is what a reserved call used. It is booked whatever it is, also after its time.",
            calls::settle,
        ),
        Route::new(
            post.clone(),
            "/v1/reservations/{id}/release",
            CALLERS,
            "A reserved call does not take place: what is held for it is given back.",
            calls::release,
        ),
        Route::new(
            post.clone(),
            "/v1/reservations/{id}/extend",
            CALLERS,
            "A call under way needs more, or longer.",
            calls::extend,
        ),
        Route::new(
            post.clone(),
            "/v1/usage",
            CALLERS,
            "What was used without asking, as JSON or as CloudEvents.",
            usage::record,
        ),
        Route::new(
            post.clone(),
            "/v1/usage/{id}/void",
            CALLERS,
            "A usage that was told wrongly is undone.",
            usage::void,
        ),
        Route::new(
            post.clone(),
            "/v1/check",
            ALL,
            "What would become of this call, and how near is each limit? Nothing is held.",
            calls::check,
        ),
        Route::new(
            get.clone(),
            "/v1/balance",
            LOOKERS,
            "What the accounts stand at.",
            calls::balance,
        ),
        Route::new(
            post.clone(),
            "/v1/tenants",
            PLATFORM,
            "A tenant is served from now on.",
            tenants::create,
        ),
        Route::new(get, "/v1/tenants", PLATFORM, "All tenants there are.", tenants::list),
        Route::new(
            post,
            "/v1/credits",
            PLATFORM,
            "Money is paid in, given back or put right.",
            tenants::credit,
        ),
    ]
}
