//! The standard quota policy as a component.

use tollgate_policy_core::guest::{Manifest, Policy, Request, Verdict};
use tollgate_policy_core::quota::QuotaPolicy;

/// The policy, as it is exported.
pub struct Quota(QuotaPolicy);

impl Policy for Quota {
    const SETTINGS_SCHEMA: &'static str = include_str!("../../limits.schema.json");

    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let policy = QuotaPolicy::configure(settings).map_err(|error| error.to_string())?;
        let manifest = policy.manifest();
        Ok((Self(policy), manifest))
    }

    fn check(&self, request: &Request) -> Verdict {
        self.0.check(request)
    }
}

tollgate_policy_core::export_policy!(Quota: quota);
