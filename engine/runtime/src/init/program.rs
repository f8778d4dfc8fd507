//! The last steps of a process before it is the container's: limits, user,
//! capabilities, filter, program. Shared by a container's first process, which
//! takes them in place, and by exec, where they are taken outside the
//! container's pid namespace.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Resource as Limit, Rlimit as Value, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::sync;
use crate::launcher::{Failure, FailureKind};
use crate::root::{PathError, Root};
use crate::spec::{ProcessSpec, Resource};
use crate::sys;
use crate::sys::filter::Instruction;
use crate::user::{self, Identity};

/// Highest capability this code knows to drop; the kernel reports the rest as
/// `EINVAL`.
const CAPABILITY_MAX: u32 = 63;

/// Applies resource limits. One that this daemon may not raise is cut to the
/// hard limit, with a warning.
pub(crate) fn limit(process: &ProcessSpec, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let value = |n: u64| (n != u64::MAX).then_some(n);
    for limit in &process.rlimits {
        let resource = resource(limit.resource);
        let wanted = Value {
            current: value(limit.soft),
            maximum: value(limit.hard),
        };
        match rustix::process::setrlimit(resource, wanted) {
            Ok(()) => {}
            Err(Errno::PERM) => {
                let hard = rustix::process::getrlimit(resource).maximum;
                let cut = |n: Option<u64>| [n, hard].into_iter().flatten().min();
                let clamped = Value {
                    current: cut(wanted.current),
                    maximum: cut(wanted.maximum),
                };
                rustix::process::setrlimit(resource, clamped)
                    .map_err(|e| Failure::setup("set resource limits", e))?;
                let name = format!("{:?}", limit.resource).to_lowercase();
                let hard = hard.map_or("unlimited".to_owned(), |n| n.to_string());
                warnings.push(format!(
                    "ulimit {name} cut to this host's hard limit of {hard}"
                ));
            }
            Err(e) => return Err(Failure::setup("set resource limits", e)),
        }
    }
    Ok(())
}

/// Sets the OOM score through the caller's own procfs.
pub(crate) fn set_oom_score(
    process: &ProcessSpec,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let Some(score) = process.oom_score_adj else {
        return Ok(());
    };
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            // Lowering it takes CAP_SYS_RESOURCE.
            warnings.push(format!(
                "oom_score_adj {score} is below this host's own: ignored"
            ));
            Ok(())
        }
        result => result.map_err(|e| Failure::setup("set oom_score_adj", e)),
    }
}

/// Leaves the session keyring of whoever started the daemon for one that all
/// processes of the container share, and no other container has.
pub(crate) fn join_keyring(container_id: &str, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let name = CString::new(format!("_ses.{container_id}"));
    let name = name.map_err(|e| Failure::setup("name a session keyring", io::Error::from(e)))?;
    if let Err(error) = sys::keyring::join_session(&name) {
        // A kernel without keyrings, or a filter around the daemon.
        warnings.push(format!(
            "the container has no session keyring of its own: {}",
            crate::launcher::error_text(&error)
        ));
    }
    Ok(())
}

/// Looks the user up in the container's files, read bounded and only when
/// they are regular.
pub(crate) fn identify(root: &Root, process: &ProcessSpec) -> Result<Identity, Failure> {
    let read = |path: &str| match root.read_regular(Path::new(path), user::FILE_BYTES_MAX) {
        Err(PathError::NotFound(_) | PathError::NotADirectory(_)) => Ok(Vec::new()),
        read => read.map_err(|e| Failure::new(FailureKind::Refused, format!("look up user: {e}"))),
    };
    let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
    user::resolve(&process.user, &process.additional_groups, &passwd, &group)
        .map_err(|e| Failure::new(FailureKind::Refused, e.to_string()))
}

