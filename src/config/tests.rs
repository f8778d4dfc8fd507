use std::collections::BTreeMap;

use super::{
    layers::{Effective, Origin},
    *,
};

fn resolve_from(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<(Config, Effective), String> {
    let command = serve_command(clap::Command::new("serve"));
    let flags = command
        .try_get_matches_from(std::iter::once("serve").chain(flags.iter().copied()))
        .map_err(|e| e.to_string())?;
    let variables: BTreeMap<_, _> = variables
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("carrack.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    layers::resolve_with(&flags, &variables, &path).map_err(|e| format!("{e:#}"))
}

fn check_error(flags: &[&str], variables: &[(&str, &str)], file: Option<&str>, part: &str) {
    let error = resolve_from(flags, variables, file).expect_err("must be refused");
    assert!(error.contains(part), "{error:?} does not say {part:?}");
}

#[test]
fn defaults() {
    let (config, effective) = resolve_from(&[], &[], None).unwrap();
    assert_eq!(config.data_dir, Path::new("/var/lib/carrack"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:5000");
    assert_eq!(
        config.database_url,
        "sqlite:/var/lib/carrack/registry/registry.db"
    );
    assert_eq!(config.roles, Role::ALL);
    assert_eq!(effective.get("listen").unwrap().origin, Origin::Default);
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = Some("listen = \"127.0.0.1:1\"\ndata_dir = \"/file\"\nbridge = \"file0\"");
    let variables = [
        ("CARRACK_LISTEN", "127.0.0.1:2"),
        ("CARRACK_DATA_DIR", "/env"),
    ];
    let (config, effective) = resolve_from(&["--listen=127.0.0.1:3"], &variables, file).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("/env"));
    assert_eq!(config.bridge, "file0");
    assert_eq!(config.storage, "/env/registry/blobs");
    let origin = |name: &str| effective.get(name).unwrap().origin.to_string();
    assert_eq!(origin("listen"), "flag --listen");
    assert_eq!(origin("data-dir"), "environment CARRACK_DATA_DIR");
    assert!(origin("bridge").starts_with("file "));
}

#[test]
fn the_three_ways_mean_the_same() {
    let flags = resolve_from(&["--role=builder", "--role=engine"], &[], None)
        .unwrap()
        .0;
    let variables = resolve_from(&[], &[("CARRACK_ROLE", "builder,engine")], None)
        .unwrap()
        .0;
    let file = resolve_from(&[], &[], Some("role = [\"builder\", \"engine\"]"))
        .unwrap()
        .0;
    assert_eq!(flags.roles, [Role::Builder, Role::Engine]);
    assert_eq!(flags, variables);
    assert_eq!(flags, file);
}

#[test]
fn unknown_keys_name_the_nearest() {
    check_error(
        &[],
        &[],
        Some("data-dri = \"/x\""),
        "did you mean \"data-dir\"?",
    );
    check_error(
        &[],
        &[("CARRACK_LISTE", "x")],
        None,
        "did you mean CARRACK_LISTEN?",
    );
    check_error(&["--data-dr=/x"], &[], None, "'--data-dir'");
}

#[test]
fn refuses_values_by_name() {
    check_error(&["--listen=5000"], &[], None, "listen is \"5000\"");
    check_error(&["--role=web"], &[], None, "role \"web\" is not known");
    check_error(&["--database-url=postgres://h/d"], &[], None, "PostgreSQL");
    check_error(&["--storage=s3://bucket/prefix"], &[], None, "S3");
    check_error(&["--bridge=averyveryverylongname"], &[], None, "at most 15");
    check_error(
        &["--bridge-subnet=10.0.0.1/8"],
        &[],
        None,
        "inside 10.0.0.0/8",
    );
    check_error(&["--cgroup-parent=a/../b"], &[], None, "cgroup-parent");
    check_error(&[], &[], Some("listen = 5"), "listen is \"5\"");
    check_error(&[], &[], Some("role = [1]"), "array of strings");
    check_error(&["--build-workers=0"], &[], None, "from 1 to 256");
    for wrong in ["0%", "101%", "10GB", "-1"] {
        let flag = format!("--build-cache-max={wrong}");
        check_error(&[&flag], &[], None, "1% to 100% of the disk");
    }
}

#[test]
fn secrets_are_not_shown_and_not_flags() {
    let variables = [("CARRACK_ADMIN_PASSWORD", "opensesame")];
    let (config, effective) = resolve_from(&[], &variables, None).unwrap();
    assert_eq!(config.admin_password.as_deref(), Some("opensesame"));
    assert!(!effective.lines().join("\n").contains("opensesame"));
    check_error(&["--admin-password=x"], &[], None, "unexpected argument");
}

#[test]
fn shown_settings_are_a_settings_file() {
    let (config, effective) = resolve_from(&["--listen=127.0.0.1:9"], &[], None).unwrap();
    let text = effective.lines().join("\n");
    assert_eq!(resolve_from(&[], &[], Some(&text)).unwrap().0, config);
}
