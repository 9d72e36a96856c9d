# Sourced by ./weir and ./test: says what is missing before cargo fails with something less clear.
# Leaves CARGO_TARGET_DIR as the caller set it.
missing=()
command -v git >/dev/null || missing+=("git (Debian: apt-get install git)")
command -v cc >/dev/null || command -v gcc >/dev/null ||
  missing+=("a C compiler (Debian: apt-get install gcc libc6-dev)")
if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
  missing+=("Rust 1.95 or newer (https://rustup.rs)")
else
  found=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
  [ "$(printf '%s\n' 1.95 "$found" | sort -V | head -n 1)" = 1.95 ] ||
    missing+=("Rust 1.95 or newer (found $found; run: rustup update stable)")
fi
if [ "${#missing[@]}" -gt 0 ]; then
  echo "error: this machine lacks what Weir is built with:" >&2
  printf '  - %s\n' "${missing[@]}" >&2
  exit 1
fi
