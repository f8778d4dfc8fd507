"""Push and pull of one large layer, reads of a manifest, and the time from start to
ready, against Debian's docker-registry."""

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
# Manifests are asked for so long per round, over so many connections side by side.
MANIFEST_SECONDS = float(os.environ.get("MANIFEST_SECONDS", "3"))
CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


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

    def __init__(self, name, cell, address, ready):
        self.name, self.cell, self.address, self.ready = name, cell, address, ready
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

    def push_image(self, repository, tag):
        """A small image; returns the size of its manifest in bytes."""
        connection = self.connect()
        descriptors = []
        for blob, kind in ((b"{}", "config.v1+json"), (b"a layer", "layer.v1.tar")):
            digest = "sha256:" + hashlib.sha256(blob).hexdigest()
            location = self.call(connection, "POST", f"/v2/{repository}/blobs/uploads/", 202)
            separator = "&" if "?" in location else "?"
            self.call(connection, "PUT", f"{location}{separator}digest={digest}", 201, blob)
            media_type = f"application/vnd.oci.image.{kind}"
            descriptors.append({"mediaType": media_type, "digest": digest, "size": len(blob)})
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}
        body = json.dumps(manifest).encode()
        self.call(connection, "PUT", f"/v2/{repository}/manifests/{tag}", 201, body, MANIFEST)
        return len(body)

    def read_manifest(self, method, path, body_bytes):
        """Sends the same request over and over, reads the answers and counts them;
        many connections, so that the server and not a round trip is the limit."""
        lines = {"Host": self.address, "Accept": MANIFEST, **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()
        sockets = [self.connect().sock for _ in range(CONNECTIONS)]
        count, end_time = 0, time.monotonic() + MANIFEST_SECONDS
        while time.monotonic() < end_time:
            count += CONNECTIONS
            for socket in sockets:
                socket.sendall(request)
            for socket in sockets:
                answer = socket.recv(65536)
                while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + body_bytes:
                    more = socket.recv(65536)
                    if not more:
                        raise SystemExit(f"bench: {self.name} closed a connection after {answer[:200]!r}")
                    answer += more
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(f"bench: {self.name} answered {answer[:200]!r}")
        for socket in sockets:
            socket.close()
        return count

    def restart(self):
        """Stops and starts the server; seconds until it says that it is ready,
        the making of its namespaces included."""
        self.cell.stop()
        begin = time.monotonic()
        self.cell.start()
        while time.monotonic() < begin + peers.PATIENCE_SECONDS:
            try:
                connection = self.connect()
                connection.request("GET", self.ready)
                if connection.getresponse().status == 200:
                    return time.monotonic() - begin
            except (OSError, TypeError, http.client.HTTPException):
                # Not yet: no process, no network, nobody who listens.
                pass
            time.sleep(0.001)
        raise SystemExit(f"bench: {self.name} is not ready; see {self.cell.log}")

    def call(self, connection, method, path, status, body=b"", kind="application/octet-stream"):
        headers = {**self.headers, "Content-Type": kind, "Content-Length": str(len(body))}
        connection.request(method, path, body, headers)
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
    registries = [Registry("carrack", peers.start_carrack("registry"), peers.LISTEN, "/readyz")]
    if peers.missing("docker-registry"):
        print("docker-registry is left out: not installed")
    else:
        registries.append(Registry("docker-registry", start_docker_registry(), peers.LISTEN, "/v2/"))
    large_layer(registries)
    manifests(registries)
    starts(registries)


def compare(title, registries, rows):
    """Prints rows of (name, format, values by registry name); ratios beside them."""
    lines = []
    for name, form, results in rows:
        values = [peers.median(results[each.name]) for each in registries]
        ratios = [peers.ratio(values[0], value) for value in values[1:]]
        lines.append([name, *[format(value, form) for value in values], *ratios])
    peers.table(title, ["", *[r.name for r in registries], *["ratio" for _ in registries[1:]]], lines)


def measured(registry, action):
    """Wall and server CPU time of an action, in seconds, and what it returned."""
    cpu, begin = registry.cpu_seconds(), time.monotonic()
    returned = action()
    return time.monotonic() - begin, registry.cpu_seconds() - cpu, returned


def large_layer(registries):
    layer = Layer()
    repository = "bench/layer"
    results = {}
    for _ in range(ROUNDS):
        for registry in registries:
            registry.log_in(repository)
            digest = layer.renew()
            for what, action in (
                ("push", lambda: registry.push(repository, layer, digest)),
                ("pull", lambda: registry.pull(repository, digest)),
            ):
                for measure, value in zip(("wall", "server CPU"), measured(registry, action)):
                    by_name = results.setdefault(f"{what}, {measure}", {})
                    by_name.setdefault(registry.name, []).append(value)
    rows = [(name, ".2f", by_name) for name, by_name in results.items()]
    compare(f"One layer of {SIZE_BYTES >> 20} MiB (median of {ROUNDS}, seconds)", registries, rows)


def manifests(registries):
    repository = "bench/manifest"
    results = {}
    for _ in range(ROUNDS):
        for registry in registries:
            registry.log_in(repository)
            size = registry.push_image(repository, "v1")
            for method, body_bytes in (("GET", size), ("HEAD", 0)):
                path = f"/v2/{repository}/manifests/v1"
                wall, cpu, count = measured(registry, lambda: registry.read_manifest(method, path, body_bytes))
                for measure, value in (("time each", wall), ("server CPU each", cpu)):
                    by_name = results.setdefault(f"{method} by tag, {measure}", {})
                    by_name.setdefault(registry.name, []).append(value / count * 1e6)
    title = f"Manifest, {CONNECTIONS} connections (median of {ROUNDS}, microseconds)"
    compare(title, registries, [(name, ".0f", by_name) for name, by_name in results.items()])


def starts(registries):
    times = {each.name: [each.restart() * 1e3 for _ in range(ROUNDS)] for each in registries}
    compare(f"Start to ready (median of {ROUNDS}, milliseconds)", registries, [("start", ".0f", times)])


if __name__ == "__main__":
    main()
