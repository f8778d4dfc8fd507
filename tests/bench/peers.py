"""What is measured runs in a cell: network, mount, process, IPC and UTS
namespaces of its own, with an init that ends everything with it, and a cgroup
that counts the CPU time of all its processes, containers included."""

import atexit
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CARRACK = os.environ.get("CARRACK", "target/release/carrack")
PASSWORD = "bench-password"
LISTEN = "127.0.0.1:5000"
PATIENCE_SECONDS = 60

site = pathlib.Path(tempfile.mkdtemp(prefix="carrack-bench.", dir="/var/tmp"))
os.chmod(site, 0o755)
cells = []


def wait_for(what, probe):
    """Polls until the probe yields something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.01)
    sys.exit(f"bench: waited {PATIENCE_SECONDS} s for {what}; see its log in {site}")


def run(*command, **options):
    """Runs a command that must succeed; returns its output."""
    options.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run([str(part) for part in command], text=True, stderr=subprocess.PIPE, **options)
    if done.returncode != 0:
        sys.exit(f"bench: {command} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def missing(*programs):
    return [program for program in programs if not shutil.which(program)]


class Cell:
    """One server in namespaces of its own."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self.cgroup = f"{site.name}/{name}"
        self.directory = site / name
        self.directory.mkdir()
        for root in cgroup_roots():
            (root / self.cgroup / "daemon").mkdir(parents=True, exist_ok=True)
        join = " ".join(f"echo $$ > {root / self.cgroup}/daemon/cgroup.procs;" for root in cgroup_roots())
        # The cell's own /run and /etc/docker keep a daemon from the host's.
        script = (
            f"{join} ip link set lo up; mount -t tmpfs tmpfs /run; mkdir -p /etc/docker;"
            ' mount -t tmpfs tmpfs /etc/docker; exec "$@"'
        )
        self.log = self.directory / "log"
        unshare = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child"]
        self.command = [*unshare, "sh", "-c", script, "sh", *map(str, command)]
        self.environment = {**os.environ, **(environment or {})}
        self.start()
        cells.append(self)

    def start(self):
        """Starts the server; after stop() once more, on what it left."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    def init(self):
        """The first process of the cell, as the host numbers it."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def pids(self):
        """All processes of the server."""
        found, todo = [], [self.init()]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, task.read_text().split())
        return found

    def inside(self, *command):
        """The command, to be run in the cell's network."""
        return ["nsenter", "--target", str(self.init()), "--net", "--", *map(str, command)]

    def cpu_ms(self):
        """CPU time of all processes that ever were in the cell."""
        for root in cgroup_roots():
            usage = root / self.cgroup / "cpuacct.usage"
            if usage.exists():
                return int(usage.read_text()) / 1e6
        for line in (cgroup_roots()[0] / self.cgroup / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec"):
                return int(line.split()[1]) / 1e3
        return 0.0

    def stop(self):
        if self.process.poll() is None:
            init = self.init()
            os.kill(init or self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def cgroup_roots():
    """The hierarchies that count CPU time: one of version 2, or one of version 1."""
    if pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [pathlib.Path("/sys/fs/cgroup")]
    return [pathlib.Path("/sys/fs/cgroup/cpuacct")]


def remove_cgroups():
    """Containers are put into every hierarchy, so all are looked through."""
    top = pathlib.Path("/sys/fs/cgroup")
    for root in [top, *top.iterdir()]:
        for directory, _, _ in os.walk(root / site.name, topdown=False):
            try:
                os.rmdir(directory)
            except OSError as error:
                print(f"bench: cannot remove {directory}: {error}", file=sys.stderr)


@atexit.register
def clean_up():
    for cell in cells:
        cell.stop()
    remove_cgroups()
    if os.environ.get("KEEP"):
        print(f"bench: kept {site}", file=sys.stderr)
    else:
        shutil.rmtree(site, ignore_errors=True)


# An interrupted run cleans up as well.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))


def start_carrack(*roles):
    """Carrack as `carrack serve` runs it."""
    directory = site / "carrack"
    command = [CARRACK, "serve", "--data-dir", directory / "data", "--listen", LISTEN]
    command += ["--engine-socket", directory / "engine.sock", "--builder-socket", directory / "buildkit.sock"]
    command += ["--cgroup-parent", f"{site.name}/carrack/containers"]
    command += ["--log", "info,engine=debug", "--log-format", "json"]
    command += [part for role in roles for part in ("--role", role)]
    cell = Cell("carrack", command, {"CARRACK_ADMIN_PASSWORD": PASSWORD})
    wait_for("carrack to be ready", lambda: cell.init() and is_ready(cell, "/readyz"))
    return cell


def is_ready(cell, path):
    probe = cell.inside("curl", "-fsS", "-o", "/dev/null", f"http://{LISTEN}{path}")
    return subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0


def start_dockerd():
    """A genuine dockerd; its containerd is its child."""
    directory = site / "dockerd"
    options = [f"--{name}={directory / name}" for name in ("data-root", "exec-root", "pidfile")]
    socket = directory / "engine.sock"
    parent = f"--cgroup-parent=/{site.name}/dockerd/containers"
    cell = Cell("dockerd", ["tini", "--", "dockerd", *options, f"--host=unix://{socket}", parent])
    ping = ["curl", "-fsS", "-o", "/dev/null", "--unix-socket", socket, "http://localhost/_ping"]
    wait_for("dockerd to answer", lambda: subprocess.run(ping, stderr=subprocess.DEVNULL).returncode == 0)
    return cell


def client_config():
    """A Docker client configuration that is logged in to Carrack's registry."""
    directory = site / "client"
    directory.mkdir(exist_ok=True)
    login = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {LISTEN: {"auth": login}}}))
    return str(directory)


def table(title, heads, rows):
    """Prints a table; the first column is text."""
    print(f"\n{title}")
    lines = [heads, *[[cell if isinstance(cell, str) else f"{cell:.1f}" for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  " + line[0].ljust(widths[0]) + "".join(f"  {c.rjust(w)}" for c, w in zip(line[1:], widths[1:])))
    sys.stdout.flush()


def ratio(ours, theirs):
    return f"{theirs / ours:.1f}x" if ours else "-"


def median(values):
    values = sorted(values)
    return values[len(values) // 2] if values else 0.0
