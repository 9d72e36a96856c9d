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
  out=$work/$run.out # its own: the last run's says ready already
  touch "$out"
  begun=$(now)
  "$weir" up "$manifest" --listen 127.0.0.1:0 --data-dir "$work/$run" --engine sim >"$out" 2>&1 &
  pid=$!
  until url=$(sed -n "s/^ready    $name  //p" "$out") && [ -n "$url" ]; do
    kill -0 "$pid" || { cat "$out" >&2; exit 1; }
    sleep 0.005
  done
  ready=$(now)
  # That head has seen enough is no failure of curl's.
  first=$({ curl -sN "$url/v1/chat/completions" -H 'content-type: application/json' \
    -d "{\"model\": \"$name\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}" || true; } |
    head -c 5 | grep -q . && now) || { echo "run $run: no answer from $url" >&2; exit 1; }
  echo "run $run: ready after $(((ready - begun) / 1000000)) ms, first token after $(((first - begun) / 1000000)) ms"
  echo $(((first - begun) / 1000000)) >>"$work/all"
  kill "$pid" && wait "$pid" || true
done
sort -n "$work/all" | sed -n "$(((runs + 1) / 2))s/.*/median: & ms/p"
