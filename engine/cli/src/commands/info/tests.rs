use super::*;

#[test]
fn the_engines_version() {
    let version: SystemVersion = serde_json::from_str(
        r#"{"Platform":{"Name":"Carrack"},"Version":"1.2.3","ApiVersion":"1.51","MinAPIVersion":"1.24",
        "Os":"linux","Arch":"amd64","KernelVersion":"6.1.0","GitCommit":"abc",
        "Components":[{"Name":"Engine","Version":"1.2.3"},{"Name":"runc","Version":"1.1"}]}"#,
    )
    .unwrap();
    insta::assert_snapshot!(server_text(&version), @r"
    Server: Carrack
     Engine:
      Version:         1.2.3
      API version:     1.51 (minimum version 1.24)
      Git commit:      abc
      OS/Arch:         linux/amd64
      Kernel:          6.1.0
     runc:
      Version:         1.1
    ");
}

#[test]
fn the_engines_state() {
    let info = EngineInfo {
        containers: 3,
        containers_running: 1,
        server_version: "1.2.3".to_owned(),
        driver: "overlay2".to_owned(),
        driver_status: vec![["Backing Filesystem".to_owned(), "extfs".to_owned()]],
        cpus: 2,
        mem_total: 16_772_329_472,
        name: "host".to_owned(),
        ..EngineInfo::default()
    };
    let text = info_text(&info).replace(env!("CARGO_PKG_VERSION"), "[version]");
    insta::assert_snapshot!(text, @r"
    Client: Carrack
     Version: [version]

    Server:
     Containers: 3
      Running: 1
      Paused: 0
      Stopped: 0
     Images: 0
     Server Version: 1.2.3
     Storage Driver: overlay2
      Backing Filesystem: extfs
     Plugins:
     CPUs: 2
     Total Memory: 15.62GiB
     Name: host
     Debug Mode: false
     Live Restore Enabled: false
    ");
}
