//! Shapes that clients compare: nulls, empties and odd names.

use serde_json::json;

use crate::*;

fn check<T: serde::Serialize>(value: &T, expected: serde_json::Value) {
    let got = serde_json::to_value(value).expect("plain data serialises");
    for (key, want) in expected.as_object().expect("an object") {
        assert_eq!(got.get(key), Some(want), "{key} in {got}");
    }
}

#[test]
fn empty_host_config_writes_what_docker_writes() {
    check(
        &HostConfig::default(),
        json!({
            "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "", "Config": {}},
            "PortBindings": {}, "Dns": [], "CapAdd": null, "UTSMode": "",
            "BlkioDeviceReadIOps": null, "IOMaximumIOps": 0, "PidsLimit": null,
            "ConsoleSize": [0, 0], "MaskedPaths": null,
        }),
    );
    let text = serde_json::to_string(&HostConfig::default()).expect("serialises");
    for absent in ["Mounts", "Tmpfs", "Sysctls", "Init\"", "Annotations"] {
        assert!(
            !text.contains(absent),
            "{absent} must be left out when empty"
        );
    }
}

#[test]
fn exec_inspect_has_null_until_the_end() {
    check(
        &ExecInspect::default(),
        json!({"ExitCode": null, "ID": "", "ContainerID": ""}),
    );
}

#[test]
fn create_request_reads_nulls_and_a_command_as_one_string() {
    let body = json!({
        "Image": "busybox", "Cmd": "true", "Entrypoint": null, "Env": null, "Labels": null,
        "ExposedPorts": null, "HostConfig": {"Binds": null, "PortBindings": {"80/tcp": null},
        "RestartPolicy": null, "ConsoleSize": null}, "NetworkingConfig": null,
    });
    let request: ContainerCreateRequest = serde_json::from_value(body).expect("reads");
    assert_eq!(request.config.cmd, Some(vec!["true".to_owned()]));
    assert_eq!(request.config.entrypoint, None);
    let host = request.host_config.expect("was sent");
    assert_eq!(host.port_bindings.get("80/tcp"), Some(&None));
}

#[test]
fn create_request_is_written_flat() {
    let request = ContainerCreateRequest {
        config: ContainerConfig {
            image: "busybox".into(),
            ..Default::default()
        },
        ..Default::default()
    };
    check(
        &request,
        json!({"Image": "busybox", "HostConfig": null, "Volumes": null}),
    );
}

#[test]
fn progress_leaves_out_what_is_empty() {
    let line = Progress {
        status: "Pulling fs layer".into(),
        id: "abc".into(),
        progress_detail: Some(ProgressDetail::default()),
        ..Default::default()
    };
    let text = serde_json::to_string(&line).expect("serialises");
    assert_eq!(
        text,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#
    );
}

#[test]
fn frames_round_trip() {
    let frame = Frame {
        stream: StreamKind::Stderr,
        len_bytes: 0x0102_0304,
    };
    assert_eq!(frame.to_bytes(), [2, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(Frame::parse(frame.to_bytes()), Some(frame));
    assert_eq!(Frame::parse([9, 0, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn credentials_do_not_show_in_debug() {
    let auth = AuthConfig {
        password: "hunter2".into(),
        identitytoken: "tok".into(),
        ..Default::default()
    };
    let text = format!("{auth:?}");
    assert!(
        !text.contains("hunter2") && !text.contains("tok\""),
        "{text}"
    );
}
