//! One run of a step for every build that wants it at that moment.
//!
//! A flight is a task that belongs to nobody and everybody: builds join and
//! leave, and when the last one leaves the step is cancelled. A build that
//! joins late is told what the step said so far, up to a bound. The map's lock
//! orders joining, leaving and ending, so a flight that is being cancelled is
//! never joined.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use oci::Digest;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    OpError,
    executor::{Audience, Progress, Reporter, StepUpdate},
};
use crate::db::CacheRecord;

/// Output of a running step, in bytes, that is kept for builds that join late.
const REPLAY_BYTES_MAX: usize = 256 * 1024;

pub(crate) type FlightResult = Result<CacheRecord, Arc<OpError>>;

/// All steps that run now, by key. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights {
    running: Arc<Mutex<Running>>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Running(HashMap<Digest, Arc<Flight>>);

impl Running {
    /// Removes this flight, and no later one under the same key.
    fn remove_flight(&mut self, key: &Digest, flight: &Arc<Flight>) {
        let same = |other: &Arc<Flight>| Arc::ptr_eq(other, flight);
        if self.0.get(key).is_some_and(same) {
            self.0.remove(key);
        }
    }
}

#[derive(Debug)]
struct Flight {
    audience: Arc<Followers>,
    result: watch::Receiver<Option<FlightResult>>,
    cancel: CancellationToken,
}

impl Flights {
    /// Joins the run of `key`, or starts it with `run`. Tells whether this
    /// call started it.
    ///
    /// # Cancellation
    /// When `cancel` fires the build leaves; if nobody else follows the step,
    /// this returns once the step has cleaned up after itself. Dropping the
    /// future leaves too, without waiting.
    pub(crate) async fn join<F>(
        &self,
        key: Digest,
        reporter: &Reporter,
        vertex: Digest,
        cancel: &CancellationToken,
        run: impl FnOnce(Progress, CancellationToken) -> F,
    ) -> (bool, FlightResult)
    where
        F: Future<Output = Result<CacheRecord, OpError>> + Send + 'static,
    {
        let (started, mut seat) = self.board(key, reporter, vertex, run);
        let mut result = seat.flight.result.clone();
        let ended = async {
            match result.wait_for(Option::is_some).await {
                Ok(ended) => ended.clone().expect("waited until there is a result"),
                // The task ended without a result: it panicked.
                Err(_) => Err(Arc::new(OpError::Host {
                    doing: "run the step".to_owned(),
                    reason: "it ended unexpectedly".to_owned(),
                })),
            }
        };
        tokio::pin!(ended);
        tokio::select! {
            result = &mut ended => (started, result),
            () = cancel.cancelled() => {
                if seat.leave() {
                    ended.await.ok();
                }
                (started, Err(Arc::new(OpError::Cancelled)))
            }
        }
    }

    fn board<F>(
        &self,
        key: Digest,
        reporter: &Reporter,
        vertex: Digest,
        run: impl FnOnce(Progress, CancellationToken) -> F,
    ) -> (bool, Seat)
    where
        F: Future<Output = Result<CacheRecord, OpError>> + Send + 'static,
    {
        let mut running = lock(&self.running);
        let (started, flight) = match running.0.get(&key) {
            Some(flight) => (false, flight.clone()),
            None => {
                let audience = Arc::new(Followers::default());
                let (sender, result) = watch::channel(None);
                let flight = Arc::new(Flight {
                    audience: audience.clone(),
                    result,
                    cancel: CancellationToken::new(),
                });
                running.0.insert(key, flight.clone());
                let work = run(Progress::new(audience), flight.cancel.clone());
                let airborne = Airborne {
                    flights: self.clone(),
                    key,
                    flight: flight.clone(),
                };
                self.tasks.spawn(async move {
                    let result = work.await.map_err(Arc::new);
                    drop(airborne);
                    sender.send_replace(Some(result));
                });
                (true, flight)
            }
        };
        let number = flight.audience.add(reporter.clone(), vertex);
        let seat = Seat {
            flights: self.clone(),
            key,
            flight,
            number: Some(number),
        };
        (started, seat)
    }

    /// How many steps run now.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        lock(&self.running).0.len()
    }

    /// How many builds follow the steps that run now.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        let running = lock(&self.running);
        let flights = running.0.values();
        flights.map(|f| lock(&f.audience.0).builds.len()).sum()
    }

    /// Waits until every step has ended and cleaned up.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Keeps a flight in the map while it runs, also if it ends in a panic.
struct Airborne {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
}

impl Drop for Airborne {
    fn drop(&mut self) {
        lock(&self.flights.running).remove_flight(&self.key, &self.flight);
    }
}

/// A build's place in a flight; leaves it when dropped.
struct Seat {
    flights: Flights,
    key: Digest,
    flight: Arc<Flight>,
    number: Option<u64>,
}

impl Seat {
    /// Leaves; true when nobody is left, and the step is being cancelled.
    fn leave(&mut self) -> bool {
        let Some(number) = self.number.take() else {
            return false;
        };
        let mut running = lock(&self.flights.running);
        if self.flight.audience.remove(number) > 0 {
            return false;
        }
        running.remove_flight(&self.key, &self.flight);
        self.flight.cancel.cancel();
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The builds that follow a step, and what it said so far.
#[derive(Debug, Default)]
struct Followers(Mutex<Followed>);

#[derive(Debug, Default)]
struct Followed {
    next: u64,
    builds: Vec<(u64, Reporter, Digest)>,
    said: VecDeque<StepUpdate>,
    said_bytes: usize,
}

impl Followers {
    fn add(&self, reporter: Reporter, vertex: Digest) -> u64 {
        let mut followed = lock(&self.0);
        let number = followed.next;
        followed.next += 1;
        if !followed.said.is_empty() {
            let said: Vec<_> = followed.said.iter().cloned().collect();
            let reporter = reporter.clone();
            // The channel is wide and a newcomer's is empty, so this ends at
            // once unless its build is gone.
            tokio::spawn(async move {
                for update in said {
                    reporter.send(vertex, update).await;
                }
            });
        }
        followed.builds.push((number, reporter, vertex));
        number
    }

    /// How many builds are left.
    fn remove(&self, number: u64) -> usize {
        let mut followed = lock(&self.0);
        followed.builds.retain(|(other, _, _)| *other != number);
        followed.builds.len()
    }

    fn note(&self, update: &StepUpdate) -> Vec<(u64, Reporter, Digest)> {
        let mut followed = lock(&self.0);
        if let StepUpdate::Output { data, .. } = update {
            followed.said_bytes += data.len();
            followed.said.push_back(update.clone());
            while followed.said_bytes > REPLAY_BYTES_MAX {
                match followed.said.pop_front() {
                    Some(StepUpdate::Output { data, .. }) => followed.said_bytes -= data.len(),
                    _ => break,
                }
            }
        }
        followed.builds.clone()
    }
}

impl Audience for Followers {
    fn tell(&self, update: StepUpdate) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for (_, reporter, vertex) in self.note(&update) {
                reporter.send(vertex, update.clone()).await;
            }
        })
    }
}

/// No holder of these locks can leave the data half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