/// Standard descriptors of the new process.
#[derive(Debug)]
pub(crate) enum Stdio {
    /// Input is `None` for /dev/null.
    Pipes {
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

/// Gives the process its descriptors, owned by the user it will be, so that
/// /dev/stdout can be opened again.
pub(crate) fn connect(stdio: &Stdio, identity: &Identity) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::setup("connect standard streams", e);
    let give = |fd: BorrowedFd<'_>| {
        rustix::fs::fchown(fd, Some(Uid::from_raw(identity.uid)), None)
            .map_err(|e| failed(e.into()))
    };
    match stdio {
        Stdio::Pipes {
            stdin,
            stdout,
            stderr,
        } => {
            for (fd, number) in [(stdin.as_ref(), 0), (Some(stdout), 1), (Some(stderr), 2)] {
                if let Some(fd) = fd {
                    give(fd.as_fd())?;
                    sys::process::dup_onto(fd.as_fd(), number).map_err(failed)?;
                }
            }
        }
        Stdio::Terminal(slave) => {
            give(slave.as_fd())?;
            for number in 0..=2 {
                sys::process::dup_onto(slave.as_fd(), number).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// Makes standard input, when it is a terminal, that of the caller's session.
pub(crate) fn take_terminal(process: &ProcessSpec) -> Result<(), Failure> {
    if !process.tty {
        return Ok(());
    }
    rustix::process::ioctl_tiocsctty(io::stdin())
        .map_err(|e| Failure::setup("take the terminal", e))
}

/// A container without its monitor would have neither log nor exit code.
/// Changing ids clears this, so it comes after them.
pub(crate) fn die_with_parent() -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| Failure::setup("tie the process to its monitor", e))
}

/// Enters the working directory, which must be inside the container: a link
/// of /proc to an open descriptor could lead out (CVE-2024-21626).
pub(crate) fn enter_directory(path: &str) -> Result<(), Failure> {
    let failed = |e: Errno| {
        let kind = match e {
            Errno::NOENT => FailureKind::NotFound,
            Errno::ACCESS | Errno::NOTDIR => FailureKind::PermissionDenied,
            _ => FailureKind::Refused,
        };
        let text = crate::launcher::error_text(&e.into());
        Failure::new(
            kind,
            format!("{PREFIX}chdir to cwd ({path:?}) set in config.json failed: {text}"),
        )
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS | ResolveFlags::IN_ROOT;
    let root = rustix::fs::open("/", flags, Mode::empty()).map_err(failed)?;
    let dir = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).map_err(failed)?;
    rustix::process::fchdir(&dir).map_err(failed)?;
    let inside = rustix::process::getcwd(Vec::new()).map_err(failed)?;
    if inside.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(failed(Errno::XDEV))
    }
}

/// Gives up everything that the container may not have, but for the filter
/// where that can wait for [`confine`].
pub(crate) fn drop_privileges(
    process: &ProcessSpec,
    identity: &Identity,
    filter: &[Instruction],
) -> Result<(), Failure> {
    let failed = |what| move |e: io::Error| Failure::setup(what, e);
    // Without no_new_privs a filter takes CAP_SYS_ADMIN, which goes next; with
    // it, the filter can come last and need not allow what follows here.
    if !process.no_new_privileges {
        load(filter)?;
    }
    let keep = process.capabilities.bits();
    for number in (0..=CAPABILITY_MAX).filter(|n| keep & (1 << n) == 0) {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(e) => return Err(Failure::setup("drop capabilities", e)),
        }
    }
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|&gid| Gid::from_raw(gid))
        .collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_groups(&groups)
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|e| failed("become the container's user")(e.into()))?;
    // A capability that this daemon lacks itself cannot be given.
    let own =
        rustix::thread::capabilities(None).map_err(|e| failed("read capabilities")(e.into()))?;
    let usable = own.permitted & CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets {
        effective: usable,
        permitted: usable,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
        .and_then(|()| rustix::thread::clear_ambient_capability_set())
        .map_err(|e| failed("set capabilities")(e.into()))
}

/// Sets no_new_privs where it was asked for, with the filter behind it.
pub(crate) fn confine(process: &ProcessSpec, filter: &[Instruction]) -> Result<(), Failure> {
    if !process.no_new_privileges {
        return Ok(());
    }
    rustix::thread::set_no_new_privs(true).map_err(|e| Failure::setup("set no_new_privs", e))?;
    load(filter)
}

fn load(filter: &[Instruction]) -> Result<(), Failure> {
    if filter.is_empty() {
        return Ok(());
    }
    sys::filter::load_seccomp(filter).map_err(|e| Failure::setup("load the system call filter", e))
}

