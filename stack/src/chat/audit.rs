//! One line in the log for each message that policy wants on record, with the personal data
//! already masked; bounded in rate, the rest counted.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tracing::info;

use super::config::{Audit, Rate};
use super::metric::Metrics;
use super::protocol::Refusal;

/// A limit of messages.
pub(crate) type Limiter = DefaultDirectRateLimiter;

/// Makes a limit; rates are at least 1 (see [`super::config::Config::check`]).
pub(crate) fn limiter(rate: Rate) -> Limiter {
    let of = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    RateLimiter::direct(Quota::per_second(of(rate.per_s)).allow_burst(of(rate.burst)))
}

/// What is said of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    Taken,
    Masked,
    Refused(Refusal),
}

/// Writes the lines.
pub(crate) struct Auditor {
    policy: Audit,
    limiter: Limiter,
    metrics: Arc<Metrics>,
}

impl Auditor {
    pub(crate) fn new(policy: Audit, rate: Rate, metrics: Arc<Metrics>) -> Self {
        Self {
            policy,
            limiter: limiter(rate),
            metrics,
        }
    }

    /// Records a message: who said it where, what became of it, and its length, not its text.
    pub(crate) fn record(
        &self,
        room: &str,
        user: &str,
        id: Option<&str>,
        kind: &str,
        length: usize,
        verdict: Verdict,
    ) {
        let wanted = match self.policy {
            Audit::Off => false,
            Audit::Violations => matches!(
                verdict,
                Verdict::Masked | Verdict::Refused(Refusal::Personal)
            ),
            Audit::All => true,
        };
        if !wanted {
            return;
        }
        if self.limiter.check().is_err() {
            self.metrics.audit_suppressed.inc();
            return;
        }
        let id = id.unwrap_or_default();
        match verdict {
            Verdict::Taken => {
                info!(target: "chat::audit", room, user, id, kind, length, verdict = "taken")
            }
            Verdict::Masked => {
                info!(target: "chat::audit", room, user, id, kind, length, verdict = "masked")
            }
            Verdict::Refused(code) => {
                info!(target: "chat::audit", room, user, id, kind, length, verdict = "refused", ?code)
            }
        }
    }
}
