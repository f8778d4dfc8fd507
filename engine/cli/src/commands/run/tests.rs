use super::*;

#[test]
fn start_failures_have_the_codes_of_a_shell() {
    for (message, expected) in [
        (
            "exec: \"absent\": executable file not found in $PATH: unknown",
            127,
        ),
        (
            "exec: \"/absent\": stat /absent: no such file or directory",
            127,
        ),
        ("exec: \"/etc/passwd\": permission denied: unknown", 126),
        ("exec: \"/etc\": is a directory", 126),
        ("driver failed: port is already allocated", 125),
    ] {
        assert_eq!(start_failure_code(message), expected, "{message}");
    }
}

#[test]
fn only_a_missing_image_is_pulled() {
    let error = |status, message: &str| CliError::Engine {
        status,
        message: message.to_owned(),
    };
    assert!(is_missing_image(&error(
        404,
        "No such image: busybox:latest"
    )));
    assert!(!is_missing_image(&error(404, "network absent not found")));
    assert!(!is_missing_image(&error(500, "No such image: x")));
}

#[test]
fn an_id_file_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("id");
    reserve_id_file(&path).unwrap();
    let error = reserve_id_file(&path).unwrap_err().to_string();
    assert!(error.starts_with("container ID file found"), "{error}");
}
