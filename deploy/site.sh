#!/bin/sh
# Makes the folders of both gateways of compose.yaml, and OPA's configuration; what is there is left as it is.
#
# The first authority's token lies in /srv/1/authority.token, readable by the exchange's user alone.
set -eu
first=/srv/1/site second=/srv/2/site

if [ ! -f "$first/exchange.toml" ]; then
    rm -rf "$first" /srv/1/authority.token  # what a killed run left half-made; without settings nothing opens it
    exchange init "$first" --name "${EXCHANGE_TITLE:-exchange}" --token-out /srv/1/authority.token \
        --set engines.log=kafka://kafka:9093/exchange \
        --set engines.control=postgresql://exchange@postgres:5432/exchange \
        --set engines.state=postgresql: \
        --set engines.audit=postgresql: \
        --set postgresql.password=file:/run/secrets/postgresql \
        --set kafka.sasl.password=file:/run/secrets/kafka_exchange \
        --set kafka.ssl.ca.location=/run/secrets/ca \
        --set kafka.replication.factor=1 \
        --set kafka.min.insync.replicas=1 \
        --set http.certificate=/run/secrets/exchange.crt \
        --set http.certificate_key=/run/secrets/exchange.key
fi
if [ ! -f "$second/exchange.toml" ]; then
    rm -rf "$second"
    exchange init "$second" --gateway-of "$first" \
        --set http.certificate=/run/secrets/exchange.crt \
        --set http.certificate_key=/run/secrets/exchange.key
fi
[ -f /srv/opa/config/opa.json ] ||
    exchange policy opa-config /srv/opa/config --site "$first" --url https://gateway-1:8431 --ca /run/secrets/ca
