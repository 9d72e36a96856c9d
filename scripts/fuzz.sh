#!/usr/bin/env bash
# Runs every fuzz target: scripts/fuzz.sh [SECONDS for each, 20 unless told]. Needs cargo-fuzz
# (cargo install cargo-fuzz); the stable compiler does. Findings land in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"
seconds=${1:-20}
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo 'SKIPPED: cargo-fuzz is not installed'
  exit 0
fi
export RUSTC_BOOTSTRAP=1
cargo fuzz build
for target in $(cargo fuzz list); do
  mkdir -p "corpus/$target"
  # What is learnt goes to the first directory; the others are only read.
  nice -n 10 cargo fuzz run "$target" "corpus/$target" ../presets ../examples -- \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048
done
