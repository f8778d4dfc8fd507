use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn load(text: &str) -> (tempfile::TempDir, ConfigFile) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), text).unwrap();
    let config = ConfigFile::load(dir.path()).unwrap();
    (dir, config)
}

#[test]
fn what_is_not_known_survives_a_rewrite() {
    let (dir, mut config) = load(
        r#"{"psFormat":"{{.ID}}","plugins":{"x":{"y":"z"}},"auths":{"a.example":{"auth":"dTpw"}}}"#,
    );
    assert_eq!(config.text("psFormat"), Some("{{.ID}}"));
    config.set_auth("127.0.0.1:5000", &StoredAuth::of_password("admin", "s:e c"));
    config.save().unwrap();

    let path = dir.path().join("config.json");
    let again: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(again["plugins"]["x"]["y"], "z");
    assert_eq!(again["auths"]["a.example"]["auth"], "dTpw");
    assert_eq!(again["auths"]["127.0.0.1:5000"]["auth"], "YWRtaW46czplIGM=");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let mut config = ConfigFile::load(dir.path()).unwrap();
    let password = config.auths()["127.0.0.1:5000"].password();
    assert_eq!(password, Some(("admin".to_owned(), "s:e c".to_owned())));
    assert!(config.remove_auth("a.example"));
    assert!(!config.remove_auth("a.example"));
}

#[test]
fn missing_and_empty_files_are_empty_and_broken_ones_are_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(ConfigFile::load(dir.path()).unwrap().auths().is_empty());
    load("");
    fs::write(dir.path().join("config.json"), "[1]").unwrap();
    let error = ConfigFile::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("config.json is not a JSON object"),
        "{error}"
    );
}

#[test]
fn the_helper_of_a_registry_comes_before_the_general_one() {
    let (_dir, config) = load(r#"{"credsStore":"pass","credHelpers":{"a.example":"ecr"}}"#);
    assert_eq!(config.helper("a.example"), Some("ecr"));
    assert_eq!(config.helper("b.example"), Some("pass"));
    assert_eq!(ConfigFile::default().helper("b.example"), None);
}

#[test]
fn a_link_stays_a_link() {
    let (real, _) = load("{}");
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("config.json");
    std::os::unix::fs::symlink(real.path().join("config.json"), &link).unwrap();
    let mut config = ConfigFile::load(dir.path()).unwrap();
    config.set_auth("x", &StoredAuth::default());
    config.save().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(
        ConfigFile::load(real.path())
            .unwrap()
            .auths()
            .contains_key("x")
    );
}

#[test]
fn auth_that_is_no_pair_is_none() {
    for auth in ["", "!!", "bm9jb2xvbg=="] {
        let stored = StoredAuth {
            auth: auth.to_owned(),
            ..StoredAuth::default()
        };
        assert_eq!(stored.password(), None, "{auth}");
    }
}
