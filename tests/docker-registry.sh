#!/bin/bash
# Prints the path of Debian's docker-registry, a peer in tests. Where it is not
# installed it is unpacked into target/tools; the package itself is not
# installed, since that would start a service.
set -euo pipefail
cd "$(dirname "$0")/.."

if found=$(command -v docker-registry); then
    echo "$found"
    exit 0
fi
registry=$PWD/target/tools/docker-registry/usr/bin/docker-registry
if [ ! -x "$registry" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    (cd "$work" && apt-get update -qq && apt-get -o APT::Sandbox::User=root download -qq docker-registry) >&2
    mkdir -p target/tools/docker-registry
    dpkg-deb -x "$work"/docker-registry_*.deb target/tools/docker-registry
fi
echo "$registry"
