//! Compiles a profile to a classic BPF program.
//!
//! Every piece of code is position-independent and ends in a return, so pieces
//! are put together by jumping over one to reach the next. A conditional jump
//! reaches 255 instructions; longer ones go through an unconditional jump.

use std::collections::BTreeMap;

use super::profile::{Action, Compare, Condition, Host, Profile, ProfileError};
use super::table::Arch;
use crate::spec::Capabilities;
use crate::sys::filter::Instruction;

/// The kernel's BPF_MAXINSNS.
const PROGRAM_MAX: usize = 4096;

/// Bit that marks an x32 call on x86_64.
const X32_BIT: u32 = 0x4000_0000;

const ENOSYS: u16 = 38;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

type Code = Vec<Instruction>;

impl Instruction {
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let ([a, b], [e, f, g, h]) = (self.code.to_le_bytes(), self.k.to_le_bytes());
        [a, b, self.jt, self.jf, e, f, g, h]
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Instruction {
        let [a, b, jt, jf, e, f, g, h] = bytes;
        Instruction {
            code: u16::from_le_bytes([a, b]),
            jt,
            jf,
            k: u32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// The whole filter.
pub(super) fn compile(
    profile: &Profile,
    host: &Host,
    caps: Capabilities,
) -> Result<Code, ProfileError> {
    let mut program = vec![plain(LOAD, ARCH)];
    for &arch in host.arch.family() {
        let mut section = vec![plain(LOAD, NUMBER)];
        section.extend(search(&ranges(profile, host, caps, arch)));
        program.push(test(IF_EQUAL, arch.audit_value(), 1, 0));
        program.push(plain(JUMP, section.len() as u32));
        program.extend(section);
    }
    // A program of another architecture would be judged by wrong numbers.
    program.push(ret(Action::Errno(ENOSYS)));
    match program.len() {
        length if length <= PROGRAM_MAX => Ok(program),
        length => Err(ProfileError::TooLong(length)),
    }
}

/// What to do from a call number up to the next range's.
#[derive(Debug, Clone, PartialEq)]
struct Range {
    start: u32,
    code: Code,
}

/// Partitions all numbers of an architecture, merging equal neighbours.
fn ranges(profile: &Profile, host: &Host, caps: Capabilities, arch: Arch) -> Vec<Range> {
    let mut ranges = vec![Range {
        start: 0,
        code: vec![ret(profile.default)],
    }];
    let mut put = |start: u32, code: Code| match ranges.last_mut() {
        Some(last) if last.code == code => {}
        Some(last) if last.start == start => last.code = code,
        _ => ranges.push(Range { start, code }),
    };
    for (number, rules) in rules_by_number(profile, host, caps, arch) {
        put(number, decide(&rules, profile.default));
        put(number + 1, vec![ret(profile.default)]);
    }
    if arch == Arch::X86_64 {
        put(X32_BIT, vec![ret(Action::Errno(ENOSYS))]);
    }
    merge(ranges)
}

/// Overwriting a start can leave two equal ranges side by side.
fn merge(ranges: Vec<Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if merged.last().is_none_or(|last| last.code != range.code) {
            merged.push(range);
        }
    }
    merged
}

type Decisions<'a> = Vec<(&'a [Condition], Action)>;

fn rules_by_number<'a>(
    profile: &'a Profile,
    host: &Host,
    caps: Capabilities,
    arch: Arch,
) -> BTreeMap<u32, Decisions<'a>> {
    let mut by_number: BTreeMap<u32, Decisions<'a>> = BTreeMap::new();
    for rule in profile.rules.iter().filter(|rule| rule.applies(host, caps)) {
        // Names that this architecture does not have are normal in profiles.
        for number in rule.names.iter().filter_map(|name| arch.number(name)) {
            by_number
                .entry(number)
                .or_default()
                .push((&rule.conditions, rule.action));
        }
    }
    by_number
}

