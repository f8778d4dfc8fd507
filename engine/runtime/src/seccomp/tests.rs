//! The compiled program is run by a small interpreter of the instructions that
//! the compiler emits, and compared with a direct reading of the rules.

use proptest::prelude::*;

use super::profile::{Action, Compare, Condition, Rule, Scope};
use super::table::{Arch, is_known};
use super::*;
use crate::sys::filter::Instruction;

const X86_64: Host = Host {
    arch: Arch::X86_64,
    kernel: (6, 1),
};
const ALLOW: u32 = 0x7fff_0000;

fn errno(n: u32) -> u32 {
    0x0005_0000 | n
}

/// What the kernel's interpreter would return.
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        0 => number,
        4 => arch,
        _ => {
            let arg = args[((offset - 16) / 8) as usize];
            (if offset % 8 == 4 { arg >> 32 } else { arg }) as u32
        }
    };
    let (mut pc, mut a) = (0, 0);
    loop {
        let i = program[pc];
        pc += 1;
        let branch = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => a = word(i.k),
            0x54 => a &= i.k,
            0x05 => pc += i.k as usize,
            0x15 => pc += branch(a == i.k),
            0x25 => pc += branch(a > i.k),
            0x35 => pc += branch(a >= i.k),
            0x06 => return i.k,
            code => panic!("unexpected instruction {code:#x}"),
        }
    }
}

fn check_default(caps: Capabilities, arch: Arch, name: &str, first: u64, expected: u32) {
    let program = bpf::compile(&default::profile(), &X86_64, caps).unwrap();
    let number = arch.number(name).unwrap();
    let found = run(&program, arch.audit_value(), number, [first, 0, 0, 0, 0, 0]);
    assert_eq!(found, expected, "{name}({first:#x}) on {arch:?}");
}

#[test]
fn the_default_profile_decides_as_dockers() {
    let caps = Capabilities::docker_default();
    let check = |name, first, expected| check_default(caps, Arch::X86_64, name, first, expected);
    check("read", 0, ALLOW);
    check("writev", 0, ALLOW);
    check("keyctl", 0, errno(1));
    check("io_uring_setup", 0, errno(1));
    check("mount", 0, errno(1));
    check("chroot", 0, ALLOW);
    check("clone3", 0, errno(38));
    check("clone", 0x0100_0011, ALLOW);
    check("clone", 0x1000_0000, errno(1));
    check("clone", 0x0002_0000, errno(1));
    check("socket", 1, ALLOW);
    check("socket", 2, ALLOW);
    check("socket", 38, errno(1));
    check("socket", 40, errno(1));
    check("socket", 1 << 32, errno(1));
    check("personality", 0xffff_ffff, ALLOW);
    check("personality", 0x0040_0000, errno(1));
    check("arch_prctl", 0, ALLOW);
}

#[test]
fn capabilities_open_their_calls() {
    let caps = Capabilities::parse(&["SYS_ADMIN"]).unwrap();
    let check = |name, first, expected| check_default(caps, Arch::X86_64, name, first, expected);
    check("mount", 0, ALLOW);
    check("clone3", 0, ALLOW);
    check("clone", 0x1000_0000, ALLOW);
    check("chroot", 0, errno(1));
}

#[test]
fn programs_of_32_bits_are_judged_by_their_own_numbers() {
    let caps = Capabilities::docker_default();
    check_default(caps, Arch::X86, "socketcall", 0, ALLOW);
    check_default(caps, Arch::X86, "mount", 0, errno(1));
    check_default(caps, Arch::X86, "clone3", 0, errno(38));
}

#[test]
fn x32_calls_and_other_machines_are_refused() {
    let allow_all = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    for profile in [default::profile(), Profile::parse(allow_all).unwrap()] {
        let program = bpf::compile(&profile, &X86_64, Capabilities::all()).unwrap();
        assert_eq!(run(&program, 0xc000_003e, 0x4000_0000, [0; 6]), errno(38));
        assert_eq!(run(&program, 0xc000_003e, 0x4000_0001, [0; 6]), errno(38));
        assert_eq!(run(&program, 0xc000_00b7, 0, [0; 6]), errno(38));
    }
}

#[test]
fn the_default_filter_is_short_and_compiles_for_aarch64() {
    let caps = Capabilities::docker_default();
    let host = Host {
        arch: Arch::Aarch64,
        kernel: (6, 1),
    };
    let program = bpf::compile(&default::profile(), &host, caps).unwrap();
    assert_eq!(run(&program, 0xc000_00b7, 63, [0; 6]), ALLOW, "read");
    assert_eq!(run(&program, 0xc000_00b7, 40, [0; 6]), errno(1), "mount");
    let program = bpf::compile(&default::profile(), &X86_64, caps).unwrap();
    assert!(program.len() < 1000, "{} instructions", program.len());
}

