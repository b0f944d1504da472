//! The routes of the API: who may take them, and where they lead.

use axum::http::Method;

use super::route::Route;
use super::{
    agents, audit, calls, channels, decisions, disablements, invoices, ledger, metrics, notified,
    policies, quotas, rollout, runs, settings, stream, tenants, tokens, usage,
};
use crate::access::Role;
use crate::stores::Stores;

/// Those who ask before calls, and report after them.
const CALLERS: &[Role] = &[Role::Admin, Role::Operator, Role::Tenant, Role::Ingest];
/// Everybody.
const ALL: &[Role] = &Role::ALL;
/// Those who look after it all.
const PLATFORM: &[Role] = &[Role::Admin, Role::Operator];
/// Those who hand out what others may do.
const ADMINS: &[Role] = &[Role::Admin];
/// Those who decide, for all or for their tenant.
const DECIDERS: &[Role] = &[Role::Admin, Role::Operator, Role::Tenant];
/// All but those who only report.
const LOOKERS: &[Role] = &[Role::Admin, Role::Operator, Role::Tenant, Role::Read];

/// The longest settings of a policy.
const SETTINGS_BYTES: usize = 1 << 20;

/// Those who see to it that all is well.
const WATCHERS: &[Role] = &[Role::Admin, Role::Operator, Role::Read];

/// The largest component that any settings let in.
const COMPONENT_BYTES: usize = 32 << 20;

