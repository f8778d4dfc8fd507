//! Docker's Python SDK, which speaks to the socket itself: no docker binary.

use std::process::Command;

use crate::harness::{Carrack, PASSWORD, push_busybox, run};

const SCRIPT: &str = r#"
import sys, docker
socket, address, password, image = sys.argv[1:]
client = docker.DockerClient(base_url="unix://" + socket)
assert client.ping()
client.login("admin", password, registry=address)
assert client.images.pull(image).tags == [image]
assert client.containers.run(image, "echo through", remove=True) == b"through\n"
try:
    client.containers.run(image, ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    raise SystemExit("exit code 3 was not told")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and error.stderr == b"no\n", error
box = client.containers.run(
    image, ["sh", "-c", "echo ready; exec sleep 1000"], detach=True, name="box",
    labels={"tier": "test"}, environment={"A": "1"}, ports={"80/tcp": None})
assert next(box.logs(stream=True, follow=True)) == b"ready\n"
code, out = box.exec_run(["sh", "-c", "echo $A; exit 4"])
assert (code, out) == (4, b"1\n"), (code, out)
code, (out, err) = box.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
assert (code, out, err) == (0, b"o\n", b"e\n")
box.reload()
assert box.status == "running" and box.ports["80/tcp"], box.ports
assert [c.name for c in client.containers.list(filters={"label": "tier=test"})] == ["box"]
assert box.stats(stream=False)["pids_stats"]["current"] == 1
stream, stat = box.get_archive("/etc/passwd")
assert stat["name"] == "passwd" and b"root:x:0:0" in b"".join(stream)
box.stop(timeout=0)
assert box.wait()["StatusCode"] == 137
box.remove()
try:
    client.containers.get("box")
    raise SystemExit("the container is still there")
except docker.errors.NotFound:
    pass
client.images.remove(image)
assert client.images.list() == [] and client.containers.list(all=True) == []
"#;

#[test]
fn the_python_sdk_runs_logs_executes_and_removes() {
    let server = Carrack::start();
    let image = push_busybox(&server, "team/busybox:1");
    let python = run(&mut Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/docker-sdk.sh"
    )));
    run(Command::new(python)
        .args(["-c", SCRIPT])
        .arg(server.site.engine_socket())
        .args([server.address(), PASSWORD, &image])
        .env("DOCKER_CONFIG", server.client_config()));
}
