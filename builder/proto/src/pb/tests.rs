//! The messages against bytes that BuildKit v0.34's own Go types wrote
//! (deterministic marshalling), covering every field that we name.

use std::collections::BTreeMap;

use prost::{Message, bytes::Bytes};

use crate::pb::{
    BuildInput, BuildOp, CacheOpt, CacheSharingOpt, CdiDevice, ChownOpt, Definition, DiffOp,
    ExecOp, ExportCache, FileAction, FileActionCopy, FileActionMkDir, FileActionMkFile,
    FileActionRm, FileActionSymlink, FileOp, HostIp, Input, LinuxResources, Location, Locations,
    LowerDiffInput, MergeInput, MergeOp, Meta, Mount, MountContentCache, MountType, NamedUserOpt,
    NetMode, Op, OpMetadata, PassthroughOp, Platform, Position, ProgressGroup, ProxyEnv, Range,
    SecretEnv, SecretOpt, SecurityMode, Source, SourceInfo, SourceOp, SshOpt, TmpfsOpt, Ulimit,
    UpperDiffInput, UserOpt, WorkerConstraints, file_action::Action, op, user_opt,
};

/// The bytes decode to `message`, and `message` encodes to as many bytes: no
/// field is lost either way. Go writes a oneof after the other fields and we
/// in order of number, so the bytes themselves may be arranged differently.
fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, hex: &str) {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(&M::decode(bytes.as_slice()).unwrap(), message);
    let ours = message.encode_to_vec();
    assert_eq!(ours.len(), bytes.len(), "encoding of {message:?}");
    assert_eq!(&M::decode(ours.as_slice()).unwrap(), message);
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn op(op: op::Op) -> Op {
    Op {
        op: Some(op),
        ..Op::default()
    }
}

#[test]
fn exec_op() {
    let mount = |dest: &str, kind: MountType| Mount {
        input: -1,
        dest: dest.to_owned(),
        output: -1,
        mount_type: kind.into(),
        ..Mount::default()
    };
    let exec = ExecOp {
        meta: Some(Meta {
            args: strings(&["/bin/sh", "-c", "true"]),
            env: strings(&["A=b"]),
            cwd: "/w".to_owned(),
            user: "u:g".to_owned(),
            proxy_env: Some(ProxyEnv {
                http_proxy: "h".to_owned(),
                all_proxy: "a".to_owned(),
                ..ProxyEnv::default()
            }),
            extra_hosts: vec![HostIp {
                host: "x".to_owned(),
                ip: "1.2.3.4".to_owned(),
            }],
            hostname: "hn".to_owned(),
            ulimit: vec![Ulimit {
                name: "nofile".to_owned(),
                soft: 1,
                hard: 2,
            }],
            cgroup_parent: "cg".to_owned(),
            remove_mount_stubs_recursive: true,
            valid_exit_codes: vec![0, 3],
        }),
        mounts: vec![
            Mount {
                input: 0,
                output: 0,
                ..mount("/", MountType::Bind)
            },
            Mount {
                cache_opt: Some(CacheOpt {
                    id: "id".to_owned(),
                    sharing: CacheSharingOpt::Locked.into(),
                }),
                ..mount("/c", MountType::Cache)
            },
            Mount {
                tmpfs_opt: Some(TmpfsOpt { size: 4096 }),
                ..mount("/t", MountType::Tmpfs)
            },
            Mount {
                secret_opt: Some(SecretOpt {
                    id: "s".to_owned(),
                    uid: 1,
                    gid: 2,
                    mode: 0o400,
                    optional: true,
                }),
                ..mount("/s", MountType::Secret)
            },
            Mount {
                ssh_opt: Some(SshOpt {
                    id: "default".to_owned(),
                    mode: 0o600,
                    ..SshOpt::default()
                }),
                ..mount("/h", MountType::Ssh)
            },
            Mount {
                input: 0,
                selector: "/sel".to_owned(),
                readonly: true,
                result_id: "r".to_owned(),
                content_cache: MountContentCache::Off.into(),
                ..mount("/b", MountType::Bind)
            },
        ],
        network: NetMode::None.into(),
        security: SecurityMode::Insecure.into(),
        secretenv: vec![SecretEnv {
            id: "i".to_owned(),
            name: "n".to_owned(),
            optional: true,
        }],
        cdi_devices: vec![CdiDevice {
            name: "d".to_owned(),
            optional: false,
        }],
    };
    let op = Op {
        inputs: vec![Input {
            digest: "sha256:aa".to_owned(),
            index: 1,
        }],
        op: Some(op::Op::Exec(exec)),
        platform: Some(Platform {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            variant: "v2".to_owned(),
            ..Platform::default()
        }),
        constraints: Some(WorkerConstraints {
            filter: strings(&["f"]),
        }),
    };
    check(
        &op,
        "\
        0a0d0a097368613235363a6161100152120a05616d64363412056c696e75781a0276325a030a016612b2020a\
        530a072f62696e2f73680a022d630a04747275651203413d621a022f772203753a672a060a01682a0161320c\
        0a01781207312e322e332e343a02686e4a0c0a066e6f66696c65100118025202636758016202000312031a01\
        2f122508ffffffffffffffffff011a022f6320ffffffffffffffffff013003a201060a0269641002122208ff\
        ffffffffffffffff011a022f7420ffffffffffffffffff0130049a0103088020122b08ffffffffffffffffff\
        011a022f7320ffffffffffffffffff013001aa010c0a0173100118022080022801122b08ffffffffffffffff\
        ff011a022f6820ffffffffffffffffff013002b2010c0a0764656661756c74208003121e12042f73656c1a02\
        2f6220ffffffffffffffffff012801ba010172c00102180220012a080a016912016e180132030a0164",
    );
}

#[test]
fn file_op() {
    let action = |input, action| FileAction {
        input,
        secondary_input: -1,
        output: -1,
        action: Some(action),
    };
    let copy = FileActionCopy {
        src: "/s".to_owned(),
        dest: "/d".to_owned(),
        owner: Some(ChownOpt {
            user: Some(UserOpt {
                user: Some(user_opt::User::ByName(NamedUserOpt {
                    name: "u".to_owned(),
                    input: 1,
                })),
            }),
            group: Some(UserOpt {
                user: Some(user_opt::User::ById(7)),
            }),
        }),
        mode: -1,
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: true,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        timestamp: -1,
        include_patterns: strings(&["i"]),
        exclude_patterns: strings(&["e"]),
        always_replace_existing_dest_paths: true,
        mode_str: "u=rwX".to_owned(),
        required_paths: strings(&["r"]),
    };
    let file = FileOp {
        actions: vec![
            FileAction {
                secondary_input: 1,
                ..action(0, Action::Copy(copy))
            },
            action(
                2,
                Action::Mkfile(FileActionMkFile {
                    path: "/f".to_owned(),
                    mode: 0o644,
                    data: Bytes::from_static(b"x"),
                    owner: None,
                    timestamp: -1,
                }),
            ),
            action(
                3,
                Action::Mkdir(FileActionMkDir {
                    path: "/m".to_owned(),
                    mode: 0o755,
                    make_parents: true,
                    owner: None,
                    timestamp: -1,
                }),
            ),
            action(
                4,
                Action::Rm(FileActionRm {
                    path: "/r".to_owned(),
                    allow_not_found: true,
                    allow_wildcard: true,
                }),
            ),
            FileAction {
                output: 0,
                ..action(
                    5,
                    Action::Symlink(FileActionSymlink {
                        oldpath: "o".to_owned(),
                        newpath: "/n".to_owned(),
                        owner: None,
                        timestamp: 5,
                    }),
                )
            },
        ],
    };
    check(
        &op(op::Op::File(file)),
        "\
        22fc01125b100118ffffffffffffffffff01224c0a022f7312022f641a0d0a070a050a017510011202100720\
        ffffffffffffffffff0128013001380140014801500158ffffffffffffffffff016201696a016570017a0575\
        3d72775882010172122f080210ffffffffffffffffff0118ffffffffffffffffff012a150a022f6610a4031a\
        017828ffffffffffffffffff01122e080310ffffffffffffffffff0118ffffffffffffffffff0132140a022f\
        6d10ed03180128ffffffffffffffffff011222080410ffffffffffffffffff0118ffffffffffffffffff013a\
        080a022f72100118011218080510ffffffffffffffffff0142090a016f12022f6e2005",
    );
}

#[test]
fn source_op() {
    let source = SourceOp {
        identifier: "local://context".to_owned(),
        attrs: pairs(&[("b", "2"), ("a", "1")]),
    };
    check(
        &op(op::Op::Source(source)),
        "1a210a0f6c6f63616c3a2f2f636f6e7465787412060a016112013112060a0162120132",
    );
}

#[test]
fn merge_diff_and_passthrough_ops() {
    let merge = MergeOp {
        inputs: vec![MergeInput { input: 0 }, MergeInput { input: 1 }],
    };
    check(&op(op::Op::Merge(merge)), "32060a000a020801");
    let diff = DiffOp {
        lower: Some(LowerDiffInput { input: -1 }),
        upper: Some(UpperDiffInput { input: 1 }),
    };
    check(
        &op(op::Op::Diff(diff)),
        "3a110a0b08ffffffffffffffffff0112020801",
    );
    let passthrough = PassthroughOp {
        id: "p".to_owned(),
        outputs: vec![0, 1],
    };
    check(&op(op::Op::Passthrough(passthrough)), "42070a017012020001");
}

#[test]
fn build_op() {
    let build = BuildOp {
        builder: 1,
        inputs: BTreeMap::from([("k".to_owned(), BuildInput { input: 2 })]),
        def: Some(Definition {
            def: vec![Bytes::from_static(&[1])],
            ..Definition::default()
        }),
        attrs: pairs(&[("a", "b")]),
    };
    check(
        &op(op::Op::Build(build)),
        "2a18080112070a016b120208021a030a010122060a0161120162",
    );
}

#[test]
fn definition() {
    let metadata = OpMetadata {
        ignore_cache: true,
        description: pairs(&[("llb.customname", "n")]),
        export_cache: Some(ExportCache { value: true }),
        caps: BTreeMap::from([("c".to_owned(), true)]),
        progress_group: Some(ProgressGroup {
            id: "i".to_owned(),
            name: "n".to_owned(),
            weak: true,
        }),
        linux_resources: Some(LinuxResources {
            memory: 1,
            memory_swap: -1,
            cpu_shares: 2,
            cpu_period: 3,
            cpu_quota: 4,
            cpuset_cpus: "0".to_owned(),
            cpuset_mems: "1".to_owned(),
        }),
    };
    let range = Range {
        start: Some(Position {
            line: 1,
            character: 0,
        }),
        end: Some(Position {
            line: 2,
            character: 3,
        }),
    };
    let locations = Locations {
        locations: vec![Location {
            source_index: 0,
            ranges: vec![range],
        }],
    };
    let definition = Definition {
        def: vec![Bytes::from_static(&[0xff, 0])],
        metadata: BTreeMap::from([("sha256:aa".to_owned(), metadata)]),
        source: Some(Source {
            locations: BTreeMap::from([("sha256:aa".to_owned(), locations)]),
            infos: vec![SourceInfo {
                filename: "Dockerfile".to_owned(),
                data: Bytes::from_static(b"FROM"),
                definition: None,
                language: "Dockerfile".to_owned(),
            }],
        }),
    };
    check(
        &definition,
        "\
        0a02ff0012540a097368613235363a61611247080112130a0e6c6c622e637573746f6d6e616d6512016e2202\
        08012a050a0163100132080a016912016e18013a19080110ffffffffffffffffff011802200328043201303a\
        01311a3d0a1b0a097368613235363a6161120e0a0c120a0a020801120408021003121e0a0a446f636b657266\
        696c65120446524f4d220a446f636b657266696c65",
    );
}

#[test]
fn enum_values_that_nobody_defined_survive_decoding() {
    // The solver refuses them by number; decoding must not turn them into a default.
    let exec = ExecOp {
        security: 2,
        ..ExecOp::default()
    };
    let decoded = ExecOp::decode(exec.encode_to_vec().as_slice()).unwrap();
    assert_eq!(decoded.security, 2);
    assert!(SecurityMode::try_from(decoded.security).is_err());
}