/// All of them.
pub fn routes<S: Stores>() -> Vec<Route<S>> {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    vec![
        Route::new(
            post.clone(),
            "/v1/reservations",
            CALLERS,
            "May this call go ahead? What it needs is held until it is settled or released.",
            calls::reserve,
        )
        .telling_limits(),
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
        )
        .telling_limits(),
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
        )
        .for_new_tenants(),
        Route::new(get.clone(), "/v1/tenants", PLATFORM, "All tenants there are.", tenants::list)
            .for_new_tenants(),
        Route::new(
            post.clone(),
            "/v1/credits",
            PLATFORM,
            "Money is paid in, given back or put right.",
            tenants::credit,
        ),
        Route::new(
            post.clone(),
            "/v1/invoices",
            PLATFORM,
            "What a provider invoiced for a day is compared with what was computed: people are told where they drift apart.",
            invoices::compare,
        ),
        Route::new(get.clone(), "/v1/quotas", ALL, "How near each limit is.", quotas::list),
        Route::new(
            get.clone(),
            "/v1/quotas/{meter}",
            ALL,
            "How near the limits of a meter are.",
            quotas::of_meter,
        ),
        Route::new(
            get.clone(),
            "/v1/limits",
            LOOKERS,
            "The limits that were set for a user, an agent, ….",
            quotas::limits,
        ),
        Route::new(
            put.clone(),
            "/v1/limits",
            DECIDERS,
            "A limit for a user, an agent, …, from now on.",
            quotas::set,
        ),
        Route::new(delete.clone(), "/v1/limits", DECIDERS, "Such a limit is lifted.", quotas::lift),
        Route::new(
            post.clone(),
            "/v1/tasks/estimate",
            ALL,
            "What does this task need?",
            quotas::estimate,
        ),
        Route::new(
            post.clone(),
            "/v1/tasks/check",
            ALL,
            "Is there room for this task? Nothing is held.",
            quotas::check_task,
        ),
        Route::new(
            put.clone(),
            "/v1/agents/{id}",
            DECIDERS,
            "An agent and its settings, from now on.",
            agents::put,
        ),
        Route::new(
            get.clone(),
            "/v1/agents/{id}",
            LOOKERS,
            "An agent and its settings.",
            agents::get,
        ),
        Route::new(
            get.clone(),
            "/v1/agents/{id}/can-process",
            ALL,
            "May this agent process a message?",
            agents::can_process,
        ),
        Route::new(
            get.clone(),
            "/v1/agents/{id}/cost",
            LOOKERS,
            "What an agent cost in a month.",
            agents::cost,
        ),
        Route::new(
            get.clone(),
            "/v1/agents/{id}/cost/total",
            LOOKERS,
            "What an agent cost of all time.",
            agents::total_cost,
        ),
        Route::new(
            get.clone(),
            "/v1/agents/{id}/stats",
            LOOKERS,
            "What an agent's conversations came to.",
            agents::stats,
        )
        .taking_long(),
        Route::new(
            get.clone(),
            "/v1/disablements",
            LOOKERS,
            "What may not go on just now, and why.",
            disablements::list,
        ),
        Route::new(
            post.clone(),
            "/v1/disablements",
            DECIDERS,
            "An agent, a user, … may not go on.",
            disablements::disable,
        ),
        Route::new(
            delete.clone(),
            "/v1/disablements",
            DECIDERS,
            "An agent, a user, … may go on again.",
            disablements::enable,
        ),
        Route::new(get.clone(), "/v1/notices", LOOKERS, "What people were told.", notified::list),
        Route::new(get.clone(), "/v1/notices/{id}", LOOKERS, "A notice.", notified::get),
        Route::new(
            post.clone(),
            "/v1/notices/{id}/acknowledge",
            DECIDERS,
            "Somebody has seen a notice.",
            notified::acknowledge,
        ),
        Route::new(
            get.clone(),
            "/v1/deliveries",
            LOOKERS,
            "What became of notices on their way.",
            notified::deliveries,
        ),
        Route::new(
            post.clone(),
            "/v1/deliveries/replay",
            DECIDERS,
            "What was given up is tried again.",
            notified::replay,
        ),
        Route::new(
            get.clone(),
            "/v1/channels",
            DECIDERS,
            "The channels that notices go over.",
            channels::list,
        ),
        Route::new(
            put.clone(),
            "/v1/channels/{name}",
            DECIDERS,
            "A channel for notices, from now on.",
            channels::put,
        ),
        Route::new(
            delete.clone(),
            "/v1/channels/{name}",
            DECIDERS,
            "A channel is removed.",
            channels::remove,
        ),
        Route::new(
            post.clone(),
            "/v1/channels/{name}/test",
            DECIDERS,
            "A trial message is sent over a channel.",
            channels::test,
        ),
        Route::new(
            post.clone(),
            "/v1/runs",
            CALLERS,
            "A run begins: it holds its place among the active ones until it is finished.",
            runs::start,
        )
        .telling_limits(),
        Route::new(post.clone(), "/v1/runs/{id}/finish", CALLERS, "A run is over.", runs::finish),
        Route::new(
            get.clone(),
            "/v1/runs",
            ALL,
            "Runs that began in a stretch of time.",
            runs::list,
        ),
        Route::new(get.clone(), "/v1/runs/active", ALL, "Runs that are under way.", runs::active),
        Route::new(
            get.clone(),
            "/v1/runs/{id}",
            ALL,
            "A run, and what its calls came to.",
            runs::get,
        ),
        Route::new(
            get.clone(),
            "/v1/ledger",
            LOOKERS,
            "What was charged and paid in.",
            ledger::list,
        ),
        Route::new(
            get.clone(),
            "/v1/decisions/{id}",
            LOOKERS,
            "A decision, with all that it was taken by.",
            decisions::get,
        ),
        Route::new(
            get.clone(),
            "/v1/stream",
            LOOKERS,
            "What happens, as it happens: server-sent events, or a WebSocket.",
            stream::stream,
        )
        .upgrading(),
        Route::new(
            post.clone(),
            "/v1/components",
            DECIDERS,
            "A component is let in with its settings: it becomes the policy's next revision.",
            policies::push,
        )
        .for_new_tenants()
        .taking(COMPONENT_BYTES),
        Route::new(
            post.clone(),
            "/v1/revisions",
            DECIDERS,
            "A standard component, or that of the last revision, with other settings.",
            policies::revise,
        )
        .for_new_tenants()
        .taking(SETTINGS_BYTES),
        Route::new(
            get.clone(),
            "/v1/revisions",
            LOOKERS,
            "What revisions there are.",
            policies::revisions,
        )
        .for_new_tenants(),
        Route::new(get.clone(), "/v1/policies", LOOKERS, "What is bound.", policies::bound)
            .for_new_tenants(),
        Route::new(
            post.clone(),
            "/v1/policies",
            DECIDERS,
            "What is bound changes: hosts judge by it within a second.",
            policies::rebind,
        )
        .for_new_tenants(),
        Route::new(
            put.clone(),
            "/v1/policies/signing",
            PLATFORM,
            "Whose signatures of components count, and whether one is required.",
            settings::sign,
        )
        .for_new_tenants(),
        Route::new(
            put.clone(),
            "/v1/policies/tenant",
            PLATFORM,
            "What the tenant is: its plan, its time zone, and so on.",
            settings::set_tenant,
        )
        .for_new_tenants(),
        Route::new(
            get.clone(),
            "/v1/policies/history",
            LOOKERS,
            "What was bound, the last first.",
            rollout::history,
        )
        .for_new_tenants(),
        Route::new(
            get.clone(),
            "/v1/policies/shadow-report",
            LOOKERS,
            "What candidates said beside what is enforced.",
            rollout::shadow_report,
        )
        .taking_long(),
        Route::new(
            get.clone(),
            "/v1/policies/quarantined",
            LOOKERS,
            "Policies that failed too often, and are asked no longer.",
            rollout::quarantine,
        ),
        Route::new(
            post.clone(),
            "/v1/policies/let-back",
            DECIDERS,
            "Such a policy is asked again.",
            rollout::let_back,
        ),
        Route::new(
            get.clone(),
            "/v1/audit",
            DECIDERS,
            "Administrative acts: who, what, before, after.",
            audit::list,
        ),
        Route::new(
            post.clone(),
            "/v1/tokens",
            ADMINS,
            "A token is made, and shown this once.",
            tokens::make,
        ),
        Route::new(
            get.clone(),
            "/v1/tokens",
            ADMINS,
            "Tokens, without their secrets.",
            tokens::list,
        ),
        Route::new(
            post.clone(),
            "/v1/tokens/{id}/rotate",
            ADMINS,
            "A token gets a new secret, and is shown this once; the older secret counts for a while yet.",
            tokens::rotate,
        ),
        Route::new(
            delete.clone(),
            "/v1/tokens/{id}",
            ADMINS,
            "A token counts no longer.",
            tokens::revoke,
        ),
        Route::new(
            get.clone(),
            "/metrics",
            WATCHERS,
            "What the service does, for Prometheus.",
            metrics::metrics,
        ),
    ]
}
