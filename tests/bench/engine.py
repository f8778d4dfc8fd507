"""Starting containers: the docker command line and the bare API, against a
genuine dockerd in the same run."""

import collections
import hashlib
import http.client
import io
import json
import os
import pathlib
import socket
import tarfile
import time

import peers

ROUNDS = int(os.environ.get("ROUNDS", "40"))
WARM_UP = 3


class Api:
    """The Engine API over one kept connection."""

    def __init__(self, path):
        self.path = str(path)
        self.connection = self.connect()

    def connect(self):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.path)
        return connection

    def call(self, method, path, body=None):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"bench: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text) if text.strip() else None

    def hijack(self, path, body):
        """Starts an exec and reads its output to the end."""
        connection = self.connect()
        headers = {"Content-Type": "application/json", "Connection": "Upgrade", "Upgrade": "tcp"}
        connection.request("POST", path, json.dumps(body), headers)
        while connection.sock.recv(65536):
            pass
        connection.close()


def busybox_archive():
    """A `docker load` archive of busybox, made from Debian's busybox-static."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        folder = tarfile.TarInfo("bin")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        program = pathlib.Path("/bin/busybox").read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
        for name in ("true", "sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    layer = layer.getvalue()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["bench/busybox:latest"], "Layers": ["layer.tar"]}]
    path = peers.site / "busybox.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in (
            ("layer.tar", layer),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


class Engine:
    """An engine with the busybox image in it."""

    def __init__(self, name, cell, image):
        self.name, self.cell, self.image = name, cell, image
        self.socket = cell.directory / "engine.sock"
        self.api = Api(self.socket)

    def docker(self, *arguments):
        return ["docker", "-H", f"unix://{self.socket}", *arguments]

    def run_true(self, host_config):
        """One container from create to removed, by phase, in ms."""
        laps, clock = {}, time.perf_counter()

        def lap(name):
            nonlocal clock
            now = time.perf_counter()
            laps[name] = (now - clock) * 1000
            clock = now

        body = {"Image": self.image, "Cmd": ["true"], "HostConfig": host_config}
        if "PortBindings" in host_config:
            body["ExposedPorts"] = {port: {} for port in host_config["PortBindings"]}
        container = self.api.call("POST", "/containers/create", body)["Id"]
        lap("create")
        self.api.call("POST", f"/containers/{container}/start")
        lap("start")
        status = self.api.call("POST", f"/containers/{container}/wait")["StatusCode"]
        lap("wait")
        self.api.call("DELETE", f"/containers/{container}?v=1")
        lap("remove")
        if status != 0:
            raise SystemExit(f"bench: true ended with {status} in {self.name}")
        laps["total"] = sum(laps.values())
        return laps

    def exec_true(self, container):
        begin = time.perf_counter()
        body = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["true"]}
        session = self.api.call("POST", f"/containers/{container}/exec", body)["Id"]
        self.api.hijack(f"/exec/{session}/start", {"Detach": False, "Tty": False})
        code = self.api.call("GET", f"/exec/{session}/json")["ExitCode"]
        if code != 0:
            raise SystemExit(f"bench: exec true ended with {code} in {self.name}")
        return (time.perf_counter() - begin) * 1000


def start_engines():
    archive = busybox_archive()
    engines = []
    os.environ["DOCKER_CONFIG"] = peers.client_config()
    cell = peers.start_carrack()
    reference = f"{peers.LISTEN}/bench/busybox:latest"
    push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"admin:{peers.PASSWORD}"]
    peers.run(*cell.inside(*push, f"docker-archive:{archive}", f"docker://{reference}"))
    engines.append(Engine("carrack", cell, reference))
    peers.run(*engines[0].docker("pull", "--quiet", reference))
    absent = peers.missing("dockerd", "containerd", "runc", "tini")
    if absent:
        print(f"dockerd is left out: {', '.join(absent)} not installed (Debian: docker.io, tini)")
    else:
        engines.append(Engine("dockerd", peers.start_dockerd(), "bench/busybox:latest"))
        peers.run(*engines[1].docker("load", "--quiet", "--input", archive))
    return engines


def command_line(engines):
    """hyperfine of `docker run --rm`, the way users feel it."""
    rows = []
    for name, options in (("none", ["--network", "none"]), ("bridge", []), ("bridge, -p", ["-p", "127.0.0.1:8080:80"])):
        report = peers.site / "hyperfine.json"
        command = ["hyperfine", "-N", "--warmup", WARM_UP, "--runs", ROUNDS, "--export-json", report, "--style", "none"]
        for engine in engines:
            command.append(" ".join(engine.docker("run", "--rm", *options, engine.image, "true")))
        peers.run(*command)
        results = json.loads(report.read_text())["results"]
        times = [result["median"] * 1000 for result in results]
        rows.append([f"run --rm, network {name}", *times, *[peers.ratio(times[0], t) for t in times[1:]]])
    report_table("docker run --rm busybox true, whole command (hyperfine median, ms)", engines, rows)


def bare_api(engines):
    """create, start, wait, remove over one connection: the engine's own time."""
    cases = (
        ("network none", {"NetworkMode": "none"}),
        ("network bridge", {"NetworkMode": "bridge"}),
        ("bridge + port", {"NetworkMode": "bridge", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}),
    )
    rows, cpu_rows = [], []
    for name, host_config in cases:
        phases, cpu = [], []
        for engine in engines:
            # Servers close connections that idled while the other was measured.
            engine.api = Api(engine.socket)
            for _ in range(WARM_UP):
                engine.run_true(host_config)
            before = engine.cell.cpu_ms()
            laps = [engine.run_true(host_config) for _ in range(ROUNDS)]
            cpu.append((engine.cell.cpu_ms() - before) / ROUNDS)
            phases.append({phase: peers.median([lap[phase] for lap in laps]) for phase in laps[0]})
        for phase in phases[0]:
            times = [each[phase] for each in phases]
            label = name if phase == "total" else f"  {name}: {phase}"
            rows.append([label, *times, *[peers.ratio(times[0], t) for t in times[1:]]])
        cpu_rows.append([name, *cpu, *[peers.ratio(cpu[0], c) for c in cpu[1:]]])
    report_table("create + start + wait + remove over the API (median, ms)", engines, rows)
    report_table("CPU of all processes per container (mean, ms)", engines, cpu_rows)


