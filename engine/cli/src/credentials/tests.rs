use std::{fs, path::Path};

use super::*;

fn load(dir: &Path, text: &str) -> ConfigFile {
    fs::write(dir.join("config.json"), text).unwrap();
    ConfigFile::load(dir).unwrap()
}

#[tokio::test]
async fn credentials_are_found_by_host_and_for_that_host_only() {
    let dir = tempfile::tempdir().unwrap();
    let config = load(
        dir.path(),
        r#"{"auths":{"127.0.0.1:5000":{"auth":"YTpi"},"https://old.example/v1/":{"auth":"Yzpk"},
            "https://index.docker.io/v1/":{"identitytoken":"tok"}}}"#,
    );
    for (registry, user, password, token) in [
        ("127.0.0.1:5000", "a", "b", ""),
        ("127.0.0.1:5001", "", "", ""),
        ("old.example", "c", "d", ""),
        ("evil.old.example", "", "", ""),
        ("docker.io", "", "", "tok"),
    ] {
        let auth = find(&config, registry).await.unwrap();
        assert_eq!(
            (
                auth.username.as_str(),
                auth.password.as_str(),
                auth.identitytoken.as_str()
            ),
            (user, password, token),
            "{registry}"
        );
        assert_eq!(auth.serveraddress, key_of(registry));
    }
}

#[tokio::test]
async fn what_is_kept_is_found_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = load(dir.path(), "{}");
    assert_eq!(
        keep(&mut config, "r.example", "me", "pass:word")
            .await
            .unwrap(),
        Kept::File
    );
    let config = &mut ConfigFile::load(dir.path()).unwrap();
    let auth = find(config, "r.example").await.unwrap();
    assert_eq!(
        (auth.username.as_str(), auth.password.as_str()),
        ("me", "pass:word")
    );
    assert!(forget(config, "r.example").await.unwrap());
    assert!(!forget(config, "r.example").await.unwrap());
    assert_eq!(find(config, "r.example").await.unwrap().username, "");
}

#[tokio::test]
async fn a_missing_or_odd_helper_is_an_error_and_no_fallback() {
    let dir = tempfile::tempdir().unwrap();
    let config = load(
        dir.path(),
        r#"{"credsStore":"surely-absent","auths":{"r.example":{"auth":"YTpi"}}}"#,
    );
    let error = find(&config, "r.example").await.unwrap_err().to_string();
    assert!(
        error.contains("cannot run docker-credential-surely-absent"),
        "{error}"
    );
    let config = load(dir.path(), r#"{"credsStore":"../x"}"#);
    let error = find(&config, "r.example").await.unwrap_err().to_string();
    assert!(error.contains("invalid credential helper"), "{error}");
}

#[tokio::test]
async fn the_header_is_base64url_of_json() {
    let dir = tempfile::tempdir().unwrap();
    let config = load(dir.path(), r#"{"auths":{"r.example":{"auth":"YTpi"}}}"#);
    let value = header(&config, "r.example").await.unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&BASE64_URL.decode(value.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"username": "a", "password": "b", "serveraddress": "r.example"})
    );
    assert!(value.is_sensitive());
}
