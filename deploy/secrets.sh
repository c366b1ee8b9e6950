#!/bin/sh
# Makes the passwords and certificates of compose.yaml, once: secrets.sh [FOLDER], by default deploy/secrets.
#
# The folder is its owner's alone; its files can be read by the containers' own users, into which each is mounted singly.
# A certificate is signed by a CA of this folder, whose key is thrown away: to renew any, remove the folder and all run
# anew. What is there is left as it is. NAMES: further names of the gateways, with commas, such as exchange.example.
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$here/secrets}
days=825

command -v openssl >/dev/null || { echo "secrets.sh: openssl is not installed" >&2; exit 3; }
if [ -f "$folder/made" ]; then
    echo "secrets.sh: $folder is there"
    exit 0
fi
umask 077
rm -rf "$folder"
mkdir -p "$folder/draft"

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# certificate NAME SUBJECT-ALTERNATIVE-NAMES
certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
        -keyout "$folder/$1.key" -out "$folder/draft/$1.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n' "$2" >"$folder/draft/$1.ext"
    openssl x509 -req -in "$folder/draft/$1.csr" -CA "$folder/ca.crt" -CAkey "$folder/draft/ca.key" -days "$days" -sha256 \
        -set_serial "0x$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | sed 's/^./1/')" \
        -extfile "$folder/draft/$1.ext" -out "$folder/$1.crt" 2>/dev/null
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days "$days" -subj "/CN=exchange servers" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$folder/draft/ca.key" -out "$folder/ca.crt" 2>/dev/null
more=$(printf '%s' "${NAMES:-}" | sed 's/[^,][^,]*/DNS:&/g')
certificate exchange "DNS:gateway-1,DNS:gateway-2,DNS:localhost,IP:127.0.0.1${more:+,$more}"
certificate kafka "DNS:kafka,DNS:localhost,IP:127.0.0.1"
certificate opa "DNS:opa,DNS:localhost,IP:127.0.0.1"
cat "$folder/kafka.key" "$folder/kafka.crt" >"$folder/kafka.pem"
for name in kafka_admin kafka_exchange postgresql; do
    password >"$folder/$name"
done
rm -r "$folder/draft" "$folder/kafka.key" "$folder/kafka.crt"
chmod 444 "$folder"/*
touch "$folder/made"
echo "secrets.sh: made $folder"
