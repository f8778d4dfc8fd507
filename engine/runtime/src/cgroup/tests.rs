//! The parts that need no group; groups themselves are tested with containers
//! in `tests/`.

use super::device::{DeviceRule, list_entry, program};
use super::limits::{cpu_max, swap_max, weight_of_blkio, weight_of_shares};
use super::*;
use crate::spec::DeviceKind;

#[test]
fn v1_scales_become_v2_scales() {
    let shares = [0, 2, 512, 1024, 2048, 262_144, u64::MAX];
    let weights = [1, 1, 59, 100, 174, 10_000, 10_000];
    assert_eq!(shares.map(weight_of_shares), weights);
    assert_eq!([10, 500, 1000].map(weight_of_blkio), [1, 4950, 10_000]);
}

fn check_cpu(quota: Option<i64>, period: Option<u64>, expected: Option<&str>) {
    let limits = Limits {
        cpu_quota_us: quota,
        cpu_period_us: period,
        ..Limits::default()
    };
    assert_eq!(cpu_max(&limits).as_deref(), expected);
}

#[test]
fn cpu_max_names_quota_and_period() {
    check_cpu(None, None, None);
    check_cpu(Some(50_000), None, Some("50000 100000"));
    check_cpu(Some(-1), Some(20_000), Some("max 20000"));
}

#[test]
fn swap_is_counted_without_memory() {
    let check = |total, memory, expected: &str| {
        assert_eq!(swap_max(total, memory).unwrap(), expected);
    };
    check(-1, Some(100), "max");
    check(300, Some(100), "200");
    check(100, Some(100), "0");
    assert!(swap_max(100, None).is_err());
}

#[test]
fn fields_are_found_by_whole_name() {
    let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
    assert_eq!(stats::field(text, "oom_kill"), Some(3));
    assert_eq!(stats::field(text, "oom"), None);
}

/// Runs the device program as the kernel would.
fn run(code: &[u64], access: u32, kind: u32, major: u32, minor: u32) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let (mut pc, mut r) = (0, [0_u64; 8]);
    loop {
        let i = code[pc];
        pc += 1;
        let (target, source) = ((i >> 8 & 0xf) as usize, (i >> 12 & 0xf) as usize);
        let (offset, value) = ((i >> 16 & 0xffff) as usize, i >> 32);
        match i & 0xff {
            0x61 => r[target] = u64::from(context[offset / 4]),
            0xb7 => r[target] = value,
            0xbf => r[target] = r[source],
            0x57 => r[target] &= value,
            0x77 => r[target] >>= value,
            0x55 if r[target] != value => pc += offset,
            0x55 => {}
            0x95 => return r[0],
            code => panic!("unexpected instruction {code:#x}"),
        }
    }
}

#[test]
fn the_device_program_allows_what_is_listed() {
    let (mknod, read, write) = (1, 2, 4);
    let DevicePolicy::Only(mut rules) = DevicePolicy::with(&[]) else {
        panic!("not a list");
    };
    rules.push(DeviceRule {
        kind: DeviceKind::Block,
        major: Some(8),
        minor: None,
        access: "r".into(),
    });
    let code = program(&rules);
    let check = |access, kind, major, minor, expected| {
        let found = run(&code, access, kind, major, minor);
        assert_eq!(found, expected, "{access} {kind} {major}:{minor}");
    };
    check(read | write, 2, 1, 3, 1);
    check(read, 2, 136, 77, 1);
    check(mknod, 1, 253, 0, 1);
    check(read, 1, 253, 0, 0);
    check(read, 2, 1, 1, 0);
    check(read, 1, 8, 4, 1);
    check(read | write, 1, 8, 4, 0);
    check(mknod | read, 2, 10, 229, 0);
    assert_eq!(list_entry(rules.last().unwrap()), "b 8:* r");
}