/// Conditional rules in order, then the first unconditional one.
fn decide(rules: &Decisions<'_>, default: Action) -> Code {
    let fallback = rules.iter().find(|(conditions, _)| conditions.is_empty());
    let fallback = fallback.map_or(default, |&(_, action)| action);
    let mut code = Vec::new();
    for (conditions, action) in rules
        .iter()
        .filter(|(conditions, _)| !conditions.is_empty())
    {
        code.extend(check(conditions, *action));
    }
    code.push(ret(fallback));
    code
}

/// Returns `action` when all conditions hold, else runs on behind itself.
fn check(conditions: &[Condition], action: Action) -> Code {
    const FAIL: u8 = u8::MAX;
    let mut code: Code = conditions.iter().flat_map(|c| condition(c, FAIL)).collect();
    code.push(ret(action));
    let length = code.len();
    for (index, instruction) in code.iter_mut().enumerate() {
        if is_test(instruction.code) {
            // Six conditions of at most six instructions: always in reach.
            let out = (length - index - 1) as u8;
            instruction.jt = if instruction.jt == FAIL {
                out
            } else {
                instruction.jt
            };
            instruction.jf = if instruction.jf == FAIL {
                out
            } else {
                instruction.jf
            };
        }
    }
    code
}

/// Falls through when the condition holds; jumps to `fail` when not.
fn condition(condition: &Condition, fail: u8) -> Code {
    let low_at = ARGUMENTS + 8 * u32::from(condition.argument);
    let (low_at, high_at) = (low_at, low_at + 4);
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    match condition.compare {
        Compare::Equal => vec![
            plain(LOAD, high_at),
            test(IF_EQUAL, high, 0, fail),
            plain(LOAD, low_at),
            test(IF_EQUAL, low, 0, fail),
        ],
        Compare::NotEqual => vec![
            plain(LOAD, high_at),
            test(IF_EQUAL, high, 0, 2),
            plain(LOAD, low_at),
            test(IF_EQUAL, low, fail, 0),
        ],
        Compare::Greater | Compare::GreaterOrEqual => {
            let last = match condition.compare {
                Compare::Greater => IF_GREATER,
                _ => IF_GREATER_OR_EQUAL,
            };
            vec![
                plain(LOAD, high_at),
                test(IF_GREATER, high, 3, 0),
                test(IF_EQUAL, high, 0, fail),
                plain(LOAD, low_at),
                test(last, low, 0, fail),
            ]
        }
        Compare::Less | Compare::LessOrEqual => {
            let last = match condition.compare {
                Compare::Less => IF_GREATER_OR_EQUAL,
                _ => IF_GREATER,
            };
            vec![
                plain(LOAD, high_at),
                test(IF_GREATER, high, fail, 0),
                test(IF_EQUAL, high, 0, 2),
                plain(LOAD, low_at),
                test(last, low, fail, 0),
            ]
        }
        Compare::Masked { mask } => vec![
            plain(LOAD, high_at),
            plain(AND, (mask >> 32) as u32),
            test(IF_EQUAL, high, 0, fail),
            plain(LOAD, low_at),
            plain(AND, mask as u32),
            test(IF_EQUAL, low, 0, fail),
        ],
    }
}

/// A balanced decision tree over ranges; the call number is loaded.
fn search(ranges: &[Range]) -> Code {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let ([_, ..], [pivot, ..]) = (left, right) else {
        return ranges
            .first()
            .map(|range| range.code.clone())
            .unwrap_or_default();
    };
    let (below, above) = (search(left), search(right));
    let mut code = match u8::try_from(below.len()) {
        Ok(length) => vec![test(IF_GREATER_OR_EQUAL, pivot.start, length, 0)],
        Err(_) => vec![
            test(IF_GREATER_OR_EQUAL, pivot.start, 0, 1),
            plain(JUMP, below.len() as u32),
        ],
    };
    code.extend(below);
    code.extend(above);
    code
}

fn is_test(code: u16) -> bool {
    matches!(code, IF_EQUAL | IF_GREATER | IF_GREATER_OR_EQUAL)
}

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn test(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn ret(action: Action) -> Instruction {
    plain(RETURN, action.value())
}
