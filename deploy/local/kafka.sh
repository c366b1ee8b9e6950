#!/bin/sh
# Starts, stops and shows Apache Kafka on loopback: `kafka.sh start [--brokers 3] [--port 9092]`, `kafka.sh stop`,
# `kafka.sh status`. Needs Java 17 or newer, Maven for the first start, and the .venv that `make` sets up.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
python=$here/../../.venv/bin/python
[ -x "$python" ] || { echo "kafka.sh: there is no .venv yet: run 'make .venv/.ready'" >&2; exit 3; }
exec "$python" "$here/kafka/run.py" "$@"