#[test]
fn every_name_of_the_default_profile_exists() {
    let absent: Vec<_> = default::names().filter(|n| !is_known(n)).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn profiles_in_dockers_format_are_read() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW", "args": []},
            {"name": "write", "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
             "args": [{"index": 2, "value": 255, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW",
             "includes": {"caps": ["CAP_SYS_CHROOT"], "minKernel": "4.8"}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "9.0"}}
        ]}"#;
    let profile = Profile::parse(json).unwrap();
    let program = bpf::compile(&profile, &X86_64, Capabilities::docker_default()).unwrap();
    let call = |name, args| {
        run(
            &program,
            0xc000_003e,
            Arch::X86_64.number(name).unwrap(),
            args,
        )
    };
    assert_eq!(call("read", [0; 6]), ALLOW);
    assert_eq!(call("write", [0, 0, 0x101, 0, 0, 0]), errno(5));
    assert_eq!(call("write", [0, 0, 0x102, 0, 0, 0]), errno(38));
    assert_eq!(call("chroot", [0; 6]), ALLOW);
    assert_eq!(call("mount", [0; 6]), errno(38));
}

fn check_refused(json: &str, expected: &str) {
    let error = Profile::parse(json).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn bad_profiles_are_refused_by_what_is_wrong() {
    check_refused("{", "not a profile");
    check_refused(r#"{"defaultAction": "SCMP_ACT_DANCE"}"#, "SCMP_ACT_DANCE");
    check_refused(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"],
        "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
        "6",
    );
    check_refused(&" ".repeat(2 << 20), "1 MiB");
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let value = prop_oneof![0..4u64, Just(u64::MAX), Just(1 << 32), any::<u64>()];
    let compare = prop_oneof![
        Just(Compare::Equal),
        Just(Compare::NotEqual),
        Just(Compare::Greater),
        Just(Compare::GreaterOrEqual),
        Just(Compare::Less),
        Just(Compare::LessOrEqual),
        any::<u64>().prop_map(|mask| Compare::Masked { mask }),
    ];
    (0..6u8, compare, value).prop_map(|(argument, compare, value)| Condition {
        argument,
        compare,
        value,
    })
}

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let arg = args[usize::from(condition.argument)];
    match condition.compare {
        Compare::Equal => arg == condition.value,
        Compare::NotEqual => arg != condition.value,
        Compare::Greater => arg > condition.value,
        Compare::GreaterOrEqual => arg >= condition.value,
        Compare::Less => arg < condition.value,
        Compare::LessOrEqual => arg <= condition.value,
        Compare::Masked { mask } => arg & mask == condition.value,
    }
}

proptest! {
    #[test]
    fn compiled_rules_decide_as_written(
        rules in proptest::collection::vec(
            (proptest::sample::subsequence(vec!["read", "write", "open", "close", "mount", "bpf"], 1..4),
             proptest::collection::vec(any_condition(), 0..4), 1..5u16), 0..12),
        numbers in proptest::collection::vec(0..340u32, 8),
        args in proptest::array::uniform6(prop_oneof![0..4u64, Just(1 << 32), any::<u64>()]),
    ) {
        let rules: Vec<Rule> = rules.into_iter().map(|(names, conditions, code)| Rule {
            names: names.iter().map(|n| n.to_string()).collect(),
            action: Action::Errno(code),
            conditions,
            includes: Scope::default(),
            excludes: Scope::default(),
        }).collect();
        let profile = Profile { default: Action::Allow, rules };
        let program = bpf::compile(&profile, &X86_64, Capabilities::none()).unwrap();
        for number in numbers.into_iter().chain([0, 1, 2, 3, 165, 321]) {
            let mine = || profile.rules.iter()
                .filter(|r| r.names.iter().any(|n| Arch::X86_64.number(n) == Some(number)));
            let fallback = mine().find(|r| r.conditions.is_empty()).map_or(Action::Allow, |r| r.action);
            let expected = mine()
                .filter(|r| !r.conditions.is_empty())
                .find(|r| r.conditions.iter().all(|c| holds(c, &args)))
                .map_or(fallback, |r| r.action);
            prop_assert_eq!(run(&program, 0xc000_003e, number, args), expected.value());
        }
    }
}
