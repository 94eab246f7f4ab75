#!/usr/bin/env bash
# Checks the Salesforce package in salesforce/: Apex with a parser of the language, metadata, names and rights.
# The pinned tools of salesforce/check/package-lock.json are installed below target/salesforce once; without the internet
# the check is skipped in words.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$PWD/salesforce/check
home=$PWD/target/salesforce

reachable() {
  python3 -c 'import urllib.request as u; u.urlopen("https://registry.npmjs.org/@apexdevtools/apex-parser", timeout=20).close()' 2>/dev/null
}

wanted=$(sha256sum <"$suite/package-lock.json")
if [ ! -e "$home/installed" ] || [ "$(cat "$home/installed")" != "$wanted" ]; then
  echo "salesforce: installing below target/salesforce what package-lock.json names"
  rm -rf "$home"
  mkdir -p "$home"
  cp "$suite/package.json" "$suite/package-lock.json" "$home/"
  if ! (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error); then
    reachable && { echo "salesforce: the installation failed" >&2; exit 1; }
    echo "salesforce: SKIPPED: registry.npmjs.org cannot be reached from here" >&2
    exit 0
  fi
  echo "$wanted" >"$home/installed"
fi
# Modules are looked for beside the file that imports them.
cp "$suite"/*.mjs "$home/"
node "$home/check.mjs" "$PWD/salesforce"
PACKAGE=$PWD/salesforce node --test "$home"/check.test.mjs
