# What the scripts in hack/ share. Sourced by them, never run.
# shellcheck shell=bash
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export TARGET=x86_64-unknown-linux-musl       # what is built, tested and shipped
export LINT_TARGET=aarch64-unknown-linux-musl # what is linted besides
export BUILD=${CARGO_TARGET_DIR:-$REPO/target}

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# seconds since the script began, with one digit
elapsed() {
  local ms=$(($(date +%s%3N) - BEGAN))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}
BEGAN=$(date +%s%3N)
