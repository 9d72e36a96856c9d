#!/usr/bin/env bash
# Measures the cold start of `weir up`: release build, simulated engine, empty data directory, from the start of
# the process to the first byte of a streamed token. Prints every run and the median.
#
#   scripts/cold-start.sh [RUNS] [MANIFEST]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
runs=${1:-5}
manifest=${2:-examples/basic.yaml}
cargo build --quiet --release --bin weir
weir=${CARGO_TARGET_DIR:-target}/release/weir
work=$(mktemp -d)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
name=$(sed -n 's/^  name: *//p' "$manifest" | head -n 1)
now() { date +%s%N; }
for run in $(seq "$runs"); do
  begun=$(now)
  "$weir" up "$manifest" --listen 127.0.0.1:0 --data-dir "$work/$run" --engine sim >"$work/out" 2>&1 &
  pid=$!
  until url=$(sed -n "s/^ready    $name  //p" "$work/out") && [ -n "$url" ]; do
    kill -0 "$pid" || { cat "$work/out" >&2; exit 1; }
    sleep 0.005
  done
  ready=$(now)
  first=$(curl -sN "$url/v1/chat/completions" -H 'content-type: application/json' \
    -d "{\"model\": \"$name\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}" |
    head -c 5 >/dev/null && now)
  echo "run $run: ready after $(((ready - begun) / 1000000)) ms, first token after $(((first - begun) / 1000000)) ms"
  echo $(((first - begun) / 1000000)) >>"$work/all"
  kill "$pid" && wait "$pid" || true
done
sort -n "$work/all" | sed -n "$(((runs + 1) / 2))s/.*/median: & ms/p"
