use super::*;

#[test]
fn common_failures_have_a_next_step() {
    for (message, part) in [
        (
            "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated",
            "-p 0:PORT",
        ),
        (
            "Conflict. The container name \"/web\" is already in use by container \"ab\".",
            "another name",
        ),
        ("No such container: wbe", "carrack ps -a"),
        ("No such image: busybox:latest", "carrack pull"),
        (
            "cannot remove container \"/web\": container is running: stop the container before removing",
            "carrack rm -f",
        ),
        ("container abc is not running", "carrack start"),
        (
            "unauthorized: authentication required",
            "carrack login REGISTRY",
        ),
        (
            "pull access denied for 127.0.0.1:5000/team/app, repository does not exist",
            "carrack login 127.0.0.1:5000'",
        ),
        ("write /x: no space left on device", "carrack system df"),
    ] {
        let hint = of(message).unwrap_or_default();
        assert!(hint.contains(part), "{message}: {hint}");
    }
    assert_eq!(of("something else broke"), None);
}
