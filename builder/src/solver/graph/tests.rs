//! Definitions as strangers send them: refused by name, never a panic.

use builder_proto::pb;
use bytes::Bytes;
use oci::Digest;
use proptest::prelude::*;
use prost::Message;

use super::{DEPTH_MAX, Graph};
use crate::solver::GraphError;

fn digest(bytes: &Bytes) -> String {
    Digest::sha256(bytes).to_string()
}

fn input(op: &Bytes, index: i64) -> pb::Input {
    pb::Input {
        digest: digest(op),
        index,
    }
}

fn encode(inputs: Vec<pb::Input>, op: Option<pb::op::Op>) -> Bytes {
    pb::Op {
        inputs,
        op,
        ..pb::Op::default()
    }
    .encode_to_vec()
    .into()
}

fn result(op: &Bytes) -> Bytes {
    encode(vec![input(op, 0)], None)
}

fn local() -> Bytes {
    let source = pb::SourceOp {
        identifier: "local://context".to_owned(),
        ..pb::SourceOp::default()
    };
    encode(Vec::new(), Some(pb::op::Op::Source(source)))
}

fn exec_op() -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(pb::Meta {
            args: vec!["true".to_owned()],
            ..pb::Meta::default()
        }),
        mounts: vec![pb::Mount {
            input: 0,
            dest: "/".to_owned(),
            ..pb::Mount::default()
        }],
        ..pb::ExecOp::default()
    }
}

fn exec_on(base: &Bytes, exec: pb::ExecOp) -> Bytes {
    encode(vec![input(base, 0)], Some(pb::op::Op::Exec(exec)))
}

fn decode(ops: &[Bytes]) -> Result<Graph, GraphError> {
    Graph::decode(&pb::Definition {
        def: ops.to_vec(),
        ..pb::Definition::default()
    })
}

fn check_refused(ops: &[Bytes], expected: &str) {
    let error = decode(ops).unwrap_err().to_string();
    assert!(error.contains(expected), "{error:?} lacks {expected:?}");
}

/// A definition of one exec, changed by `change`, on the local source.
fn check_exec(change: impl FnOnce(&mut pb::ExecOp), expected: &str) {
    let base = local();
    let mut exec = exec_op();
    change(&mut exec);
    let exec = exec_on(&base, exec);
    check_refused(&[base, exec.clone(), result(&exec)], expected);
}

/// A definition of one file action, on the local source.
fn check_file(action: pb::FileAction, expected: &str) {
    let base = local();
    let file = pb::FileOp {
        actions: vec![action],
    };
    let file = encode(vec![input(&base, 0)], Some(pb::op::Op::File(file)));
    check_refused(&[base, file.clone(), result(&file)], expected);
}

#[test]
fn a_plain_definition_decodes_in_order_without_what_it_does_not_need() {
    let base = local();
    let exec = exec_on(&base, exec_op());
    let unused = encode(
        Vec::new(),
        Some(pb::op::Op::Source(pb::SourceOp {
            identifier: "local://other".to_owned(),
            ..pb::SourceOp::default()
        })),
    );
    // Users before inputs, and an operation twice: both are fine.
    let graph = decode(&[exec.clone(), unused, base.clone(), base, result(&exec)]).unwrap();
    let names: Vec<_> = graph.vertices.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["local://context", "true"]);
    assert_eq!(graph.result.map(|edge| edge.vertex), Some(1));
    assert!(decode(&[]).unwrap().result.is_none());
}

#[test]
fn broken_structure_is_refused() {
    let base = local();
    let exec = exec_on(&base, exec_op());
    check_refused(&[Bytes::from_static(b"\xff\xff")], "not valid protobuf");
    check_refused(std::slice::from_ref(&base), "must be the result");
    check_refused(
        &[exec.clone(), result(&exec)],
        "which is not in the definition",
    );
    let odd = pb::Input {
        digest: "sha256:zz".to_owned(),
        index: 0,
    };
    check_refused(&[encode(vec![odd], None)], "is not a digest");
    let empty = encode(Vec::new(), None);
    check_refused(&[empty.clone(), result(&empty)], "has no type");
    for index in [-1, 1, 1 << 31, i64::MIN, i64::MAX] {
        let end = encode(vec![input(&base, index)], None);
        check_refused(&[base.clone(), end], "which has 1");
    }
}

#[test]
fn a_chain_deeper_than_the_limit_is_refused_without_recursion() {
    // One operation more than the limit on vertices would be found first.
    for length in [DEPTH_MAX + 2, 9_000] {
        let mut ops = vec![local()];
        for number in 0..length {
            let mut exec = exec_op();
            exec.meta.as_mut().unwrap().args = vec![number.to_string()];
            ops.push(exec_on(ops.last().unwrap(), exec));
        }
        ops.push(result(ops.last().unwrap()));
        check_refused(&ops, "the longest chain");
    }
    let many = vec![local(); 100_000];
    check_refused(&many, "at most 10000");
}