/// Everything after the monitor's word: connects, closes, drops, executes, or
/// reports why the program does not run.
pub(crate) fn finish(
    process: &ProcessSpec,
    identity: &Identity,
    stdio: &Stdio,
    filter: &[Instruction],
    sync: BorrowedFd<'_>,
) -> ! {
    let connected = enter_directory(&process.cwd)
        .and_then(|()| connect(stdio, identity))
        .and_then(|()| take_terminal(process));
    sys::process::keep_only(sync, |closed| {
        let done = connected
            .and(closed.map_err(|e| Failure::setup("close descriptors", e)))
            .and_then(|()| drop_privileges(process, identity, filter))
            .and_then(|()| die_with_parent())
            .and_then(|()| confine(process, filter));
        let failure = match done {
            Ok(()) => execute(process, identity),
            Err(failure) => failure,
        };
        sync::fail(sync, failure)
    })
}

/// What runc puts before these errors; clients print it as it is.
const PREFIX: &str = "unable to start container process: error during container init: ";

/// Executes the program. Returns only the reason why not.
pub(crate) fn execute(process: &ProcessSpec, identity: &Identity) -> Failure {
    let mut env: Vec<&str> = process.env.iter().map(String::as_str).collect();
    let home = format!("HOME={}", identity.home);
    if !env.iter().any(|e| e.starts_with("HOME=")) {
        env.push(&home);
    }
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let path = match find_program(name, &env) {
        Ok(path) => path,
        Err(failure) => return failure,
    };
    let strings = |list: &[&str]| {
        list.iter()
            .map(|s| CString::new(*s))
            .collect::<Result<Vec<_>, _>>()
    };
    let args: Vec<&str> = process.args.iter().map(String::as_str).collect();
    let (Ok(path), Ok(args), Ok(env)) = (CString::new(path), strings(&args), strings(&env)) else {
        return Failure::new(FailureKind::Refused, "arguments contain a NUL byte");
    };
    let Err(error) = sys::process::execve(&path, &args, &env);
    let kind = match error.kind() {
        io::ErrorKind::NotFound => FailureKind::NotFound,
        _ => FailureKind::PermissionDenied,
    };
    let text = crate::launcher::error_text(&error);
    Failure::new(
        kind,
        format!("{PREFIX}exec {}: {text}", path.to_string_lossy()),
    )
}

/// What execvp(3) would run, with the errors of Go's exec.LookPath, whose
/// texts decide the exit codes of Docker's clients.
fn find_program(name: &str, env: &[&str]) -> Result<Vec<u8>, Failure> {
    let failed = |kind, text: &str| {
        Err(Failure::new(
            kind,
            format!("{PREFIX}exec: {name:?}: {text}"),
        ))
    };
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.as_bytes().to_vec()),
            Err(Errno::NOENT | Errno::NOTDIR) => failed(
                FailureKind::NotFound,
                &format!("stat {name}: no such file or directory"),
            ),
            Err(Errno::ISDIR) => failed(FailureKind::PermissionDenied, "is a directory"),
            Err(e) => failed(
                FailureKind::PermissionDenied,
                &crate::launcher::error_text(&e.into()),
            ),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or_default();
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = Path::new(dir).join(name);
        if executable(&candidate).is_ok() {
            return Ok(candidate.as_os_str().as_bytes().to_vec());
        }
    }
    failed(FailureKind::NotFound, "executable file not found in $PATH")
}

fn executable(path: impl AsRef<OsStr>) -> Result<(), Errno> {
    let path = path.as_ref();
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    // Root may execute what anybody may; the mode bits decide otherwise.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
}

fn resource(resource: Resource) -> Limit {
    match resource {
        Resource::Core => Limit::Core,
        Resource::Cpu => Limit::Cpu,
        Resource::Data => Limit::Data,
        Resource::Fsize => Limit::Fsize,
        Resource::Locks => Limit::Locks,
        Resource::Memlock => Limit::Memlock,
        Resource::Msgqueue => Limit::Msgqueue,
        Resource::Nice => Limit::Nice,
        Resource::Nofile => Limit::Nofile,
        Resource::Nproc => Limit::Nproc,
        Resource::Rss => Limit::Rss,
        Resource::Rtprio => Limit::Rtprio,
        Resource::Rttime => Limit::Rttime,
        Resource::Sigpending => Limit::Sigpending,
        Resource::Stack => Limit::Stack,
    }
}
