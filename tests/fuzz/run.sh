#!/bin/bash
# run.sh TARGET [SECONDS]: builds a fuzz target with coverage instrumentation,
# on the stable toolchain, and runs it. Inputs that fail are kept in
# tests/fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
seconds=${2:-60}

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export CARGO_TARGET_DIR=$PWD/../../target/fuzz
# An explicit target keeps build scripts from being instrumented.
triple=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --target "$triple" --bin "$target"
mkdir -p "corpus/$target" "artifacts/$target"
seeds=()
if [ "$target" = dockerfile ]; then
    seeds+=(../../builder/src/lower/testdata)
fi
exec "../../target/fuzz/$triple/release/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -artifact_prefix="artifacts/$target/" "corpus/$target" "${seeds[@]}"
