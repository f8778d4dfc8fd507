//! System call filters: Docker's default profile, profiles in Docker's JSON
//! format, and their compilation to classic BPF.
//!
//! Pure and deterministic, so compiled filters are cached by the launcher
//! handle. The filter is a binary search over the system call number for each
//! architecture of the machine: about ten instructions for any call. The
//! x86_64 filter also covers 32-bit x86 programs; x32 calls are refused, since
//! a filter by number would otherwise be walked around through them.

mod bpf;
mod default;
mod profile;
mod table;

use crate::spec::{Capabilities, Seccomp};

pub use self::profile::ProfileError;
use self::profile::{Host, Profile};

/// Compiles a filter for this machine: 8 bytes an instruction, empty for
/// [`Seccomp::Unconfined`].
///
/// # Errors
/// A profile that is not one, or that needs more than the kernel's 4096
/// instructions.
pub(crate) fn compile(seccomp: &Seccomp, caps: Capabilities) -> Result<Vec<u8>, ProfileError> {
    let profile = match seccomp {
        Seccomp::Unconfined => return Ok(Vec::new()),
        Seccomp::Default => default::profile(),
        Seccomp::Profile(json) => Profile::parse(json)?,
    };
    let program = bpf::compile(&profile, &Host::current(), caps)?;
    Ok(program.iter().flat_map(|i| i.to_bytes()).collect())
}

#[cfg(test)]
#[path = "seccomp/tests.rs"]
mod tests;
