use proptest::prelude::*;

use super::*;

fn show(mounts: &[PlannedMount]) -> String {
    let lines: Vec<String> = mounts
        .iter()
        .map(|m| {
            let ro = if m.read_only { " ro" } else { "" };
            let source = match &m.source {
                PlannedSource::Bind {
                    path,
                    create,
                    recursive,
                    propagation,
                } => {
                    format!(
                        "bind {} create={create} recursive={recursive} {propagation:?}",
                        path.display()
                    )
                }
                PlannedSource::Volume { name, copy, .. } => format!("volume {name:?} copy={copy}"),
                PlannedSource::Tmpfs {
                    size_bytes,
                    mode,
                    exec,
                } => {
                    format!("tmpfs {size_bytes:?} {mode:o} exec={exec}")
                }
            };
            format!("{}{ro} <- {source}", m.target)
        })
        .collect();
    lines.join("\n")
}

fn check(binds: &[&str], expected: &str) {
    let host = HostConfig {
        binds: Some(binds.iter().map(|b| (*b).to_owned()).collect()),
        ..Default::default()
    };
    let got = match plan(&ContainerConfig::default(), &host) {
        Ok(mounts) => show(&mounts),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected, "{binds:?}");
}

#[test]
fn binds_are_host_paths_or_volumes() {
    check(
        &["/a:/b"],
        "/b <- bind /a create=true recursive=true Private",
    );
    check(
        &["/a:/b:ro,rslave"],
        "/b ro <- bind /a create=true recursive=true Slave",
    );
    check(&["data:/b:nocopy"], "/b <- volume \"data\" copy=false");
    check(&["/b"], "/b <- volume \"\" copy=true");
    check(
        &["/a:/x/y/z", "/a:/x//y/"],
        "/x/y <- bind /a create=true recursive=true Private\n/x/y/z <- bind /a create=true recursive=true Private",
    );
}

#[test]
fn bad_binds_are_refused() {
    check(
        &["/a:/"],
        "error: invalid specification: destination can't be '/'",
    );
    check(
        &["/a:b"],
        "error: invalid mount path: 'b' mount path must be absolute",
    );
    check(
        &["/a:/b/../c"],
        "error: invalid mount path: '/b/../c' must not contain '..'",
    );
    check(
        &["/a:/b:what"],
        "error: invalid volume specification: '/a:/b:what'",
    );
    check(
        &["/a:/b:ro:x"],
        "error: invalid volume specification: '/a:/b:ro:x'",
    );
    check(&[":/b"], "error: invalid volume specification: ':/b'");
    check(&["/a:/b", "/c:/b"], "error: Duplicate mount point: /b");
    check(
        &["../etc:/b"],
        "error: create ../etc: \"../etc\" includes invalid characters for a local volume name, \
         only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
    );
}

#[test]
fn image_volumes_yield_to_what_the_user_mounts() {
    let config = ContainerConfig {
        volumes: Some(
            [
                ("/data".to_owned(), serde_json::json!({})),
                ("/b/".to_owned(), serde_json::json!({})),
            ]
            .into(),
        ),
        ..Default::default()
    };
    let host = HostConfig {
        binds: Some(vec!["/a:/b".to_owned()]),
        ..Default::default()
    };
    let got = show(&plan(&config, &host).unwrap());
    assert_eq!(
        got,
        "/b <- bind /a create=true recursive=true Private\n/data <- volume \"\" copy=true"
    );
}

fn check_tmpfs(options: &str, expected: &str) {
    let got = match parse_tmpfs("/t", options) {
        Ok(mount) => show(&[mount]),
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(got, expected, "{options}");
}

#[test]
fn tmpfs_options_are_read_or_refused() {
    check_tmpfs("", "/t <- tmpfs None 1777 exec=false");
    check_tmpfs(
        "rw,size=64k,mode=700,exec",
        "/t <- tmpfs Some(65536) 700 exec=true",
    );
    check_tmpfs("ro", "/t ro <- tmpfs None 1777 exec=false");
    check_tmpfs("uid=5", "error: invalid tmpfs option \"uid=5\"");
    check_tmpfs("size=many", "error: invalid tmpfs option \"size=many\"");
}

proptest! {
    #[test]
    fn targets_never_leave_the_root(text in "\\PC{0,60}") {
        let _ = parse_tmpfs(&text, &text);
        if let Ok(mount) = parse_bind(&text) {
            prop_assert!(mount.target.starts_with('/'));
            prop_assert!(!mount.target.split('/').any(|part| part == ".." || part == "."));
        }
    }
}
