//! Giving up rights: user, capabilities, file system.

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr,
};
use rustix::{
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid,
    },
};

use crate::config::Config;

/// Read by name resolution, TLS roots and the C library.
const READABLE: &[&str] = &[
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/run/systemd/resolve",
];
/// Read and written: random numbers, the bit bucket.
const DEVICES: &[&str] = &["/dev/null", "/dev/urandom", "/dev/random"];

/// Becomes `uid:gid` with no supplementary groups and no capability, for good.
///
/// The calls change the calling thread only, so this must run before any
/// other thread exists (capabilities(7), "Per-thread").
pub fn become_user(uid: u32, gid: u32) -> Result<()> {
    for bit in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else {
            continue;
        };
        if remove_capability_from_bounding_set(capability).is_err() {
            // Beyond the last capability of this kernel.
            break;
        }
    }
    set_thread_groups(&[]).context("drop the supplementary groups")?;
    set_thread_gid(Gid::from_raw(gid)).with_context(|| format!("become group {gid}"))?;
    set_thread_uid(Uid::from_raw(uid)).with_context(|| format!("become user {uid}"))?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )
    .context("drop the capabilities")?;
    set_no_new_privs(true).context("set no_new_privs")
}

/// Confines file access to the registry's own directories (Landlock). On a
/// kernel without Landlock the user id alone protects, and a warning says so.
pub fn restrict_files(config: &Config) -> Result<()> {
    let abi = ABI::V3;
    let own = [
        Some(config.data_dir.join("registry")),
        Some(config.storage_dir()),
        config.database_dir(),
    ];
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))
        .context("prepare Landlock")?
        .create()
        .context("prepare Landlock")?;
    let rule = |path: &std::path::Path, access: BitFlags<AccessFs>| {
        // What does not exist needs no rule.
        PathFd::new(path)
            .ok()
            .map(|fd| Ok(PathBeneath::new(fd, access)))
    };
    let readable = READABLE.iter().filter_map(|path| {
        rule(
            std::path::Path::new(path),
            AccessFs::ReadFile | AccessFs::ReadDir,
        )
    });
    let devices = DEVICES.iter().filter_map(|path| {
        rule(
            std::path::Path::new(path),
            AccessFs::ReadFile | AccessFs::WriteFile,
        )
    });
    let own = own
        .iter()
        .flatten()
        .filter_map(|path| rule(path, AccessFs::from_all(abi)));
    let rules: Vec<Result<_, landlock::RulesetError>> =
        readable.chain(devices).chain(own).collect();
    let status = ruleset
        .add_rules(rules)
        .context("add a Landlock rule")?
        .restrict_self()
        .context("apply Landlock")?;
    if status.ruleset == landlock::RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no Landlock: the front is confined by its user id alone");
    }
    Ok(())
}
