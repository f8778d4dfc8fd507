//! Which devices a container may open and make: v1's device lists, or an eBPF
//! program on a v2 group.

use std::io::Write;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Cgroup, CgroupError, Layout, MOUNT_POINT, UNIFIED, Version};
use super::{failed, make_dir, v1_root, write};
use crate::spec::{Device, DeviceKind};
use crate::sys;

/// What a container may do with device nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DevicePolicy {
    Everything,
    Only(Vec<DeviceRule>),
}

/// `None` is any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeviceRule {
    pub(crate) kind: DeviceKind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    /// Any of `r`, `w`, `m`.
    pub(crate) access: String,
}

/// null, zero, full, random, urandom, tty, ptmx: what Docker always allows,
/// beside pseudo-terminals and the making of any node.
const ALWAYS: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];

/// Major number of pseudo-terminals (Documentation/admin-guide/devices.txt).
const PTS_MAJOR: u32 = 136;

impl DevicePolicy {
    /// Docker's list and these.
    pub(crate) fn with(devices: &[Device]) -> DevicePolicy {
        use DeviceKind::{Block, Char};
        let rule = |kind, major, minor, access: &str| DeviceRule {
            kind,
            major,
            minor,
            access: access.to_owned(),
        };
        let mut rules = vec![rule(Char, None, None, "m"), rule(Block, None, None, "m")];
        rules.extend(
            ALWAYS
                .iter()
                .map(|&(a, b)| rule(Char, Some(a), Some(b), "rwm")),
        );
        rules.push(rule(Char, Some(PTS_MAJOR), None, "rwm"));
        let own = devices
            .iter()
            .map(|d| rule(d.kind, Some(d.major), Some(d.minor), &d.access));
        rules.extend(own);
        DevicePolicy::Only(rules)
    }
}

impl Cgroup {
    pub(super) fn restrict_devices(&self, policy: &DevicePolicy) -> Result<(), CgroupError> {
        let DevicePolicy::Only(rules) = policy else {
            return Ok(());
        };
        match self.version {
            Version::V2 => attach(&Path::new(MOUNT_POINT).join(&self.path), rules),
            Version::V1 if v1_root("devices").is_some() => self.write_device_list(rules),
            // Hybrid hosts can have devices on the v2 side only.
            Version::V1 if Layout::get().unified.is_some() => {
                let mut dir = Path::new(UNIFIED).to_owned();
                for part in self.path.split('/') {
                    dir.push(part);
                    make_dir(&dir)?;
                }
                attach(&dir, rules)
            }
            Version::V1 => Err(CgroupError::NoController {
                limit: "the device list",
                controller: "devices",
            }),
        }
    }

    fn write_device_list(&self, rules: &[DeviceRule]) -> Result<(), CgroupError> {
        let file = |name| {
            let missing = CgroupError::NoController {
                limit: "the device list",
                controller: "devices",
            };
            self.v1_file("devices", name).ok_or(missing)
        };
        write(&file("devices.deny")?, "a")?;
        let allow = file("devices.allow")?;
        let denied = |e| failed("write to", &allow, e);
        let mut list = std::fs::OpenOptions::new()
            .write(true)
            .open(&allow)
            .map_err(denied)?;
        // Each write is one entry.
        let mut entries = rules.iter().map(list_entry);
        entries
            .try_for_each(|entry| list.write_all(entry.as_bytes()))
            .map_err(denied)
    }
}

/// An entry of `devices.allow`, e.g. `c 1:3 rwm`.
pub(super) fn list_entry(rule: &DeviceRule) -> String {
    let kind = match rule.kind {
        DeviceKind::Char => 'c',
        DeviceKind::Block => 'b',
    };
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    format!(
        "{kind} {}:{} {}",
        number(rule.major),
        number(rule.minor),
        rule.access
    )
}

fn attach(dir: &Path, rules: &[DeviceRule]) -> Result<(), CgroupError> {
    use std::os::fd::AsFd;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened =
        rustix::fs::open(dir, flags, Mode::empty()).map_err(|e| failed("open", dir, e.into()))?;
    sys::filter::attach_device_filter(opened.as_fd(), &program(rules))
        .map_err(|e| failed("attach a device filter to", dir, e))
}

/// eBPF opcodes (linux/bpf.h).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Compiles rules to a BPF_PROG_TYPE_CGROUP_DEVICE program: returns 1 for the
/// first rule that covers the request, else 0.
pub(super) fn program(rules: &[DeviceRule]) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor.
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_REGISTER, 3, 2, 0, 0),
        op(AND, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let block = rule_code(rule);
        code.extend(block);
    }
    code.extend([op(MOVE, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

fn rule_code(rule: &DeviceRule) -> Vec<u64> {
    let kind = match rule.kind {
        DeviceKind::Block => 1,
        DeviceKind::Char => 2,
    };
    let bit = |letter, bit| if rule.access.contains(letter) { bit } else { 0 };
    let refused = 7 & !(bit('m', 1) | bit('r', 2) | bit('w', 4));
    // Register, value: each must be equal for the rule to hold.
    let mut tests = vec![(2, kind)];
    tests.extend(rule.major.map(|n| (4, n)));
    tests.extend(rule.minor.map(|n| (5, n)));
    let head = [op(MOVE_REGISTER, 6, 3, 0, 0), op(AND, 6, 0, 0, refused)];
    tests.insert(0, (6, 0));
    // Behind each test: the tests after it, the result and the exit.
    let length = tests.len();
    let tests = tests
        .into_iter()
        .enumerate()
        .map(|(index, (register, value))| {
            op(
                IF_NOT_EQUAL,
                register,
                0,
                (length - index - 1 + 2) as u16,
                value,
            )
        });
    let tail = [op(MOVE, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)];
    head.into_iter().chain(tests).chain(tail).collect()
}

fn op(code: u8, target: u8, source: u8, offset: u16, value: u32) -> u64 {
    u64::from(code)
        | u64::from(target | source << 4) << 8
        | u64::from(offset) << 16
        | u64::from(value) << 32
}
