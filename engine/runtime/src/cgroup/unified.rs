//! cgroup v2: handing controllers down to a group, and waiting for what the
//! kernel says of it.
//!
//! Source: kernel documentation, admin-guide/cgroup-v2.rst, "Controlling
//! Controllers" and "Basic Operations".

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{CgroupError, PATIENCE, failed, is_absent, is_gone, make_dir, read, stats, write};

/// Where the processes of a nested root go, as in Docker's own images of it.
const LEAF: &str = "init";

/// How often a nested root is emptied: its processes may fork meanwhile.
const ROUNDS: usize = 10;

/// Makes the group `path` below `root`, with every controller that the root
/// has. A parent must give a controller to its children before they have it,
/// so this goes from the top.
pub(super) fn make(root: &Path, path: &str) -> Result<(), CgroupError> {
    let mut dir = root.to_owned();
    for part in path.split('/') {
        hand_down(&dir, dir == root);
        dir.push(part);
        make_dir(&dir)?;
    }
    Ok(())
}

/// Gives all controllers of `dir` to its children. What fails is reported by
/// name when a limit needs it.
fn hand_down(dir: &Path, may_empty: bool) {
    let list = |file: &str| read(&dir.join(file)).unwrap_or_default();
    let given = list("cgroup.subtree_control");
    let given: Vec<&str> = given.split_whitespace().collect();
    let offered = list("cgroup.controllers");
    let missing = offered.split_whitespace().filter(|c| !given.contains(c));
    let mut missing = missing.peekable();
    // Before the first one: some controllers can be given by a group that holds
    // processes, but that makes a group of threads of it, where no container
    // can be. The root of all groups has no type and may hold processes.
    if missing.peek().is_some() && may_empty && dir.join("cgroup.type").exists() {
        for _ in 0..ROUNDS {
            if list("cgroup.procs").is_empty() || empty(dir).is_err() {
                break;
            }
        }
    }
    let control = dir.join("cgroup.subtree_control");
    for controller in missing {
        let _ = write(&control, &format!("+{controller}"));
    }
}

/// Moves the processes of `dir` to a leaf below it. Inside a container the
/// root of the tree is an ordinary group, whose children get no controller
/// while it holds processes itself ("No Internal Process Constraint").
fn empty(dir: &Path) -> Result<(), CgroupError> {
    let leaf = dir.join(LEAF);
    make_dir(&leaf)?;
    let procs = read(&dir.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines() {
        match write(&leaf.join("cgroup.procs"), pid) {
            // It has ended.
            Err(CgroupError::System { source, .. })
                if source.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            moved => moved?,
        }
    }
    Ok(())
}

/// Why a control file is missing: the machine lacks the controller, or a
/// parent does not hand it down.
pub(super) fn missing(root: &Path, limit: &'static str, controller: &'static str) -> CgroupError {
    let offered = read(&root.join("cgroup.controllers")).unwrap_or_default();
    match offered.split_whitespace().any(|name| name == controller) {
        true => CgroupError::NotDelegated { limit, controller },
        false => CgroupError::NoController { limit, controller },
    }
}

/// Waits until `name` in the group's `cgroup.events` is `value`; a group that
/// is gone has nothing to wait for.
pub(super) fn wait_for_event(dir: &Path, name: &str, value: u64) -> Result<(), CgroupError> {
    let path = dir.join("cgroup.events");
    let error = |e| failed("read", &path, e);
    let mut file = match File::open(&path) {
        Err(e) if is_absent(&e) => return Ok(()),
        opened => opened.map_err(error)?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        match read {
            Err(e) if is_gone(&e) => return Ok(()),
            read => read.map_err(error)?,
        };
        if stats::field(&text, name) == Some(value) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("ten seconds fit");
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => return Err(error(io::ErrorKind::TimedOut.into())),
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(error(e.into())),
        }
    }
}
