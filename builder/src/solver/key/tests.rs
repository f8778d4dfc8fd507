use builder_proto::pb;
use oci::Digest;

use super::op_bytes;

fn exec(change: impl FnOnce(&mut pb::Op, &mut pb::Meta)) -> Vec<u8> {
    let mut op = pb::Op::default();
    let mut meta = pb::Meta {
        args: vec!["make".to_owned()],
        ..pb::Meta::default()
    };
    change(&mut op, &mut meta);
    op.op = Some(pb::op::Op::Exec(pb::ExecOp {
        meta: Some(meta),
        ..pb::ExecOp::default()
    }));
    op_bytes(&op)
}

#[test]
fn what_cannot_change_the_result_is_not_part_of_a_key() {
    let plain = exec(|_, _| {});
    let proxy = exec(|_, meta| {
        meta.proxy_env = Some(pb::ProxyEnv {
            http_proxy: "http://proxy".to_owned(),
            ..pb::ProxyEnv::default()
        });
    });
    assert_eq!(plain, proxy);
    let inputs = exec(|op, _| {
        op.inputs = vec![pb::Input {
            digest: Digest::sha256(b"x").to_string(),
            index: 0,
        }];
        op.constraints = Some(pb::WorkerConstraints::default());
    });
    assert_eq!(plain, inputs);
    let host = |ip: &str| {
        exec(|_, meta| {
            meta.extra_hosts = vec![pb::HostIp {
                host: "db".to_owned(),
                ip: ip.to_owned(),
            }];
        })
    };
    assert_eq!(host("10.0.0.1"), host("10.0.0.2"));
}

#[test]
fn what_can_change_the_result_is_part_of_a_key() {
    let plain = exec(|_, _| {});
    for other in [
        exec(|_, meta| meta.args.push("install".to_owned())),
        exec(|_, meta| meta.env.push("A=1".to_owned())),
        exec(|_, meta| meta.user = "1".to_owned()),
        exec(|_, meta| meta.cwd = "/src".to_owned()),
        exec(|op, _| {
            op.platform = Some(pb::Platform {
                architecture: "arm64".to_owned(),
                ..pb::Platform::default()
            });
        }),
    ] {
        assert_ne!(plain, other);
    }
}
