#!/usr/bin/env bash
# Runs clients that others wrote, unchanged, against the simulated org: simple-salesforce and a generated Pub/Sub
# client (Python), jsforce (JavaScript).
# Their pinned versions are installed below target/clients once. Files of an area: clients/python/test_*.py and
# clients/javascript/*.test.cjs; a new one is found by its name.
# usage: clients.sh [install|run]; both without an argument. PENSTOCK names another program than target/debug/penstock.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$PWD/crates/org-sim/clients
home=$PWD/target/clients
program=${PENSTOCK:-target/debug/penstock}

# True when both registries answer: then a failed installation is a failure, otherwise a machine without the internet.
reachable() {
  python3 - <<'P' 2>/dev/null
import urllib.request
for url in ("https://pypi.org/simple/simple-salesforce/", "https://registry.npmjs.org/jsforce"):
    urllib.request.urlopen(url, timeout=20).close()
P
}

fetch() {
  python3 -m venv "$home/python" &&
    "$home/python/bin/pip" install --quiet --disable-pip-version-check --requirement "$suite/requirements.txt" &&
    cp "$suite/package.json" "$suite/package-lock.json" "$home/" &&
    (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

install() {
  local wanted
  wanted=$(cat "$suite/requirements.txt" "$suite/package-lock.json" | sha256sum)
  [ -e "$home/installed" ] && [ "$(cat "$home/installed")" = "$wanted" ] && return
  echo "clients: installing below target/clients what requirements.txt and package-lock.json name"
  rm -rf "$home"
  mkdir -p "$home"
  if ! fetch; then
    reachable && { echo "clients: the installation failed" >&2; exit 1; }
    echo "clients: SKIPPED: pypi.org or registry.npmjs.org cannot be reached from here" >&2
    exit 0
  fi
  echo "$wanted" >"$home/installed"
}

run() {
  local told failed=0
  org=
  trap '[ -z "$org" ] || kill "$org" 2>/dev/null || true' EXIT
  coproc ORG { exec "$program" --json org --edition enterprise --licences 100 --listen 127.0.0.1:0 --objects "$suite/objects.yaml"; }
  org=$ORG_PID
  # The org tells its address in its first line, once it listens.
  read -r told <&"${ORG[0]}" || { echo "clients: the org did not start" >&2; exit 1; }
  field() { printf '%s' "$told" | "$home/python/bin/python" -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
  ORG_URL=$(field url) ORG_CLIENT_ID=$(field client_id) ORG_CLIENT_SECRET=$(field client_secret)
  ORG_USERNAME=$(field username) ORG_PASSWORD=$(field password)
  export ORG_URL ORG_CLIENT_ID ORG_CLIENT_SECRET ORG_USERNAME ORG_PASSWORD
  "$home/python/bin/python" -B -m unittest discover --start-directory "$suite/python" || failed=1
  NODE_PATH=$home/node_modules node --test "$suite"/javascript/*.test.cjs || failed=1
  return "$failed"
}

case ${1:-all} in
  install) install ;;
  run) run ;;
  all)
    install
    run
    ;;
  *) echo "usage: clients.sh [install|run]" >&2; exit 2 ;;
esac
