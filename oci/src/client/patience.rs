//! How long a client waits for a registry that is busy, restarting or not there yet.
//!
//! Waits grow, and differ between clients: those that a failure hit at the same
//! moment must not all come back at the next one. What a registry asks for by
//! `Retry-After` is kept to.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use super::error::ClientError;

/// The longest wait that is not asked for by the registry.
const GROWN_WAIT_MAX: Duration = Duration::from_secs(10);

/// A try that moved so much got on; less may be what a server takes in before it refuses.
const MOVED_BYTES: u64 = 16 * 1024 * 1024;

/// When to try again, and when to give up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries of one request, the first included.
    pub tries_max: u32,
    /// The wait before the second try; each further one is twice as long.
    pub first_wait: Duration,
    /// A registry that asks for a longer wait than this is reported instead.
    pub asked_wait_max: Duration,
}

impl Default for Patience {
    /// Six tries over three to six seconds: as long as a server takes to restart.
    fn default() -> Self {
        Self {
            tries_max: 6,
            first_wait: Duration::from_millis(200),
            asked_wait_max: Duration::from_secs(60),
        }
    }
}

impl Patience {
    /// Every failure is reported at once.
    pub const NONE: Self = Self {
        tries_max: 1,
        first_wait: Duration::ZERO,
        asked_wait_max: Duration::ZERO,
    };

    /// The wait after try number `made`, counted from 1; `None` to give up.
    /// `noise` is a number of at least 0 and less than 1.
    fn wait(&self, made: u32, asked: Option<Duration>, noise: f64) -> Option<Duration> {
        if made >= self.tries_max {
            return None;
        }
        let grown = 2u32
            .checked_pow(made - 1)
            .and_then(|factor| self.first_wait.checked_mul(factor))
            .map_or(GROWN_WAIT_MAX, |wait| wait.min(GROWN_WAIT_MAX));
        match asked {
            Some(asked) if asked > self.asked_wait_max => None,
            // Not earlier than asked for, and not all at once.
            Some(asked) => Some(asked + self.first_wait.mul_f64(noise)),
            None => Some(grown.mul_f64((1.0 + noise) / 2.0)),
        }
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(super) struct Tries {
    patience: Patience,
    made: u32,
}

impl Tries {
    /// The first try is being made.
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, made: 1 }
    }

    /// What the last try sent or received: one that got on is not counted, so that
    /// a large blob crosses a line that breaks now and then.
    pub(super) fn moved(&mut self, bytes: u64) {
        if bytes >= MOVED_BYTES {
            self.made = 1;
        }
    }

    /// Waits before the next try; `false` when there is none.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        let Some(wait) = self.patience.wait(self.made, asked, noise()) else {
            return false;
        };
        self.made += 1;
        tokio::time::sleep(wait).await;
        true
    }

    /// Waits before the next try after a failure that may pass.
    ///
    /// # Errors
    /// The failure itself when it will not pass or this was the last try.
    pub(super) async fn after(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(asked) = error.passing() else {
            return Err(error);
        };
        tracing::debug!(%error, tries = self.made, "a registry's failure may pass");
        match self.wait(asked).await {
            true => Ok(()),
            false => Err(error),
        }
    }
}

/// A random number of at least 0 and less than 1: the keys of std's hasher are random.
fn noise() -> f64 {
    let bits = RandomState::new().hash_one(()) >> 32;
    bits as f64 / (1u64 << 32) as f64
}

#[cfg(test)]
#[path = "patience/tests.rs"]
mod tests;