#[test]
fn indexes_out_of_range_are_refused() {
    for index in [-2, 1, 1 << 31, i64::MIN] {
        check_exec(|e| e.mounts[0].input = index, "out of range");
        if index != 1 {
            check_exec(|e| e.mounts[0].output = index, "out of range");
        }
        check_file(
            pb::FileAction {
                input: index,
                action: Some(pb::file_action::Action::Rm(pb::FileActionRm::default())),
                ..pb::FileAction::default()
            },
            "file.actions.input",
        );
        check_file(
            pb::FileAction {
                secondary_input: index,
                action: Some(pb::file_action::Action::Copy(pb::FileActionCopy::default())),
                ..pb::FileAction::default()
            },
            "file.actions.secondaryInput",
        );
    }
}

#[test]
fn unknown_values_of_enumerations_are_refused() {
    for value in [-1, 5, 255, i32::MAX] {
        check_exec(|e| e.network = value, "exec.network has the unknown value");
        check_exec(
            |e| e.security = value,
            "exec.security has the unknown value",
        );
        check_exec(
            |e| e.mounts[0].mount_type = value,
            "mountType has the unknown value",
        );
        check_exec(
            |e| e.mounts[0].content_cache = value,
            "contentCache has the unknown",
        );
        check_exec(
            |e| {
                e.mounts.push(pb::Mount {
                    input: -1,
                    output: -1,
                    dest: "/c".to_owned(),
                    mount_type: pb::MountType::Cache.into(),
                    cache_opt: Some(pb::CacheOpt {
                        sharing: value,
                        ..pb::CacheOpt::default()
                    }),
                    ..pb::Mount::default()
                });
            },
            "sharing has the unknown value",
        );
    }
    check_exec(|e| e.security = 2, "exec.security has the unknown value 2");
}

#[test]
fn what_needs_an_entitlement_or_is_missing_is_named() {
    check_exec(|e| e.security = 1, "\"security.insecure\"");
    check_exec(|e| e.network = 1, "\"network.host\"");
    let secret = pb::SecretEnv::default();
    check_exec(
        |e| e.secretenv = vec![secret],
        "a secret in the environment is not supported",
    );
    check_exec(|e| e.mounts.clear(), "one plain bind at /");
    check_exec(|e| e.meta = None, "exec.meta is missing");
    check_exec(|e| e.meta.as_mut().unwrap().args.clear(), "args is empty");
    check_exec(
        |e| e.meta.as_mut().unwrap().cwd = "x".into(),
        "cwd is not absolute",
    );
    check_exec(
        |e| e.meta.as_mut().unwrap().env = vec!["x".into()],
        "NAME=value",
    );
    check_exec(
        |e| e.meta.as_mut().unwrap().hostname = "a b".into(),
        "not a host name",
    );
    check_exec(
        |e| e.meta.as_mut().unwrap().cgroup_parent = "/".into(),
        "cgroup parent",
    );
    check_exec(
        |e| e.meta.as_mut().unwrap().args = vec!["a\0".into()],
        "NUL",
    );
    for (op, name) in [
        (pb::op::Op::Merge(pb::MergeOp::default()), "MergeOp"),
        (pb::op::Op::Diff(pb::DiffOp::default()), "DiffOp"),
        (pb::op::Op::Build(pb::BuildOp::default()), "BuildOp"),
    ] {
        let op = encode(Vec::new(), Some(op));
        check_refused(
            &[op.clone(), result(&op)],
            &format!("{name} is not supported"),
        );
    }
    for (identifier, expected) in [
        ("git://x", "source git is not supported"),
        ("https://x/y", "source http is not supported"),
        ("nothing", "has no scheme"),
        ("docker-image://busybox:latest", "without digest"),
        ("docker-image://../x", "is not an image"),
    ] {
        let source = pb::SourceOp {
            identifier: identifier.to_owned(),
            ..pb::SourceOp::default()
        };
        let op = encode(Vec::new(), Some(pb::op::Op::Source(source)));
        check_refused(&[op.clone(), result(&op)], expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever the bytes are, decoding ends with a graph or a typed error.
    #[test]
    fn no_bytes_make_it_panic(ops in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let ops: Vec<Bytes> = ops.into_iter().map(Bytes::from).collect();
        let _ = decode(&ops);
    }

    /// Whatever bit of a good definition is flipped, likewise.
    #[test]
    fn no_flipped_bit_makes_it_panic(at in 0..2000_usize, bit in 0..8_u8) {
        let base = local();
        let exec = exec_on(&base, exec_op());
        let mut ops = [base.to_vec(), exec.to_vec(), result(&exec).to_vec()];
        let length: usize = ops.iter().map(Vec::len).sum();
        let mut at = at % length;
        for op in &mut ops {
            if at < op.len() {
                op[at] ^= 1 << bit;
                break;
            }
            at -= op.len();
        }
        let ops: Vec<Bytes> = ops.into_iter().map(Bytes::from).collect();
        let _ = decode(&ops);
    }
}
