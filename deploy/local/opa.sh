#!/bin/sh
# Builds the OPA binary that tests and the local OPA engine use into .tools/bin/opa. Needs Go 1.24 or newer and access to
# its module proxy; Go checks every module against its checksum database. Run again, it does nothing.
set -eu
version=v1.22.2
root=$(cd -- "$(dirname -- "$0")/../.." && pwd)
binary=$root/.tools/bin/opa

if [ -x "$binary" ] && [ "v$("$binary" version | sed -n 's/^Version: //p')" = "$version" ]; then
    echo "$binary is OPA $version"
    exit 0
fi
command -v go >/dev/null || { echo "opa.sh: go is not installed: see https://go.dev/doc/install" >&2; exit 3; }
mkdir -p "$root/.tools/bin"
GOBIN=$root/.tools/bin go install "github.com/open-policy-agent/opa@$version"
echo "$binary is OPA $version"
