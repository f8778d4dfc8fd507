"""Builds over HTTP, against the classic builder of a genuine dockerd in the same
run: what a RUN costs beside its program, a build that is all cached, a context
of many small files, and the export of a layer."""

import base64
import http.client
import io
import json
import os
import pathlib
import socket
import subprocess
import tarfile
import time
import urllib.parse

import engine
import peers
import registry

ROUNDS = int(os.environ.get("BUILD_ROUNDS", "7"))
STEPS = 20
FILES = int(os.environ.get("CONTEXT_FILES", "20000"))
FILE_BYTES = 4096
LAYER_BYTES = int(os.environ.get("EXPORT_MIB", "256")) << 20


class Lap:
    """A build: seconds from the first byte sent to its end."""

    def __init__(self, total, beyond_upload, steps=None):
        self.total = total
        # After the context was taken in whole.
        self.beyond_upload = beyond_upload
        # Milliseconds of each step, by name.
        self.steps = steps or {}


class Carrack:
    """The build API of the front, as CI speaks it."""

    name = "carrack"

    def __init__(self, archive):
        self.cell = peers.start_carrack()
        self.image = f"{peers.LISTEN}/bench/busybox:latest"
        push = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", f"admin:{peers.PASSWORD}"]
        peers.run(*self.cell.inside(*push, f"docker-archive:{archive}", f"docker://{self.image}"))
        login = base64.b64encode(f"admin:{peers.PASSWORD}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}"}
        # Enters the cell's network to connect.
        self.server = registry.Registry(self.name, self.cell, peers.LISTEN, "/readyz")
        self.connection = self.server.connect()

    def call(self, method, path, body=None):
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        if answer.status >= 300:
            raise SystemExit(f"bench: {method} {path}: {answer.status} {answer.read().decode()}")
        return answer

    def build(self, context, network="none", push=None):
        query = {"network": network, **({"tag": push} if push else {})}
        begin = time.perf_counter()
        answer = self.call("POST", f"/api/v1/builds?{urllib.parse.urlencode(query)}", context)
        build = json.loads(answer.read())["id"]
        accepted = time.perf_counter()
        # The stream ends with the build.
        events = self.call("GET", f"/api/v1/builds/{build}/events").read().decode()
        end = time.perf_counter()
        events = [json.loads(line[5:]) for line in events.splitlines() if line.startswith("data:")]
        if events[-1].get("state") != "succeeded":
            raise SystemExit(f"bench: the build ended with {events[-1]}")
        done = [event for event in events if event["type"] == "step" and event["status"] == "done"]
        steps = {event["name"]: event["duration_ms"] for event in done}
        return Lap(end - begin, end - accepted, steps)

    def renew(self):
        """Servers close connections that idled while the other was measured."""
        self.connection = self.server.connect()


class Dockerd:
    """`POST /build` without BuildKit."""

    name = "dockerd"

    def __init__(self, archive):
        self.cell = peers.start_dockerd()
        self.socket = self.cell.directory / "engine.sock"
        self.image = "bench/busybox:latest"
        peers.run("docker", "-H", f"unix://{self.socket}", "load", "--quiet", "--input", archive)

    def build(self, context, network="none"):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self.socket))
        network = "none" if network == "none" else "bridge"
        headers = {"Content-Type": "application/x-tar"}
        begin = time.perf_counter()
        connection.request("POST", f"/build?rm=1&networkmode={network}&t=bench/result", context, headers)
        sent = time.perf_counter()
        output = connection.getresponse().read().decode()
        end = time.perf_counter()
        if "Successfully built" not in output:
            raise SystemExit(f"bench: the build ended with {output[-500:]}")
        return Lap(end - begin, end - sent)

    def renew(self):
        pass


