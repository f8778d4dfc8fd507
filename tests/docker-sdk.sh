#!/bin/bash
# Prints the path of a Python that has Docker's SDK, installed from PyPI into
# target/tools the first time.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/target/tools/docker-sdk
if [ ! -e "$venv/installed" ]; then
    {
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check docker==7.1.0
        touch "$venv/installed"
    } >&2
fi
echo "$venv/bin/python"
