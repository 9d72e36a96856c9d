#!/usr/bin/env bash
# Runs every fuzz target: scripts/fuzz.sh [SECONDS for each, 20 unless told]. The stable compiler does, and a C++
# compiler for libFuzzer; cargo-fuzz is not needed. There is no address sanitizer, as there is no unsafe code here:
# findings are panics, overflows, time and memory. They land in fuzz/artifacts, what is learnt in fuzz/corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
seconds=${1:-20}
if ! command -v c++ >/dev/null; then
  echo 'SKIPPED: no C++ compiler, which libFuzzer needs'
  exit 0
fi
host=$(rustc -vV | sed -n 's/^host: //p')
targets=${CARGO_TARGET_DIR:-target}
# What libFuzzer reads to see which ways an input took; cargo-fuzz sets the same.
flags='--cfg fuzzing -Cpasses=sancov-module'
for flag in level=4 inline-8bit-counters pc-table trace-compares; do
  flags+=" -Cllvm-args=-sanitizer-coverage-$flag"
done
RUSTFLAGS=$flags cargo build --quiet --target "$host"
mkdir -p artifacts
for source in fuzz_targets/*.rs; do
  target=$(basename "$source" .rs)
  mkdir -p "corpus/$target"
  echo "fuzzing $target for $seconds s"
  # What is learnt goes to the first directory; the others are only read.
  nice -n 10 "$targets/$host/debug/$target" "corpus/$target" ../presets ../examples \
    -artifact_prefix="artifacts/$target-" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    >artifacts/log 2>&1 || { tail -n 40 artifacts/log; exit 1; }
  tail -n 1 artifacts/log
done
