#!/bin/bash
# Prints the path of a docker client. Where none is installed, the client of
# Debian's docker.io is unpacked into target/tools; the package itself is not
# installed, since that would start a daemon.
set -euo pipefail
cd "$(dirname "$0")/.."

if found=$(command -v docker); then
    echo "$found"
    exit 0
fi
client=$PWD/target/tools/docker/usr/bin/docker
if [ ! -x "$client" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    (cd "$work" && apt-get update -qq && apt-get -o APT::Sandbox::User=root download -qq docker.io) >&2
    mkdir -p target/tools/docker
    dpkg-deb -x "$work"/docker.io_*.deb target/tools/docker
fi
echo "$client"
