//! Restart policies: whether and when a container that ended starts again. Pure.

use std::time::Duration;

use engine_api::RestartPolicy;

/// First pause, doubled at each further restart.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A run of this length forgets earlier failures.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Whether the policy starts a container again that ended with `exit_code`.
/// `stopped`: the user stopped it. `restarts`: how often that was done already.
pub(crate) fn wanted(policy: &RestartPolicy, exit_code: i32, stopped: bool, restarts: i64) -> bool {
    if stopped {
        return false;
    }
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => {
            exit_code != 0
                && (policy.maximum_retry_count == 0 || restarts < policy.maximum_retry_count)
        }
        _ => false,
    }
}

/// Whether the policy starts a container when the daemon starts.
pub(crate) fn wanted_at_boot(
    policy: &RestartPolicy,
    exit_code: i32,
    stopped: bool,
    ran: bool,
) -> bool {
    match policy.name.as_str() {
        // Also one that was stopped: that is how it differs from `unless-stopped`.
        "always" => ran,
        "unless-stopped" => ran && !stopped,
        "on-failure" => ran && !stopped && exit_code != 0,
        _ => false,
    }
}

/// The pause before the next restart, from the one before it and how long the
/// container ran.
pub(crate) fn pause(last: Option<Duration>, ran: Duration) -> Duration {
    match last {
        Some(last) if ran < GOOD_RUN => (last * 2).min(PAUSE_MAX),
        _ => PAUSE_MIN,
    }
}

#[cfg(test)]
#[path = "restart/tests.rs"]
mod tests;
