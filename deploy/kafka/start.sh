#!/bin/sh
# Runs the broker of compose.yaml; the first time it formats the volume, with the users' passwords from their secrets.
#
# LIBS, SECRETS, DATA, PROPERTIES: other places than those in the image, for tests.
set -eu
libs=${LIBS:-/opt/kafka/libs} secrets=${SECRETS:-/run/secrets} data=${DATA:-/var/lib/kafka/data}
properties=${PROPERTIES:-/etc/exchange/server.properties}

if [ ! -f "$data/meta.properties" ]; then
    id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | sed 's/^\(.\{22\}\).*/\1/')
    # By a file: a password in the arguments would stand in the list of processes.
    arguments=$(mktemp)
    trap 'rm -f "$arguments"' EXIT
    {
        printf '"-cp"\n"%s/*"\n' "$libs"
        printf '"kafka.tools.StorageTool"\n"format"\n"--standalone"\n"-t"\n"%s"\n"-c"\n"%s"\n' "$id" "$properties"
        for user in admin exchange; do
            printf '"--add-scram"\n"SCRAM-SHA-512=[name=%s,password=%s]"\n' "$user" "$(cat "$secrets/kafka_$user")"
        done
    } >"$arguments"
    java "@$arguments"
    rm -f "$arguments"
    trap - EXIT
fi
exec java ${KAFKA_HEAP_OPTS:--Xms512m -Xmx1g} -Dlog4j2.configurationFile=/etc/exchange/log4j2.yaml \
    -cp "$libs/*" kafka.Kafka "$properties"