def exec_case(engines):
    times, cpu = [], []
    for engine in engines:
        engine.api = Api(engine.socket)
        body = {"Image": engine.image, "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "none"}}
        container = engine.api.call("POST", "/containers/create", body)["Id"]
        engine.api.call("POST", f"/containers/{container}/start")
        for _ in range(WARM_UP):
            engine.exec_true(container)
        before = engine.cell.cpu_ms()
        times.append(peers.median([engine.exec_true(container) for _ in range(ROUNDS)]))
        cpu.append((engine.cell.cpu_ms() - before) / ROUNDS)
        engine.api.call("DELETE", f"/containers/{container}?force=1&v=1")
    rows = [["exec true", *times, *[peers.ratio(times[0], t) for t in times[1:]]]]
    rows.append(["CPU of all processes (mean)", *cpu, *[peers.ratio(cpu[0], c) for c in cpu[1:]]])
    report_table("exec in a running container over the API (median, ms)", engines, rows)


def breakdown(cell):
    """Where the time of a start goes, from the engine's own log."""
    phases = collections.defaultdict(list)
    for line in cell.log.read_text(errors="replace").splitlines():
        if '"start phase"' in line:
            fields = json.loads(line)["fields"]
            phases[fields["phase"]].append(float(fields["duration_ms"]))
    rows = [[name, peers.median(times), max(times), str(len(times))] for name, times in phases.items()]
    rows = [[row[0], f"{row[1]:.2f}", f"{row[2]:.2f}", row[3]] for row in rows]
    peers.table("Carrack's start by phase, all cases together (ms)", ["phase", "median", "max", "starts"], rows)


def report_table(title, engines, rows):
    heads = ["", *[engine.name for engine in engines], *["ratio" for _ in engines[1:]]]
    peers.table(title, heads, rows)


def main():
    absent = peers.missing("docker", "hyperfine", "skopeo", "curl", "unshare", "nsenter", "busybox")
    if absent:
        print(f"engine bench is left out: {', '.join(absent)} not installed")
        return
    engines = start_engines()
    for engine in engines:
        version = engine.api.call("GET", "/version")
        print(f"{engine.name}: {version['Version']}, API {version['ApiVersion']}")
    command_line(engines)
    bare_api(engines)
    exec_case(engines)
    breakdown(engines[0].cell)


if __name__ == "__main__":
    main()
