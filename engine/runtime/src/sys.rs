//! The system calls that neither std nor rustix wraps, each behind a safe
//! function. All `unsafe` of the process side of this crate lives below here.
//!
//! Stateless. Functions that fork are only sound in a process with one thread;
//! they check that and refuse otherwise.

pub(crate) mod filter;
pub(crate) mod keyring;
pub(crate) mod mount;
pub(crate) mod net;
pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod signal;
