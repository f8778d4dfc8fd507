#!/bin/bash
# Formatting, lints, licences and bans.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
if [ ! -x target/tools/bin/cargo-deny ]; then
    cargo install cargo-deny --version 0.20.2 --locked --no-default-features --debug --quiet \
        --root target/tools --target-dir target/tools/build
    rm -rf target/tools/build
fi
# Advisories need a database from the network; the rest is decided by Cargo.lock.
target/tools/bin/cargo-deny --log-level error check bans licenses sources
