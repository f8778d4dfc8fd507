//! What is refused: flags by name, requests by status.

use crate::daemon::Daemon;

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let daemon = Daemon::start();
    let image = daemon.image.as_str();
    for (flags, text) in [
        (&["--init"][..], "--init is not supported by Carrack yet"),
        (&["--gpus", "all"], "--gpus is not supported by Carrack yet"),
        (&["--memory", "1m"], "Minimum memory limit allowed is 6MB"),
        (
            &["--log-driver", "syslog"],
            "--log-driver syslog is not supported by Carrack yet",
        ),
        (
            &["--security-opt", "apparmor=x"],
            "--security-opt apparmor=x is not supported",
        ),
        (
            &["--health-cmd", "true"],
            "--health-cmd is not supported by Carrack yet",
        ),
    ] {
        let arguments = [&["run", "--rm"], flags, &[image, "true"]].concat();
        let (code, error) = daemon.fails(&arguments);
        assert_eq!(code, 125, "{error}");
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
}

#[test]
fn bad_requests_get_an_answer_and_the_engine_lives() {
    let daemon = Daemon::start();
    for (method, path, body, status, text) in [
        ("POST", "/containers/create", "{", 400, "invalid JSON"),
        ("POST", "/containers/create", "[]", 400, "invalid JSON"),
        (
            "POST",
            "/containers/create?name=../x",
            "{\"Image\":\"a\"}",
            400,
            "Invalid container name",
        ),
        (
            "POST",
            "/containers/create",
            "{\"Image\":\"absent\"}",
            404,
            "No such image: absent:latest",
        ),
        (
            "POST",
            "/containers/create",
            "{\"Image\":\"../../x\"}",
            400,
            "invalid reference format",
        ),
        (
            "GET",
            "/containers/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D",
            "",
            400,
            "invalid filter 'colour'",
        ),
        (
            "GET",
            "/v1.99/info",
            "",
            400,
            "client version 1.99 is too new",
        ),
        (
            "GET",
            "/v1.10/info",
            "",
            400,
            "client version 1.10 is too old",
        ),
        ("GET", "/v1.x/info", "", 400, "invalid API version"),
        (
            "GET",
            "/containers/absent/json",
            "",
            404,
            "No such container: absent",
        ),
        (
            "GET",
            "/exec/absent/json",
            "",
            404,
            "No such exec instance: absent",
        ),
        (
            "POST",
            "/swarm/init",
            "{}",
            503,
            "This node is not a swarm manager",
        ),
        (
            "POST",
            "/commit?container=x&changes=CMD+x",
            "{}",
            501,
            "docker commit --change is not supported",
        ),
        ("GET", "/nothing/here", "", 404, "page not found"),
    ] {
        let (got, answer) = daemon.request(method, path, body);
        assert_eq!(got, status, "{method} {path}: {answer}");
        assert!(answer.contains(text), "{method} {path}: {answer}");
    }
    assert_eq!(daemon.request("GET", "/_ping", "").0, 200);
}
