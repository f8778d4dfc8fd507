use serde_json::json;

use super::*;

fn check_host(json: serde_json::Value, expected: Option<&str>) {
    let host: HostConfig = serde_json::from_value(json.clone()).unwrap();
    let got = check(&ContainerConfig::default(), &host, None)
        .err()
        .map(|e| e.to_string());
    assert_eq!(got.as_deref(), expected, "{json}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let yet = |name: &str| format!("{name} is not supported by Carrack yet");
    check_host(json!({}), None);
    check_host(json!({"Init": true}), Some(&yet("--init")));
    check_host(json!({"Init": false}), None);
    check_host(json!({"Links": ["a:b"]}), Some(&yet("--link")));
    check_host(
        json!({"DeviceRequests": [{"Count": -1}]}),
        Some(&yet("--gpus")),
    );
    check_host(json!({"UsernsMode": "host"}), None);
    check_host(json!({"MemorySwappiness": -1}), None);
    check_host(
        json!({"MemorySwappiness": 10}),
        Some(&yet("--memory-swappiness")),
    );
    check_host(
        json!({"Runtime": "kata"}),
        Some("unknown or invalid runtime name: kata"),
    );
    check_host(
        json!({"Memory": 1024}),
        Some("Minimum memory limit allowed is 6MB"),
    );
    check_host(
        json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}}),
        Some("can't set 'AutoRemove' and 'RestartPolicy' at the same time"),
    );
    check_host(
        json!({"LogConfig": {"Type": "json-file", "Config": {"tag": "x"}}}),
        Some("unknown log opt 'tag' for json-file log driver"),
    );
}
