#!/bin/bash
# Prints the directory of PostgreSQL's server programs. Where they are not
# installed Debian's package is unpacked into target/tools; it is not installed,
# since that would make a database cluster and start a service.
set -euo pipefail
cd "$(dirname "$0")/.."

for found in /usr/lib/postgresql/*/bin; do
    [ -x "$found/postgres" ] && [ -x "$found/initdb" ] && echo "$found" && exit 0
done
bin=$PWD/target/tools/postgresql/usr/lib/postgresql/15/bin
mkdir -p target/tools
exec 9>target/tools/postgresql.lock
flock 9
if [ ! -x "$bin/postgres" ]; then
    tests/packages.sh libgssapi-krb5-2 libicu72 libldap-2.5-0 libpam0g libpq5 libxml2 tzdata >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    (cd "$work" && apt-get update -qq && apt-get download -qq postgresql-15) >&2
    rm -rf target/tools/postgresql
    mkdir -p "$work/root"
    dpkg-deb -x "$work"/postgresql-15_*.deb "$work/root"
    mv "$work/root" target/tools/postgresql
fi
echo "$bin"
