#!/usr/bin/env bash
# Everything that CI runs, in the order in which a mistake shows soonest. One profile and one feature set throughout, so
# that nothing is built twice.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

step() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  "$@"
  echo "-- $name: $((SECONDS - start)) s"
}

step format cargo fmt --all --check
step lints cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
step build cargo build --locked --workspace --all-targets --quiet
step layering target/debug/xtask layering
step tidy target/debug/xtask tidy
step tests cargo test --locked --workspace --quiet
step clients scripts/clients.sh
step salesforce scripts/salesforce.sh
step demo target/debug/penstock demo --seconds 8 --rate 200 --rows 12000 --json
step demo-realistic target/debug/penstock demo --seconds 6 --rate 40 --rows 500 --profile realistic --json
step chaos target/debug/xtask chaos --kills 20 --seed 1 --json
