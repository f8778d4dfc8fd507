#!/bin/bash
# Runs every test and closes with one line: N passed, M failed.
# Each part counts; a part that cannot run is a failure, never a skip.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0
mkdir -p target
log=target/test.log
: >"$log"

# part NAME COMMAND...: one check that passes or fails as a whole.
part() {
    local name=$1 begin=$SECONDS
    shift
    if "$@" >target/part.log 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name ($((SECONDS - begin)) s)"
    else
        failed=$((failed + 1))
        echo "FAILED  $name ($((SECONDS - begin)) s)"
        tail -n 60 target/part.log
    fi
    cat target/part.log >>"$log"
}

# cargo_tests NAME ARGS...: counts the tests that cargo runs.
cargo_tests() {
    local name=$1 begin=$SECONDS status counts p f
    shift
    cargo test --no-fail-fast "$@" >target/part.log 2>&1
    status=$?
    counts=$(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' target/part.log)
    read -r p f <<<"$counts"
    # A binary that crashed counts nothing, whatever the others counted; a
    # compile error shows in the exit code alone. No test at all is no success.
    f=$((f + $(grep -c "process didn't exit successfully: .*signal" target/part.log)))
    { [ "$status" -ne 0 ] || [ "$p" -eq 0 ]; } && [ "$f" -eq 0 ] && f=1
    passed=$((passed + p))
    failed=$((failed + f))
    if [ "$f" -eq 0 ]; then
        echo "ok      $name: $p tests ($((SECONDS - begin)) s)"
    else
        echo "FAILED  $name: $f of $((p + f)) tests ($((SECONDS - begin)) s)"
        grep -vE '^test .* ok$' target/part.log | tail -n 400
    fi
    cat target/part.log >>"$log"
}

if [ "$(id -u)" -ne 0 ]; then
    echo "the tests make namespaces, mounts and networks: run them as root" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
if ! command -v cargo >/dev/null; then
    echo "cargo is not in PATH: install Rust from https://rustup.rs, or name its directory in PATH (sudo resets it)" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
part "packages" tests/packages.sh busybox-static ca-certificates conntrack curl fish gcc git iproute2 libc6-dev libcap2-bin nftables \
    procps python3-venv skopeo sqlite3 strace util-linux xz-utils zstd e2fsprogs libarchive-tools zsh
part "docker client" tests/docker-cli.sh
part "docker-registry" tests/docker-registry.sh
part "docker SDK" tests/docker-sdk.sh
part "PostgreSQL" tests/postgresql.sh
for peer in docker-cli docker-registry; do
    PATH=$PATH:$(dirname "$("tests/$peer.sh" 2>/dev/null || echo /nonexistent/none)")
done
export PATH

part "format, lints, licences" tests/lint.sh
# One selection of packages, so that dependencies are built once, with one set of features.
cargo_tests "tests" --workspace --lib --bins --tests
part "containers on Debian's kernel and cgroup v2" tests/guest.sh

echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
