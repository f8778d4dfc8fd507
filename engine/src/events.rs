//! Events: what happened, to everyone who listens.
//!
//! Owns the ring of past events (memory only, as Docker's) and the broadcast
//! to live listeners. A listener that falls behind loses its stream rather
//! than slow the engine down.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine_api::{Actor, Event};
use tokio::sync::broadcast;

use crate::clock;

/// Past events kept, the number Docker keeps.
const PAST_MAX: usize = 256;
/// Events a listener may be behind.
const BEHIND_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct EventBus {
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl EventBus {
    pub(crate) fn new() -> Self {
        Self {
            past: Mutex::new(VecDeque::with_capacity(PAST_MAX)),
            live: broadcast::channel(BEHIND_MAX).0,
        }
    }

    pub(crate) fn emit(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let now = clock::now();
        let from = attributes.get("image").cloned().unwrap_or_default();
        let legacy = matches!(kind, "container" | "image");
        let event = Event {
            status: if legacy {
                action.to_owned()
            } else {
                String::new()
            },
            id: if legacy { id.to_owned() } else { String::new() },
            from: if kind == "container" {
                from
            } else {
                String::new()
            },
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: Actor {
                id: id.to_owned(),
                attributes,
            },
            scope: "local".to_owned(),
            time: now.unix_timestamp(),
            time_nano: i64::try_from(now.unix_timestamp_nanos()).unwrap_or(i64::MAX),
        };
        let mut past = self.past();
        if past.len() == PAST_MAX {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Sent under the lock, so that a new listener sees each event exactly once.
        let _ = self.live.send(event);
    }

    /// The past events and a receiver of everything after them.
    pub(crate) fn subscribe(&self) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past();
        (past.iter().cloned().collect(), self.live.subscribe())
    }

    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // A panic cannot leave the ring half-changed.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
