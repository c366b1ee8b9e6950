#!/bin/sh
# OPA for tests and for one machine: opa.sh | opa.sh start | stop | status [FOLDER] [--addr 127.0.0.1:8181]
#
# Without a word it builds the OPA binary that tests and the local OPA engine use into .tools/bin/opa. That needs Go 1.24
# or newer and access to its module proxy; Go checks every module against its checksum database.
#
# `start` runs a server for one site, on loopback: FOLDER is what `exchange policy opa-config FOLDER` wrote, .tools/opa
# when none is named. It pulls the site's policies from `exchange serve`. Running a command again does nothing new.
set -eu
version=v1.22.2
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
binary=$root/.tools/bin/opa
limit=30
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3

fail() { echo "opa.sh: $1" >&2; exit 3; }

build() {
    if [ -x "$binary" ] && [ "v$("$binary" version | sed -n 's/^Version: //p')" = "$version" ]; then
        return
    fi
    command -v go >/dev/null || fail "go is not installed: see https://go.dev/doc/install"
    mkdir -p "$root/.tools/bin"
    GOBIN=$root/.tools/bin go install "github.com/open-policy-agent/opa@$version"
}

# Whether it answers; with `?bundles` whether it has the site's policies, too.
answers() {
    "$python" -c 'import sys, urllib.request as r
try: r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=2)
except OSError: sys.exit(1)' "http://$addr/health$1"
}

# The process of the folder, if it is there and is one of ours: a number may be another's by now.
running() {
    pid=$(cat "$folder/opa.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
    case $(ps -ww -o stat=,args= -p "$pid" 2>/dev/null) in
        Z*) return 1 ;;
        *"opa run --server "*) return 0 ;;
        *) return 1 ;;
    esac
}

start() {
    [ -f "$folder/opa.json" ] || fail "there is no $folder/opa.json: exchange policy opa-config $folder"
    build
    if ! running; then
        set -- run --server --addr "$addr" --config-file opa.json --skip-version-check --log-level error
        if [ -f "$folder/authz.rego" ]; then
            set -- "$@" --authentication=token --authorization=basic authz.rego
        fi
        away=nohup
        ! command -v setsid >/dev/null || away=setsid
        (cd -- "$folder" && exec $away "$binary" "$@" </dev/null >opa.log 2>&1 & echo $! >"$folder/opa.pid")
        echo "$addr" >"$folder/opa.addr"
    fi
    tries=0
    until answers ""; do
        running || { tail -5 "$folder/opa.log" >&2; fail "the server did not start; see $folder/opa.log"; }
        tries=$((tries + 1))
        [ "$tries" -lt "$((limit * 5))" ] || fail "the server does not answer within $limit s; see $folder/opa.log"
        sleep 0.2
    done
    sleep 0.2  # who finds the port taken ends a moment later, while another server answers there
    running || { tail -5 "$folder/opa.log" >&2; fail "the server did not start; see $folder/opa.log"; }
    say
}

say() {
    if answers "?bundles"; then
        echo "OPA answers at $addr and has the site's policies"
    else
        echo "OPA answers at $addr and waits for the site's policies: is 'exchange serve' running?"
    fi
}

stop() {
    if running; then
        kill "$pid"
        tries=0
        while running; do
            tries=$((tries + 1))
            [ "$tries" -lt "$((limit * 5))" ] || kill -9 "$pid"
            sleep 0.2
        done
    fi
    rm -f "$folder/opa.pid" "$folder/opa.addr"
    echo "OPA is stopped"
}

word=${1:-}
[ $# -eq 0 ] || shift
folder=$root/.tools/opa
addr=
while [ $# -gt 0 ]; do
    case $1 in
        --addr) addr=${2:-}; shift ;;
        -*) word=usage ;;
        *) folder=$1 ;;
    esac
    shift
done
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
if [ -f "$folder/opa.addr" ]; then addr=$(cat "$folder/opa.addr"); fi
addr=${addr:-127.0.0.1:8181}
case $addr in
    127.0.0.1:[0-9]* | localhost:[0-9]* | "[::1]:"[0-9]*) ;;
    *) fail "only on loopback, 127.0.0.1:PORT: here OPA speaks without TLS" ;;
esac

case $word in
    "") build; echo "$binary is OPA $version" ;;
    start) start ;;
    stop) stop ;;
    status)
        if running && answers ""; then
            say
        else
            echo "OPA does not run"
            exit 1
        fi
        ;;
    *)
        echo "usage: opa.sh [start | stop | status [FOLDER] [--addr 127.0.0.1:PORT]]" >&2
        exit 2
        ;;
esac
