//! The solver: runs a build graph in LLB, as little of it as possible.
//!
//! It knows operations, not Dockerfiles, and reaches files, processes and
//! registries only through an [`Executor`]. A definition is first decoded into
//! a [`Graph`] that can be trusted ([`graph`], [`op`]). The scheduler then
//! resolves vertices whose inputs are known, independent ones in parallel. For
//! each it asks the step cache, by the key of its definition and then by the
//! key of the content it reads ([`key`]); on a miss the step runs, once for
//! all builds that want it at that moment ([`flight`]).
//!
//! Owns the rows of the step cache. A crash loses at most the record of a step
//! that had just ended: its layer is then an orphan that the next start removes.

pub(crate) mod cache;
pub(crate) mod error;
pub(crate) mod executor;
pub(crate) mod flight;
pub(crate) mod graph;
pub(crate) mod key;
pub(crate) mod op;
pub(crate) mod op_decode;
pub(crate) mod scheduler;

pub(crate) use cache::Cache;
pub(crate) use error::{GraphError, OpError, SolveError};
pub(crate) use executor::{Executed, Executor, Job, Reporter, StepEvent, StepUpdate, Value};
pub(crate) use graph::Graph;
pub(crate) use scheduler::Solver;
