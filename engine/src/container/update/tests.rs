use engine_api::RestartPolicy;

use super::*;

fn limited() -> HostConfig {
    HostConfig {
        memory: 64 << 20,
        memory_swap: 128 << 20,
        pids_limit: Some(10),
        ..Default::default()
    }
}

fn check(wanted: HostConfig) -> Result<HostConfig> {
    apply(&ContainerConfig::default(), &limited(), wanted)
}

#[test]
fn what_is_named_changes_and_the_rest_stays() {
    let next = check(HostConfig {
        memory: 96 << 20,
        restart_policy: RestartPolicy {
            name: "always".to_owned(),
            maximum_retry_count: 0,
        },
        ..Default::default()
    });
    let expected = HostConfig {
        memory: 96 << 20,
        restart_policy: RestartPolicy {
            name: "always".to_owned(),
            maximum_retry_count: 0,
        },
        ..limited()
    };
    assert_eq!(next.unwrap(), expected);
    let nothing = HostConfig {
        devices: Some(Vec::new()),
        oom_kill_disable: Some(false),
        ..Default::default()
    };
    assert_eq!(check(nothing).unwrap(), limited());
}

#[test]
fn what_contradicts_or_cannot_change_is_refused() {
    let refused = |wanted: HostConfig, text: &str| {
        let error = check(wanted).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    refused(
        HostConfig {
            memory: 256 << 20,
            ..Default::default()
        },
        "update the memoryswap at the same time",
    );
    refused(
        HostConfig {
            memory: 1 << 20,
            ..Default::default()
        },
        "Minimum memory limit allowed is 6MB",
    );
    refused(
        HostConfig {
            privileged: true,
            ..Default::default()
        },
        "is not supported by Carrack yet",
    );
}
