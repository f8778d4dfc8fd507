"""From start to ready: every role serves, as the server itself tells its
service manager. First on a data directory that does not exist yet, then again
on the same one. Runs on a host whose other work does not count."""

import os
import socket
import statistics
import subprocess
import time

import peers

ROUNDS = int(os.environ.get("ROUNDS", "40")) // 4 or 1


def serve(manager, place, number):
    """One start; its seconds until READY=1."""
    settings = {
        "data-dir": place / "data",
        "listen": "127.0.0.1:0",
        "engine-socket": place / "engine.sock",
        "builder-socket": place / "builder.sock",
        "bridge": f"cs{os.getpid() % 0xFFFFF:x}",
        "bridge-subnet": "10.189.0.0/24",
        "cgroup-parent": peers.site.name,
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    with open(place / f"log.{number}", "wb") as log:
        begin = time.monotonic()
        process = subprocess.Popen(
            [peers.CARRACK, "serve", *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": str(manager.getsockname())},
        )
        try:
            if not manager.recv(256).startswith(b"READY=1"):
                raise SystemExit(f"bench: not ready; see {place}")
            return time.monotonic() - begin
        finally:
            process.terminate()
            process.wait()
            manager.recv(256)


def main():
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(peers.PATIENCE_SECONDS)
    manager.bind(str(peers.site / "notify.sock"))
    first, again = [], []
    for number in range(ROUNDS):
        place = peers.site / f"start.{number}"
        place.mkdir(mode=0o755)
        first.append(serve(manager, place, 1))
        again.append(serve(manager, place, 2))
    print(f"start to ready, all roles, {ROUNDS} rounds (median, ms)")
    for name, seconds in (("new data directory", first), ("used data directory", again)):
        print(f"  {name:<20} {statistics.median(seconds) * 1000:7.0f}   worst {max(seconds) * 1000:.0f}")


if __name__ == "__main__":
    main()
