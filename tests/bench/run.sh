#!/bin/bash
# Compares Carrack with its peers, in one run, and prints ratios. Not a test:
# nothing fails for being slow. Peers are used when they are installed
# (Debian: docker.io, docker-registry); one that is missing is named and left out.
#
#   tests/bench/run.sh [engine|registry|builder|start]...     (default: all)
#   CARRACK=target/release/carrack              the binary that is measured
#   ROUNDS=40                                   containers per case
#   BUILD_ROUNDS=7                              builds per case
set -euo pipefail
cd "$(dirname "$0")/../.."

[ "$(id -u)" -eq 0 ] || { echo "bench: engines need namespaces and mounts: run as root" >&2; exit 1; }
if [ -z "${CARRACK:-}" ]; then
    cargo build --release --quiet
    CARRACK=$PWD/target/release/carrack
fi
export CARRACK PYTHONDONTWRITEBYTECODE=1
[ $# -gt 0 ] || set -- engine registry builder start
for part in "$@"; do
    python3 "tests/bench/$part.py"
done