def context(files):
    """A tar of (name, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def dockerfile(builder, lines):
    return ("Dockerfile", f"FROM {builder.image}\n{lines}\n".encode())


def laps(builders, measure):
    """Medians of `measure(builder, round)` for each builder, after one to warm up."""
    medians = []
    for builder in builders:
        builder.renew()
        measure(builder, "warm")
        medians.append(peers.median([measure(builder, number) for number in range(ROUNDS)]))
    return medians


def row(name, values, digits=1):
    ratios = [peers.ratio(values[0], value) for value in values[1:]]
    return [name, *[f"{value:.{digits}f}" for value in values], *ratios]


def run_overhead(builders):
    """A build of many trivial steps less one of a single step, per step."""

    def per_step(builder, number, network):
        def build(count):
            steps = "\n".join(f"RUN true {number} {network} {count} {step}" for step in range(count))
            return builder.build(context([dockerfile(builder, steps)]), network).total

        return (build(STEPS) - build(1)) * 1000 / (STEPS - 1)

    return [
        row(f"RUN true, network {network}", laps(builders, lambda b, n: per_step(b, n, network)))
        for network in ("none", "default")
    ]


def cached(builders):
    lines = "\n".join(f"RUN true cached {step}" for step in range(5)) + "\nCOPY note /note"

    def build(builder, _):
        return builder.build(context([dockerfile(builder, lines), ("note", b"note")])).total * 1000

    return [row("7 steps, all cached", laps(builders, build))]


def small_files(builders):
    """The first build with a context, and one after a file in it changed."""
    rows = []
    block = os.urandom(FILE_BYTES // 2)

    def files(builder, mark):
        yield dockerfile(builder, "COPY . /all/")
        for number in range(FILES):
            own = f"{mark if number == 0 else 'same'} {number} ".encode()
            yield f"d{number % 200}/f{number}", (own + block * 2)[:FILE_BYTES]

    contexts = {}

    def build(builder, number):
        # Packed outside of what is measured.
        packed = context(files(builder, f"{builder.name} {number}"))
        contexts[builder.name] = len(packed)
        return builder.build(packed)

    totals, beyond = [], []
    for builder in builders:
        builder.renew()
        build(builder, "warm")
        results = [build(builder, number) for number in range(max(ROUNDS // 2, 1))]
        totals.append(peers.median([lap.total for lap in results]) * 1000)
        beyond.append(peers.median([lap.beyond_upload for lap in results]) * 1000)
    size = max(contexts.values()) >> 20
    rows.append(row(f"{FILES} files, {size} MiB, one changed: whole", totals, 0))
    rows.append(row("  beyond the upload", beyond, 0))
    return rows


def export(carrack):
    """A layer of what is in /usr/lib; `gzip` packs the same bytes beside."""
    content, total = [], 0
    for path in sorted(pathlib.Path("/usr/lib").rglob("*")):
        if path.is_file() and not path.is_symlink() and total < LAYER_BYTES:
            content.append(path.read_bytes())
            total += len(content[-1])
    data = b"".join(content)[:LAYER_BYTES]

    def build(number):
        packed = context([dockerfile(carrack, "COPY data /data"), ("data", data + str(number).encode())])
        lap = carrack.build(packed, push=f"{peers.LISTEN}/bench/export:{number}")
        return len(data) / 1e6 / (lap.steps["exporting to image"] / 1000)

    carrack.renew()
    rate = peers.median([build(number) for number in range(max(ROUNDS // 2, 1))])
    begin = time.perf_counter()
    subprocess.run(["gzip", "-6", "-c"], input=data, stdout=subprocess.DEVNULL, check=True)
    gzip = len(data) / 1e6 / (time.perf_counter() - begin)
    line = [f"diff, tar, hash and gzip of {len(data) >> 20} MiB", f"{rate:.0f}", f"{gzip:.0f}", f"{rate / gzip:.1f}x"]
    peers.table("Export of a layer (MB/s of its files)", ["", "carrack", "gzip -6", "ratio"], [line])


def main():
    absent = peers.missing("docker", "skopeo", "curl", "unshare", "nsenter", "busybox")
    if absent:
        print(f"builder bench is left out: {', '.join(absent)} not installed")
        return
    archive = engine.busybox_archive()
    builders = [Carrack(archive)]
    absent = peers.missing("dockerd", "containerd", "runc", "tini")
    if absent:
        print(f"dockerd is left out: {', '.join(absent)} not installed (Debian: docker.io, tini)")
    else:
        builders.append(Dockerd(archive))
    heads = ["", *[each.name for each in builders], *["ratio" for _ in builders[1:]]]
    peers.table("What a step adds to a build (median, ms)", heads, run_overhead(builders))
    peers.table("A build with nothing to do (median, ms)", heads, cached(builders))
    title = "COPY of many small files (median, ms); beyond the upload: after 202, for dockerd after the last byte"
    peers.table(title, heads, small_files(builders))
    export(builders[0])


if __name__ == "__main__":
    main()
