"""Push and pull of one large layer, against Debian's docker-registry."""

import base64
import ctypes
import hashlib
import http.client
import json
import os
import pathlib
import re
import time
import urllib.parse

import peers

SIZE_BYTES = int(os.environ.get("LAYER_MIB", "512")) << 20
ROUNDS = int(os.environ.get("REGISTRY_ROUNDS", "3"))
TICKS = os.sysconf("SC_CLK_TCK")


class Layer:
    """A file of random bytes; each round changes its beginning, so that no
    server has seen it."""

    def __init__(self):
        self.path = peers.site / "layer"
        block = os.urandom(16 << 20)
        with open(self.path, "wb") as file:
            for _ in range(SIZE_BYTES // len(block)):
                file.write(block)

    def renew(self):
        with open(self.path, "r+b") as file:
            file.write(os.urandom(4096))
        with open(self.path, "rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Registry:
    """A registry spoken to as a client does, with as little of our own work as
    can be: bytes go by sendfile and are thrown away when they come."""

    def __init__(self, name, cell, address):
        self.name, self.cell, self.address = name, cell, address
        self.headers = {}

    def connect(self):
        # The cell's network is entered for the connect only.
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.cell.init()}/ns/net", os.O_RDONLY)
        try:
            set_namespace(there)
            connection = http.client.HTTPConnection(self.address)
            connection.connect()
        finally:
            set_namespace(here)
            os.close(here)
            os.close(there)
        return connection

    def log_in(self, repository):
        """Follows a bearer challenge, when there is one."""
        connection = self.connect()
        connection.request("POST", f"/v2/{repository}/blobs/uploads/")
        answer = connection.getresponse()
        answer.read()
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers.get("WWW-Authenticate", "")))
        if answer.status != 401:
            return
        query = urllib.parse.urlencode({"service": challenge["service"], "scope": challenge["scope"]})
        login = base64.b64encode(f"admin:{peers.PASSWORD}".encode()).decode()
        path = urllib.parse.urlparse(challenge["realm"]).path
        connection.request("GET", f"{path}?{query}", headers={"Authorization": f"Basic {login}"})
        token = json.loads(connection.getresponse().read())["token"]
        self.headers = {"Authorization": f"Bearer {token}"}

    def push(self, repository, layer, digest):
        connection = self.connect()
        location = self.call(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
        connection.putrequest("PATCH", location)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(SIZE_BYTES)}
        for name, value in {**headers, **self.headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        with open(layer.path, "rb") as file:
            connection.sock.sendfile(file)
        answer = connection.getresponse()
        answer.read()
        check(answer, 202)
        location = local(answer.headers["Location"])
        separator = "&" if "?" in location else "?"
        self.call(connection, "PUT", f"{location}{separator}digest={digest}", 201)

    def pull(self, repository, digest):
        connection = self.connect()
        connection.request("GET", f"/v2/{repository}/blobs/{digest}", headers=self.headers)
        answer = connection.getresponse()
        check(answer, 200)
        buffer, length = bytearray(1 << 20), 0
        while read := answer.readinto(buffer):
            length += read
        if length != SIZE_BYTES:
            raise SystemExit(f"bench: {self.name} sent {length} bytes of {SIZE_BYTES}")

    def call(self, connection, method, path, status):
        connection.request(method, path, headers={**self.headers, "Content-Length": "0"})
        answer = connection.getresponse()
        answer.read()
        check(answer, status)
        return local(answer.headers.get("Location", ""))

    def cpu_seconds(self):
        """User and system time of the server's processes."""
        ticks = 0
        for pid in self.cell.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS


def set_namespace(fd):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def local(location):
    """Servers may answer with their idea of their own address."""
    parts = urllib.parse.urlparse(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def check(answer, status):
    if answer.status != status:
        raise SystemExit(f"bench: registry answered {answer.status}, not {status}: {answer.read()[:300]!r}")


def start_docker_registry():
    directory = peers.site / "docker-registry-data"
    config = peers.site / "docker-registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}}}}}\n"
        f"http: {{addr: '{peers.LISTEN}'}}\n"
    )
    cell = peers.Cell("docker-registry", ["docker-registry", "serve", config])
    peers.wait_for("docker-registry to answer", lambda: cell.init() and peers.is_ready(cell, "/v2/"))
    return cell


def main():
    absent = peers.missing("curl", "unshare", "nsenter")
    if absent:
        print(f"registry bench is left out: {', '.join(absent)} not installed")
        return
    registries = [Registry("carrack", peers.start_carrack("registry"), peers.LISTEN)]
    if peers.missing("docker-registry"):
        print("docker-registry is left out: not installed")
    else:
        registries.append(Registry("docker-registry", start_docker_registry(), peers.LISTEN))
    layer = Layer()
    repository = "bench/layer"
    results = {(what, r.name): [] for what in ("push", "pull") for r in registries}
    for _ in range(ROUNDS):
        for registry in registries:
            registry.log_in(repository)
            digest = layer.renew()
            for what, action in (
                ("push", lambda: registry.push(repository, layer, digest)),
                ("pull", lambda: registry.pull(repository, digest)),
            ):
                cpu, begin = registry.cpu_seconds(), time.monotonic()
                action()
                wall = time.monotonic() - begin
                results[what, registry.name].append((wall, registry.cpu_seconds() - cpu))
    rows = []
    for what in ("push", "pull"):
        for index, measure in ((0, "wall"), (1, "server CPU")):
            values = [peers.median([r[index] for r in results[what, each.name]]) for each in registries]
            ratios = [peers.ratio(values[0], value) for value in values[1:]]
            rows.append([f"{what}, {measure}", *[f"{value:.2f}" for value in values], *ratios])
    heads = ["", *[r.name for r in registries], *["ratio" for _ in registries[1:]]]
    peers.table(f"One layer of {SIZE_BYTES >> 20} MiB (median of {ROUNDS}, seconds)", heads, rows)


if __name__ == "__main__":
    main()
