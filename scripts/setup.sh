#!/usr/bin/env bash
# Installs by name what this machine lacks for `make demo` or `make test`. Changes nothing when all of it is there.
# usage: setup.sh demo|test
set -euo pipefail
goal=${1:?demo or test}

have_postgres() {
  [ -n "${PENSTOCK_POSTGRES_BIN:-}" ] && [ -x "$PENSTOCK_POSTGRES_BIN/initdb" ] && return
  command -v initdb >/dev/null && return
  ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1
}
have_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
have_node() { command -v npm >/dev/null && node -e 'process.exit(+process.versions.node.split(".")[0] < 18 ? 1 : 0)' 2>/dev/null; }
have_linker() { command -v cc >/dev/null && echo 'int main(void){return 0;}' | cc -x c - -o /dev/null 2>/dev/null; }

missing=()
have_linker || missing+=(gcc libc6-dev)
have_postgres || { [ "$goal" = demo ] && [ -n "${PENSTOCK_DEMO_DATABASE_URL:-}" ]; } || missing+=(postgresql)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
if [ "$goal" = test ]; then
  # The client suites of the simulated org (scripts/clients.sh).
  have_python || missing+=(python3 python3-venv)
  have_node || missing+=(nodejs npm)
fi

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup: this machine lacks: ${missing[*]} (Debian's names). Install them with its package manager and try again." >&2
    echo "setup: any PostgreSQL 14 or later will do, from the PATH or from PENSTOCK_POSTGRES_BIN." >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo, so that these can be installed: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${as_root[@]}" apt-get update -q >/dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
  echo "setup: there is no Rust toolchain; install one from https://rustup.rs (1.90 or later) and try again." >&2
  exit 1
fi
